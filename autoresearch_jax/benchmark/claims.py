"""What a submission may name and what it claims, checked before any of its runs is simulated.

A submission is a stranger's file. Its runs name simulations, strategies and rules by their
registered names, with options. `require_safe` admits only what cannot execute a file or read one:
this library's simulations that compute everything, those that the verifier has installed, and plain
options. `gaps` finds claims that are not one strategy on a full grid of problems and seeds.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark import sources
from autoresearch_jax.benchmark.results import MEANINGS, BenchmarkRun
from autoresearch_jax.benchmark.simulations import SIMULATIONS, landscape_table, table
from autoresearch_jax.search import STRATEGIES

MAX_TRIALS, MAX_SLOTS, MAX_RUNS = 10_000, 1000, 10_000
MAX_SEED = 2**32 - 1
MAX_LABEL = 200  # characters
MAX_OPTIONS = 10_000  # bytes of JSON
MAX_DEPTH = 8  # of nested options
MAX_NUMBER, MAX_SIZE = 10**6, 1000  # of options; of those of this library's simulations
UNBOUNDED = ('device_bytes', 'seed')  # options that are no sizes
WORD = re.compile(r'[\w +-]{0,100}', re.ASCII)  # no dots, slashes and colons: no file, no module
# This library's simulations that only compute, and the files that come with the library.
COMPUTED = ('nk', 'trap', 'leading_ones', 'continuous', 'lineage', 'recorded', 'landscape')
SHIPPED = {
  ('recorded', 'table'): (table.SHIPPED, '.csv'),
  ('landscape', 'landscape'): (landscape_table.SHIPPED, '.npz'),
}


class SubmissionError(ValueError):
  """A submission cannot be made, read or verified; the message says why."""


def require_safe(run: BenchmarkRun) -> None:
  """Raises SubmissionError for a run that is too large, or that could execute or read a file."""
  for label in (run.problem, run.strategy, run.acceptance):
    require_label(label)
  if not 0 < run.trials <= MAX_TRIALS or not 0 < run.slots <= MAX_SLOTS:
    raise SubmissionError(
      f'A run has {run.trials} trials and {run.slots} slots; at most {MAX_TRIALS} and {MAX_SLOTS} '
      'are simulated.'
    )
  if not 0 <= run.instance_seed <= MAX_SEED:
    raise SubmissionError(f'The seed {run.instance_seed} is not between 0 and {MAX_SEED}.')
  _require_simulation(run.simulation, run.simulation_options)
  for registry, name, options in (
    (STRATEGIES, run.strategy_name, run.strategy_options),
    (ACCEPTANCE, run.acceptance_name, run.acceptance_options),
  ):
    what = f'the {registry.kind} {name!r:.60}'
    _require_word(what, name)
    _require_plain(what, options, MAX_NUMBER)
    try:
      sources.classes(registry, name, options)
    except (ValueError, TypeError, AttributeError) as error:  # inner_options may be no dict
      raise SubmissionError(f'{error} What is not in this library must be installed.') from None


def require_label(label: str) -> None:
  """Raises SubmissionError for a label that cannot be printed."""
  if not label.isprintable() or len(label) > MAX_LABEL:
    raise SubmissionError(
      f'The label {label!r:.60} is longer than {MAX_LABEL} characters or not printable.'
    )


def _require_simulation(name: str, options: dict[str, Any]) -> None:
  what = f'the simulation {name!r:.60}'
  _require_word(what, name)
  computed = name in COMPUTED
  if not computed:
    try:
      kind = SIMULATIONS.get(name)
    except ValueError as error:
      raise SubmissionError(f'{error} What is not in this library must be installed.') from None
    if kind.__module__.split('.')[0] == sources.LIBRARY:
      raise SubmissionError(
        f'A run has {what}, which executes programs, so it is not verified. These are: '
        f'{", ".join(COMPUTED)}.'
      )
  _require_plain(what, options, MAX_SIZE if computed else MAX_NUMBER)
  for (simulation, option), (folder, suffix) in SHIPPED.items():
    if simulation == name and option in options:
      known = sorted(path.stem for path in folder.glob(f'*{suffix}'))
      if options[option] not in known:
        raise SubmissionError(
          f'A run has {what} with {option}={options[option]!r:.60}. Only the shipped ones are '
          f'read: {", ".join(known)}.'
        )


def _require_plain(what: str, options: dict[str, Any], largest: int) -> None:
  """Raises SubmissionError for options that name a file or module, or are too large."""
  for key, value, depth in _leaves(options):
    if depth > MAX_DEPTH:
      raise SubmissionError(f'The options of {what} are nested deeper than {MAX_DEPTH}.')
    _require_word(what, key)
    if key == 'path':
      raise SubmissionError(f'The option path of {what} names a file, which is not executed.')
    if isinstance(value, str):
      _require_word(what, value)
    elif isinstance(value, int | float) and not (key in UNBOUNDED or abs(value) <= largest):
      raise SubmissionError(
        f'A run has {what} with {key}={value!r:.20}; at most {largest} is simulated.'
      )
  if len(msgspec.json.encode(options)) > MAX_OPTIONS:
    raise SubmissionError(f'The options of {what} are longer than {MAX_OPTIONS} bytes.')


def _require_word(what: str, text: str) -> None:
  if not WORD.fullmatch(text):
    raise SubmissionError(
      f'A run has {what} with {text!r:.60} in its name or options. Only letters, digits, spaces, '
      '"_", "+" and "-" are admitted, because other text can name a file or a module.'
    )


def _leaves(value: Any, key: str = '', depth: int = 0) -> Iterator[tuple[str, Any, int]]:
  """Yields (nearest key, value, depth) of everything inside; nothing below MAX_DEPTH."""
  yield key, value, depth
  if depth > MAX_DEPTH:
    return
  if isinstance(value, dict):
    for name, inner in value.items():
      yield from _leaves(inner, name, depth + 1)
  elif isinstance(value, list | tuple):
    for inner in value:
      yield from _leaves(inner, key, depth + 1)


def gaps(strategy: str, runs: Sequence[BenchmarkRun]) -> tuple[str, ...]:
  """Returns sentences on why the runs are not one strategy on a full grid; none if they are.

  Args:
    strategy: Label of the strategy that the runs are claimed for.
    runs: The runs.
  """
  found = []
  if other := sorted({run.strategy for run in runs} - {strategy}):
    found.append(f'There are runs of {other[0]!r}, not of the strategy {strategy!r}.')
  keys = {run.key for run in runs}
  if len(keys) < len(runs):
    found.append(f'Of the {len(runs)} runs, {len(runs) - len(keys)} are there twice.')
  for kind, fields in MEANINGS.items():
    meanings: dict[str, str] = {}
    for run in runs:
      meaning = _text([getattr(run, field) for field in fields])
      if meanings.setdefault(getattr(run, kind), meaning) != meaning:
        found.append(f'The {kind} {getattr(run, kind)!r} has several definitions.')
        break
  budgets = sorted({(run.trials, run.slots) for run in runs})
  if len(budgets) > 1:
    found.append(f'The runs have several budgets (trials, slots): {budgets[0]}, {budgets[1]}.')
  pairs, seeds = _pairs(runs), sorted({run.instance_seed for run in runs})
  there = {(run.problem, run.acceptance, run.instance_seed) for run in runs}
  if missing := len(pairs) * len(seeds) - len(there):
    grid = ((*pair, seed) for seed in seeds for pair in pairs)
    problem, rule, seed = next(place for place in grid if place not in there)
    found.append(
      f'{missing} of {len(pairs) * len(seeds)} runs are missing: the first is {problem}, seed '
      f'{seed}, under {rule}.'
    )
  return tuple(found)


def complete(runs: Sequence[BenchmarkRun]) -> list[BenchmarkRun]:
  """Returns the runs with the seeds for which every problem is there."""
  seeds_of = [
    {run.instance_seed for run in runs if (run.problem, run.acceptance) == pair}
    for pair in _pairs(runs)
  ]
  seeds = set.intersection(*seeds_of) if seeds_of else set()
  return [run for run in runs if run.instance_seed in seeds]


def covers(runs: Sequence[BenchmarkRun]) -> list[str]:
  """Describes what the runs are, by registered names and options, since labels are free."""
  first = runs[0]
  seeds = sorted({run.instance_seed for run in runs})
  between = f'{seeds[0]} to {seeds[-1]}'
  if len(seeds) <= seeds[-1] - seeds[0]:
    between += ', with gaps'
  lines = [
    f'The claim: {first.strategy} is {_named(first.strategy_name, first.strategy_options)}, '
    f'{first.trials:g} trials, {first.slots} at a time, {len(seeds)} seeds ({between}), on',
  ]
  for (problem, rule), run in _pairs(runs).items():
    lines.append(
      f'  {problem}: {_named(run.simulation, run.simulation_options)}, under {rule}: '
      f'{_named(run.acceptance_name, run.acceptance_options)}'
    )
  return lines


def _pairs(runs: Iterable[BenchmarkRun]) -> dict[tuple[str, str], BenchmarkRun]:
  """A run of each (problem, rule)."""
  return {(run.problem, run.acceptance): run for run in runs}


def _named(name: str, options: dict[str, Any]) -> str:
  return f'{name}({", ".join(f"{key}={_text(options[key])}" for key in sorted(options))})'


def _text(value: Any) -> str:
  return json.dumps(value, sort_keys=True)


def same(one: Any, other: Any) -> bool:
  """Whether two stored values are equal; NaN equals NaN."""
  if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
    return math.isnan(other)
  if isinstance(one, dict) and isinstance(other, dict):
    return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
  if isinstance(one, list | tuple) and isinstance(other, list | tuple):
    return len(one) == len(other) and all(map(same, one, other))
  return one == other
