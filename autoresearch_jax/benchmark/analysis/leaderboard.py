"""The leaderboard: results of a benchmark as one page of tables and figures."""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence

from autoresearch_jax.benchmark.analysis import document, plots
from autoresearch_jax.benchmark.analysis.document import Block, Figure, Heading, Paragraph, Table
from autoresearch_jax.benchmark.analysis.standings import Standing, Standings, standings
from autoresearch_jax.benchmark.analysis.statistics import DRAWS, Estimate
from autoresearch_jax.benchmark.comparison import Comparison, Suite
from autoresearch_jax.benchmark.simulations import HELD_OUT

_READING = (
  'Numbers are normalized regret: 1 is the unmodified start, 0 the optimum, smaller is better. '
  '"Anytime" is the mean regret over the budget, "final" the regret at its end. Both are computed '
  'from the noiseless metric of the incumbent, the program that a user would keep. Each number is '
  'the interquartile mean over all problems and seeds, with its 95 % interval (stratified '
  f'bootstrap, {DRAWS} draws; Agarwal et al., 2021, arXiv 2108.13264). The columns "against" show '
  'the probability that a run is better than one of the reference on another instance of the same '
  'problem, with its interval, and the verdict of a Wilcoxon signed-rank test over paired seeds at '
  '5 %, Holm-corrected over all pairs of the table. Both use the anytime regret by training runs. '
  '"Kept" counts trials after the baseline; "false keeps" is the fraction of them that were worse '
  'than the incumbent before, without noise.'
)

# Simulations whose instances are not independent, and in which way.
_SHARED = {
  'recorded': (
    'all seeds, including those for tuning, share one recorded surface; only the start and the '
    'noise are held out.'
  ),
  'engine': (
    'all seeds, including those for tuning, share one problem; instances differ in training seeds '
    'only.'
  ),
}


def blocks(comparisons: Sequence[Comparison], command: str = '', price: float = 1.0) -> list[Block]:
  """Returns the page.

  Args:
    comparisons: The results.
    command: The command that made them, to be shown.
    price: Price of one call of the proposer.
  """
  page: list[Block] = [Heading('Leaderboard', 1), Paragraph(describe_origin(comparisons))]
  if command:
    page.append(Paragraph(command, code=True))
  page.append(Paragraph(_READING))
  for comparison in comparisons:
    page += _comparison(comparison, price, titled=len(comparisons) > 1)
  return page


def write(
  comparisons: Sequence[Comparison], path: pathlib.Path, command: str = '', price: float = 1.0
) -> pathlib.Path:
  """Writes the page as Markdown or HTML, by the suffix of `path`. Returns the path."""
  return document.write(blocks(comparisons, command, price), path)


def leaderboard(result: Comparison, path: str | pathlib.Path | None = None) -> str:
  """Returns the standings of a comparison as Markdown tables, with intervals.

  Args:
    result: What `ar.compare` returned.
    path: Also write the full page with plots to this .md or .html file.

  Example:
    >>> import autoresearch_jax as ar
    >>> result = ar.compare(['greedy', 'random'], ['nk'], trials=10, seeds=2, workers=1)
    >>> print(ar.leaderboard(result).splitlines()[0])
    Over nk.
  """
  if path is not None:
    write([result], pathlib.Path(path))
  return tables(result)


def tables(comparison: Comparison, group: str = '', price: float = 1.0) -> str:
  """Returns only the tables, as Markdown. Raises ValueError for an unknown group."""
  groups = comparison.suite.groups()
  if group and group not in groups:
    raise ValueError(f'There is no group {group!r}; there are: {", ".join(groups) or "none"}.')
  problems = groups[group] if group else _labels(comparison)
  found: list[Block] = []
  for table in standings(comparison, problems):
    found += _table(table, price)
  return document.as_markdown(found)


