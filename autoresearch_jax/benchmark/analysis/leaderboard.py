"""The leaderboard: what a benchmark found, as one page with intervals, and how to make it again."""

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
  'Numbers are normalised regret: 1 is the unmodified start, 0 the optimum, smaller is better. '
  '"Anytime" is the mean of the regret over the whole budget, "final" the regret at its end. Both '
  'are of the metric without noise of the incumbent, which is what a user would take home. Each '
  'number is the interquartile mean over all problems and seeds, with its 95 % interval '
  f'(stratified bootstrap, {DRAWS} draws; Agarwal et al., 2021, arXiv 2108.13264). Against a '
  'reference stands the probability that its run is better than one of the reference on another '
  'instance of the same problem (pairs of one instance are left out), with its interval, and what '
  'a Wilcoxon signed-rank test over the paired seeds says after Holm correction over all pairs of '
  'the table, at 5 %, both for the anytime regret by training runs. "Kept" counts trials after the '
  'baseline; "false keeps" is the share of them that were truly worse than the incumbent before, '
  'so that another program of equal worth is no false one.'
)

# Simulations whose instances have more in common than their options, and what that means.
_SHARED = {
  'recorded': (
    'one recorded surface for all seeds, those for tuning too; only the start and the noise are '
    'held out.'
  ),
  'engine': (
    'one problem for all seeds, those for tuning too; instances differ in training seeds alone.'
  ),
}


def blocks(comparisons: Sequence[Comparison], command: str = '', price: float = 1.0) -> list[Block]:
  """The whole page. command: what made it. price: of one call of the proposer."""
  page: list[Block] = [Heading('Leaderboard', 1), Paragraph(_origin(comparisons))]
  if command:
    page.append(Paragraph(command, code=True))
  page.append(Paragraph(_READING))
  for comparison in comparisons:
    page += _comparison(comparison, price, titled=len(comparisons) > 1)
  return page


def write(
  comparisons: Sequence[Comparison], path: pathlib.Path, command: str = '', price: float = 1.0
) -> pathlib.Path:
  """Writes Markdown or HTML, by the ending of `path`."""
  return document.write(blocks(comparisons, command, price), path)


def leaderboard(result: Comparison, path: str | pathlib.Path | None = None) -> str:
  """The standings of a comparison as Markdown tables, with intervals.

  Args:
    result: What `ar.compare` returned.
    path: Where to write the whole page with its plots too, .md or .html.
  """
  if path is not None:
    write([result], pathlib.Path(path))
  return tables(result)


def tables(comparison: Comparison, group: str = '', price: float = 1.0) -> str:
  """The tables alone, as Markdown. Raises ValueError for a group that no problem is in."""
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
    yield from _pictures(table, comparison.suite.title)
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
      f'{_in_grey(tables)}',
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
  use = row.use
  return (
    row.method,
    *(_interval(row.estimates[m]) for m in ('area_runs', 'final', 'area_seconds', 'area_calls')),
    *(_duel(row, reference) for reference in references),
    f'{use.seconds:.4g}',
    f'{price * use.calls:.4g}',
    f'{use.failed:.0%}',
    f'{use.duplicates:.0%}',
    f'{use.kept:.1f}',
    '—' if use.false is None else f'{use.false:.0%}',
  )


def _duel(row: Standing, reference: str) -> str:
  if reference not in row.duels:
    return '—'
  duel = row.duels[reference]
  return f'{_interval(duel.improvement, 2)} {duel.verdict}'


def _interval(estimate: Estimate, digits: int = 3) -> str:
  """Without a sign before zero; a dash where one seed gives no interval."""
  value, low, high = (f'{x:z.{digits}f}' for x in dataclasses.astuple(estimate))
  return f'{value} —' if math.isnan(estimate.low) else f'{value} [{low}, {high}]'


def _pictures(table: Standings, title: str) -> Iterator[Block]:
  name = f'{_slug(title)}_{len(table.problems)}_problems'
  over = _counted(table.problems)
  yield Figure(
    f'{name}_profiles',
    'Performance profiles',
    f'Performance profiles over {over}: the share of runs that end with at most that regret.'
    f'{_in_grey([table])}',
    plots.profiles(table),
  )
  yield Figure(
    f'{name}_improvement',
    'Probabilities of improvement',
    f'Probability that the row is better than the column over {over}, anytime by runs; bold where '
    'the test tells them apart.',
    plots.improvements(table),
  )


