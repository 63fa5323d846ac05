"""`compare`: strategies side by side on problems, and the result that tables are made from."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import math
import pathlib
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoresearch_jax.benchmark.progress import ComparisonProgress, shown
from autoresearch_jax.benchmark.results import BenchmarkRun, Results
from autoresearch_jax.benchmark.runners.pool import run_all
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.runners.specs import (
  AcceptanceSpec,
  Entrant,
  Options,
  ProblemSpec,
  RunSpec,
)
from autoresearch_jax.benchmark.simulations import HELD_OUT
from autoresearch_jax.search import STRATEGIES, Strategy

Named = str | tuple[str, Options]
if TYPE_CHECKING:
  import pandas

SEEDS = range(HELD_OUT, HELD_OUT + 20)
PACKAGES = ('autoresearch_jax', 'numpy', 'scipy', 'optuna', 'cmaes', 'torch')
REFERENCES = ('random', 'best_of_n')  # where they compete
MAX_SEEDS = 2**32  # instance seeds are below it, see `specs.ROOTS`
MEASURES = ('area_runs', 'final', 'area_seconds', 'area_calls')


class BenchmarkError(ValueError):
  """A benchmark that cannot be run as asked; the sentence says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Suite:
  """What is compared: strategies, each under its problem's rule, or under each of `rules`.

  seeds: of the instances, all paired. trials: the budget of a run in training runs. slots: trials
  at once. references: methods, or rules and so their methods, that all others are held against.
  """

  title: str
  problems: tuple[ProblemSpec, ...]
  entrants: tuple[Entrant, ...]
  seeds: tuple[int, ...]
  trials: float
  slots: int = 1
  rules: tuple[AcceptanceSpec, ...] = ()
  references: tuple[str, ...] = REFERENCES

  def __post_init__(self) -> None:
    for what, rows in (
      ('problems', self.problems), ('strategies', self.entrants), ('seeds', self.seeds),
    ):  # fmt: skip
      if not rows:
        raise BenchmarkError(f'{self.title}: there are no {what} to compare on; name one or more.')
    for rows in (self.problems, self.entrants, self.rules):
      labels = [row.label for row in rows]
      if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise BenchmarkError(f'{self.title}: the label {twice[0]!r} is given twice.')
    self._require_numbers()
    self._require_made()
    self._require_references()

  def _require_numbers(self) -> None:
    if len(set(self.seeds)) < len(self.seeds):
      raise BenchmarkError(f'{self.title}: a seed is given twice.')
    if wrong := [seed for seed in self.seeds if not 0 <= seed < MAX_SEEDS]:
      raise BenchmarkError(
        f'{self.title}: {wrong[0]} is no seed of an instance; they are 0 to {MAX_SEEDS - 1}.'
      )
    if self.slots < 1:
      raise BenchmarkError(f'{self.title}: slots is {self.slots}; it must be 1 or more.')
    if not math.isfinite(self.trials):
      raise BenchmarkError(f'{self.title}: trials is {self.trials}; it must be a finite number.')

  def _require_made(self) -> None:
    """Makes everything once, so that a wrong name or option is told before anything runs."""
    for row in (*self.problems, *self.entrants):
      _made(row)
    rules = self.rules or tuple(problem.rule for problem in self.problems)
    most = max(_made(rule).baseline_seeds for rule in rules)
    if self.trials < most:
      raise BenchmarkError(
        f'{self.title}: trials is {self.trials:g}; the baseline alone takes {most} training runs.'
      )
    for entrant in self.entrants:
      if not self._problems_of(entrant):
        raise BenchmarkError(
          f'{self.title}: {entrant.label} can run on none of the problems: it samples '
          f'constants, and {", ".join(self._offers)} offer none. Leave it out, or add a problem '
          'that offers some.'
        )

  def _require_references(self) -> None:
    if self.references == REFERENCES:
      return
    there = [*self.methods(), *(rule.label for rule in self.rules)]
    if unknown := [label for label in self.references if label not in there]:
      raise BenchmarkError(
        f'{self.title}: there is no {unknown[0]!r} to hold the others against; there are: '
        f'{", ".join(dict.fromkeys(there))}.'
      )

  def methods(self) -> dict[str, tuple[Entrant, AcceptanceSpec | None]]:
    """What has a row in the tables: by label, a strategy and the rule if that is compared too."""
    if not self.rules:
      return {c.label: (c, None) for c in self.entrants}
    alone = len(self.entrants) == 1
    return {
      rule.label if alone else f'{c.label} + {rule.label}': (c, rule)
      for c, rule in itertools.product(self.entrants, self.rules)
    }

  def groups(self) -> dict[str, tuple[str, ...]]:
    """The problems' labels by group."""
    found: dict[str, tuple[str, ...]] = {}
    for problem in self.problems:
      name = problem.group or 'problems'
      found[name] = (*found.get(name, ()), problem.label)
    return found

  def held_against(self) -> tuple[str, ...]:
    """Labels of the methods that are references, in the order of `references`."""
    methods = self.methods()
    return tuple(
      label
      for reference in self.references
      for label, (_, rule) in methods.items()
      if reference in (label, rule and rule.label)
    )

  def runnable(self) -> dict[str, tuple[str, ...]]:
    """Problems' labels that each method can run on; instances with constants have all."""
    able = {c.label: self._problems_of(c) for c in self.entrants}
    return {label: able[c.label] for label, (c, _) in self.methods().items()}

  def _problems_of(self, entrant: Entrant) -> tuple[str, ...]:
    return tuple(label for label, offers in self._offers.items() if offers or not entrant.samples)

  @functools.cached_property
  def _offers(self) -> dict[str, bool]:
    """Whether each problem offers its constants; makes an instance of each, for the first time."""
    try:
      return {problem.label: problem.offers_space(self.seeds[0]) for problem in self.problems}
    except SimulationError as error:
      raise BenchmarkError(f'{self.title}: {error}') from error

  def spec(self, method: str, problem: ProblemSpec, seed: int) -> RunSpec:
    entrant, rule = self.methods()[method]
    return RunSpec(problem, entrant, rule or problem.rule, seed, self.trials, self.slots)

  def specs(self) -> list[RunSpec]:
    runnable, problems = self.runnable(), {p.label: p for p in self.problems}
    return [
      self.spec(method, problems[label], seed)
      for method, labels in runnable.items()
      for label in labels
      for seed in self.seeds
    ]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A suite that was run: every spec has its run.

  runs: by (method, problem, seed). runnable: problems that each method can run on.
  """

  suite: Suite
  runs: Mapping[tuple[str, str, int], BenchmarkRun]
  runnable: Mapping[str, tuple[str, ...]]

  @property
  def left_out(self) -> list[tuple[str, str]]:
    """(method, problem) that cannot be played: it samples constants, the problem offers none."""
    return [
      (method, problem.label)
      for method, able in self.runnable.items()
      for problem in self.suite.problems
      if problem.label not in able
    ]

  def of(self, method: str, problem: str) -> list[BenchmarkRun]:
    """The runs of all seeds, in the seeds' order."""
    return [self.runs[method, problem, seed] for seed in self.suite.seeds]

  def scores(self, measure: str, method: str, problems: Sequence[str]) -> np.ndarray:
    """[problems, seeds] of one of MEASURES; smaller is better."""
    return np.array([[getattr(run, measure) for run in self.of(method, p)] for p in problems])

  def dataframe(self) -> 'pandas.DataFrame':
    """One row per run: problem, strategy, acceptance rule, seed, and the regret that was left.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
      import pandas  # noqa: PLC0415 - optional
    except ImportError as error:
      raise ImportError('dataframe() needs pandas: pip install pandas.') from error
    columns = ('problem', 'strategy', 'acceptance', 'instance_seed', *MEASURES, 'kept', 'runs')
    rows = ({name: getattr(run, name) for name in columns} for run in self.runs.values())
    return pandas.DataFrame(list(rows))


def compare(
  strategies: Iterable[Named | Entrant | Strategy | type[Strategy]] | Mapping[str, Named],
  problems: Iterable[Named | ProblemSpec] | Mapping[str, Named],
  acceptance: Named = 'strict',
  seeds: int | Iterable[int] = SEEDS,
  trials: float = 200,
  slots: int = 1,
  workers: int = 0,
  out: str | pathlib.Path | None = None,
) -> Comparison:
  """Plays every strategy on every problem and seed; returns what tables are made from.

  Args:
    strategies: Registered names, (name, options) pairs, Strategy objects or classes, or a mapping
      of labels to names or pairs. Classes that are not registered run in this process alone.
    problems: The same, of simulations.
    acceptance: The acceptance rule of all runs.
    seeds: Instance seeds, or how many of the held-out ones.
    trials: Budget of a run, in training runs.
    slots: Trials that run at the same time.
    workers: Processes; 0: one per core. With 1, names registered in this process alone will do.
    out: Folder that keeps `results.db`, so that the same call resumes and reuses what is there.

  Raises:
    ValueError: A name, option or number does not fit.

  Example:
    >>> import autoresearch_jax as ar
    >>> result = ar.compare(['greedy', 'random'], ['nk'], trials=10, seeds=2, workers=1)
    >>> len(result.runs)
    4
  """
  if isinstance(seeds, int):
    seeds = range(HELD_OUT, HELD_OUT + seeds)
  entrants: Any = strategies
  if not isinstance(entrants, Mapping | str):
    entrants = list(entrants)
    if any(map(_is_unregistered, entrants)):
      workers = 1
    entrants = list(map(_as_named, entrants))
  suite = Suite(
    'comparison', _problems(problems, *_pair(acceptance)), _entrants(entrants), tuple(seeds),
    trials, slots,
  )  # fmt: skip
  with contextlib.ExitStack() as stack:
    folder = out or stack.enter_context(tempfile.TemporaryDirectory())
    results = stack.enter_context(Results.open(pathlib.Path(folder) / 'results.db', suite.title))
    progress = stack.enter_context(shown())
    (made,) = run([suite], results, workers, progress)
  return made


def run(
  suites: Sequence[Suite],
  results: Results,
  workers: int,
  progress: ComparisonProgress,
  stop: Callable[[], str] = lambda: '',
) -> list[Comparison]:
  """Plays what is missing in `results`; the comparisons, or none of them if `stop` ended it.

  Raises BenchmarkError for a number of workers that cannot be, ResultsError when the file holds
  what does not compare, SimulationError for a run that cannot be played.
  """
  if workers < 0:
    raise BenchmarkError(f'workers is {workers}; it must be 0 (one a core) or more.')
  specs = {spec.key: spec for suite in suites for spec in suite.specs()}
  for spec in specs.values():
    for kind, (label, meaning) in spec.meanings().items():
      results.require(kind, label, meaning)
  missing = [spec for key, spec in specs.items() if key not in results.keys]
  progress.begin(len(specs), len(specs) - len(missing))
  with contextlib.closing(run_all(missing, workers, _versions(), stop)) as played:
    for runs in played:
      results.add(runs)
      progress.advance(len(runs))
  if any(key not in results.keys for key in specs):
    return []
  return [_comparison(suite, results) for suite in suites]


def _comparison(suite: Suite, results: Results) -> Comparison:
  stored = {made.key: made for made in results.runs()}
  runnable, problems = suite.runnable(), {p.label: p for p in suite.problems}
  runs = {
    (method, label, seed): stored[suite.spec(method, problems[label], seed).key]
    for method, labels in runnable.items()
    for label in labels
    for seed in suite.seeds
  }
  return Comparison(suite, runs, runnable)


def _versions() -> dict[str, str]:
  """Of what can change a played run; none of it is imported for that."""
  found = {'python': platform.python_version()}
  for package in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


def _made(row: ProblemSpec | Entrant | AcceptanceSpec) -> Any:
  """Raises BenchmarkError when there is no such thing, or it cannot be made."""
  try:
    return row.make()
  except (ValueError, ImportError) as error:
    raise BenchmarkError(f'{row.label}: {error}') from error


def _problems(
  problems: Iterable[Named | ProblemSpec] | Mapping[str, Named], rule: str, rule_options: Options
) -> tuple[ProblemSpec, ...]:
  return tuple(
    row if isinstance(row, ProblemSpec) else ProblemSpec(label, *_pair(row), '', rule, rule_options)
    for label, row in _labelled(problems, 'problems')
  )


def _entrants(
  strategies: Iterable[Named | Entrant] | Mapping[str, Named],
) -> tuple[Entrant, ...]:
  return tuple(
    row if isinstance(row, Entrant) else Entrant(label, *_pair(row))
    for label, row in _labelled(strategies, 'strategies')
  )


def _is_unregistered(strategy: Any) -> bool:
  """Whether it is a Strategy, or a class of one, that has no registered name."""
  kind = strategy if isinstance(strategy, type) else type(strategy)
  return issubclass(kind, Strategy) and not STRATEGIES.names_of(kind)


def _as_named(strategy: Any) -> Any:
  """A Strategy object or class as a (name, options) pair; anything else as it is."""
  kind = strategy if isinstance(strategy, type) else type(strategy)
  if not issubclass(kind, Strategy):
    return strategy
  if not STRATEGIES.names_of(kind):
    STRATEGIES.register(kind.__name__)(kind)
  fields = () if isinstance(strategy, type) else dataclasses.fields(strategy)
  options = {f.name: getattr(strategy, f.name) for f in fields if f.init}
  return STRATEGIES.names_of(kind)[0], options


def _pair(named: Named) -> tuple[str, Options]:
  return (named, {}) if isinstance(named, str) else (named[0], dict(named[1]))


def _labelled(rows: Any, what: str) -> list[tuple[str, Any]]:
  """(label, row) of a mapping or of a list, in which a row's name is its label."""
  if isinstance(rows, str):
    raise BenchmarkError(f'{what} is {rows!r}; give a list, or a mapping of labels.')
  if isinstance(rows, Mapping):
    return list(rows.items())
  return [(row if isinstance(row, str) else _label(row), row) for row in rows]


def _label(row: Any) -> str:
  if isinstance(row, ProblemSpec | Entrant):
    return row.label
  name, options = row
  said = ', '.join(f'{key}={value}' for key, value in options.items())
  return f'{name}({said})' if said else name


__all__ = ['BenchmarkError', 'Comparison', 'SimulationError', 'Suite', 'compare', 'run']