def _comparison(comparison: Comparison, price: float, titled: bool) -> Iterator[Block]:
  if titled:
    yield Heading(comparison.suite.title)
  below = 3 if titled else 2
  yield _problems(comparison)
  yield from _left_out(comparison)
  for table in standings(comparison, _labels(comparison)):
    yield Heading(_overall(comparison, table), below)
    yield from _table(table, price)
    yield from _figures(table, comparison.suite.title)
  groups = comparison.suite.groups()
  for group, problems in groups.items():
    yield Heading(f'Group {group}: {", ".join(problems)}', below)
    tables = standings(comparison, problems)
    if len(groups) > 1:
      for table in tables:
        yield from _table(table, price)
    yield from _identical(comparison, problems)
    yield Figure(
      f'{_slug(comparison.suite.title)}_{_slug(group)}_anytime',
      f'Anytime curves, {group}',
      f'Anytime curves, {group}: interquartile mean over seeds, with its 95 % band.'
      f'{_not_highlighted(tables)}',
      plots.anytime(tables, problems),
    )


def _table(table: Standings, price: float) -> Iterator[Block]:
  references = table.references
  header = (
    '', 'anytime, by runs', 'final', 'anytime, by device seconds', 'anytime, by LLM cost',
    *(f'against {reference}' for reference in references),
    'device seconds', 'LLM cost', 'failed', 'duplicates', 'kept', 'false keeps',
  )  # fmt: skip
  yield Paragraph(f'Over {", ".join(table.problems)}.')
  yield Table(header, tuple(_row(row, references, price) for row in table.rows))


def _row(row: Standing, references: Sequence[str], price: float) -> tuple[str, ...]:
  averages = row.averages
  return (
    row.method,
    *(_interval(row.estimates[m]) for m in ('area_runs', 'final', 'area_seconds', 'area_calls')),
    *(_test(row, reference) for reference in references),
    f'{averages.seconds:.4g}',
    f'{price * averages.calls:.4g}',
    f'{averages.failed:.0%}',
    f'{averages.duplicates:.0%}',
    f'{averages.kept:.1f}',
    '—' if averages.false is None else f'{averages.false:.0%}',
  )


def _test(row: Standing, reference: str) -> str:
  if reference not in row.tests:
    return '—'
  test = row.tests[reference]
  return f'{_interval(test.improvement, 2)} {test.verdict}'


def _interval(estimate: Estimate, digits: int = 3) -> str:
  """Formats an estimate without negative zeros; a dash stands for a missing interval."""
  value, low, high = (f'{x:z.{digits}f}' for x in dataclasses.astuple(estimate))
  return f'{value} —' if math.isnan(estimate.low) else f'{value} [{low}, {high}]'


def _figures(table: Standings, title: str) -> Iterator[Block]:
  name = f'{_slug(title)}_{len(table.problems)}_problems'
  over = _counted(table.problems)
  yield Figure(
    f'{name}_profiles',
    'Performance profiles',
    f'Performance profiles over {over}: the fraction of runs that end with at most that regret.'
    f'{_not_highlighted([table])}',
    plots.profiles(table),
  )
  yield Figure(
    f'{name}_improvement',
    'Probabilities of improvement',
    f'Probability that the row is better than the column over {over}, anytime by runs; bold if '
    'the difference is significant.',
    plots.improvements(table),
  )


def _not_highlighted(tables: Sequence[Standings]) -> str:
  """Returns a sentence about the methods that a figure draws in gray; '' if there are none."""
  front = plots.highlighted(tables)
  rest = sorted({e for table in tables for e in table.methods if e not in front})
  if not rest:
    return ''
  return (
    f' In color, with bands: the references and the {plots.NUM_BEST} best of each table. In gray: '
    f'{", ".join(rest)}.'
  )


def _identical(comparison: Comparison, problems: Sequence[str]) -> Iterator[Block]:
  """Names methods that behaved identically in every run, since their curves coincide."""
  alike: dict[tuple, list[str]] = {}
  for method, labels in comparison.runnable.items():
    places = [(p, seed) for p in problems if p in labels for seed in comparison.suite.seeds]
    runs = [comparison.runs[method, p, seed] for p, seed in places]
    behavior = tuple((run.curve, run.runs, run.seconds, run.calls, run.kept) for run in runs)
    alike.setdefault((tuple(places), behavior), []).append(method)
  for (places, _), methods in alike.items():
    if places and len(methods) > 1:
      there = ', '.join(dict.fromkeys(problem for problem, _ in places))
      together = f'{", ".join(methods[:-1])} and {methods[-1]}'
      yield Paragraph(f'{together} behaved identically in every run on {there}.')