def _in_grey(tables: Sequence[Standings]) -> str:
  """A sentence on whose lines a figure draws in the background."""
  front = plots.in_front(tables)
  rest = sorted({e for table in tables for e in table.methods if e not in front})
  if not rest:
    return ''
  return (
    f' In colour, with bands: the references and the {plots.FRONT} best of each table. In grey: '
    f'{", ".join(rest)}.'
  )


def _identical(comparison: Comparison, problems: Sequence[str]) -> Iterator[Block]:
  """Who did the same in every run, since one line then hides the other."""
  alike: dict[tuple, list[str]] = {}
  for method, able in comparison.runnable.items():
    places = [(p, seed) for p in problems if p in able for seed in comparison.suite.seeds]
    runs = [comparison.runs[method, p, seed] for p, seed in places]
    did = tuple((run.curve, run.runs, run.seconds, run.calls, run.kept) for run in runs)
    alike.setdefault((tuple(places), did), []).append(method)
  for (places, _), methods in alike.items():
    if places and len(methods) > 1:
      there = ', '.join(dict.fromkeys(problem for problem, _ in places))
      together = f'{", ".join(methods[:-1])} and {methods[-1]}'
      yield Paragraph(f'{together} did the same in every run on {there}.')


def _left_out(comparison: Comparison) -> Iterator[Block]:
  """Who cannot run where, so that nothing is missing in silence."""
  left: dict[str, list[str]] = {}
  for method, problem in comparison.left_out:
    left.setdefault(method, []).append(problem)
  for method, problems in left.items():
    yield Paragraph(
      f'{method} cannot run on {", ".join(problems)}: it samples constants, and these problems '
      'offer none. Tables over these problems leave it out.'
    )


def _origin(comparisons: Sequence[Comparison]) -> str:
  """What was run, on which seeds, with which versions."""
  runs = {run.key: run for comparison in comparisons for run in comparison.runs.values()}
  versions = sorted({f'{name} {v}' for run in runs.values() for name, v in run.versions.items()})
  suites = [comparison.suite for comparison in comparisons]
  seeds = sorted({seed for suite in suites for seed in suite.seeds})
  budgets = sorted({f'{suite.trials:g}' for suite in suites})
  few = (
    f' Of fewer than four runs, as of the {len(seeds)} seeds of a curve, the interquartile mean is '
    'the mean.'
  )
  return (
    f'{len(runs)} runs of {" and ".join(budgets)} training runs each, on instances with the seeds '
    f'{seeds[0]} to {seeds[-1]} ({len(seeds)} of them, paired; {_kept_apart(seeds)}). '
    f'Versions: {", ".join(versions)}.{_one_surface(suites)}{few if len(seeds) < 4 else ""}'
  )


def _one_surface(suites: Sequence[Suite]) -> str:
  """Sentences on problems of which another seed is not quite another problem."""
  problems = {p.label: p for suite in suites for p in suite.problems}
  found = []
  for simulation, words in _SHARED.items():
    labels = [label for label, p in problems.items() if p.simulation == simulation]
    found += [f' {", ".join(labels)}: {words}'] if labels else []
  return ''.join(found)


def _kept_apart(seeds: Sequence[int]) -> str:
  if seeds[0] >= HELD_OUT:
    return f'held out: options are tuned on seeds below {HELD_OUT} alone'
  if seeds[-1] < HELD_OUT:
    return f'for tuning: results to report come from seeds {HELD_OUT} and above'
  return f'both for tuning (below {HELD_OUT}) and held out: not for a report'


def _labels(comparison: Comparison) -> tuple[str, ...]:
  return tuple(problem.label for problem in comparison.suite.problems)


def _problems(comparison: Comparison) -> Table:
  """What was played, so that the page can be read without its config."""
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
  """The table's heading: who is not in it, or for whose sake it has fewer problems."""
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