def _left_out(comparison: Comparison) -> Iterator[Block]:
  """Names the methods that have no runs on some problems."""
  methods = comparison.suite.methods()
  left: dict[tuple[str, str], list[str]] = {}
  for method, problem in comparison.left_out:
    samples = methods[method][0].samples
    why = ': it samples constants, and these problems have none' if samples else ''
    left.setdefault((method, why), []).append(problem)
  for (method, why), problems in left.items():
    verb = 'cannot run' if why else 'has no runs'
    yield Paragraph(
      f'{method} {verb} on {", ".join(problems)}{why}. Tables over these problems omit it.'
    )


def describe_origin(comparisons: Sequence[Comparison]) -> str:
  """Describes runs, seeds and versions."""
  runs = {run.key: run for comparison in comparisons for run in comparison.runs.values()}
  versions = sorted({f'{name} {v}' for run in runs.values() for name, v in run.versions.items()})
  suites = [comparison.suite for comparison in comparisons]
  seeds = sorted({seed for suite in suites for seed in suite.seeds})
  budgets = sorted({f'{suite.trials:g}' for suite in suites})
  few = (
    f' Over fewer than four runs, as in a curve over {len(seeds)} seeds, the interquartile mean is '
    'the mean.'
  )
  return (
    f'{len(runs)} runs of {" and ".join(budgets)} training runs each, on instances with the seeds '
    f'{seeds[0]} to {seeds[-1]} ({len(seeds)} of them, paired; {_seed_use(seeds)}). '
    f'Versions: {", ".join(versions)}.{_shared_instances(suites)}{few if len(seeds) < 4 else ""}'
  )


def _shared_instances(suites: Sequence[Suite]) -> str:
  """Describes problems whose instances are not independent."""
  problems = {p.label: p for suite in suites for p in suite.problems}
  found = []
  for simulation, words in _SHARED.items():
    labels = [label for label, p in problems.items() if p.simulation == simulation]
    found += [f' {", ".join(labels)}: {words}'] if labels else []
  return ''.join(found)


def _seed_use(seeds: Sequence[int]) -> str:
  if seeds[0] >= HELD_OUT:
    return f'held out: options are tuned on seeds below {HELD_OUT} only'
  if seeds[-1] < HELD_OUT:
    return f'for tuning: use seeds from {HELD_OUT} on for reported results'
  return f'a mix of tuning seeds, below {HELD_OUT}, and held-out ones: not for reports'


def _labels(comparison: Comparison) -> tuple[str, ...]:
  return tuple(problem.label for problem in comparison.suite.problems)


def _problems(comparison: Comparison) -> Table:
  """Returns a table of the problems and their options."""
  suite = comparison.suite
  rows = tuple(
    (
      problem.label,
      problem.group,
      problem.simulation,
      ', '.join(f'{key} {value}' for key, value in problem.options.items()),
      'compared' if suite.rules else problem.acceptance,
    )
    for problem in suite.problems
  )
  return Table(('problem', 'group', 'simulation', 'options', 'acceptance'), rows, texts=5)


def _overall(comparison: Comparison, table: Standings) -> str:
  """Returns the heading of a table: its problems, and the methods that it lacks."""
  absent = [method for method in comparison.runnable if method not in table.methods]
  bound = [e for e in table.methods if set(comparison.runnable[e]) == set(table.problems)]
  whole = len(table.problems) == len(comparison.suite.problems)
  title = 'Overall' if whole else f'With {", ".join(sorted(bound))}'
  without = f', without {", ".join(sorted(absent))}' if absent else ''
  return f'{title}: {_counted(table.problems)}{without}'


def _counted(problems: Sequence[str]) -> str:
  return '1 problem' if len(problems) == 1 else f'{len(problems)} problems'


def _slug(text: str) -> str:
  return ''.join(c if c.isalnum() else '_' for c in text.lower())
