"""`compare` runs strategies on problems; `Comparison` holds the results for tables and plots."""

import contextlib
import dataclasses
import functools
import itertools
import math
import pathlib
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoresearch_jax.benchmark.progress import ComparisonProgress, show_progress
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
from autoresearch_jax.registry import installed_versions
from autoresearch_jax.search import STRATEGIES, Strategy

Named = str | tuple[str, Options]
if TYPE_CHECKING:
  import pandas

SEEDS = range(HELD_OUT, HELD_OUT + 20)
PACKAGES = ('autoresearch_jax', 'numpy', 'scipy', 'optuna', 'cmaes', 'torch')
REFERENCES = ('random', 'best_of_n')  # by default, if they are among the strategies
MAX_SEEDS = 2**32  # instance seeds are below it, see `specs.ROOTS`
MEASURES = ('area_runs', 'final', 'area_seconds', 'area_calls')


class BenchmarkError(ValueError):
  """A benchmark is misconfigured; the message says how."""


@dataclasses.dataclass(frozen=True)
class Suite:
  """What to compare: strategies, or combinations of a strategy and an acceptance rule.

  Attributes:
    title: Heading of the suite on the leaderboard.
    problems: The problems.
    entrants: The strategies.
    seeds: Instance seeds; every method runs on every one of them.
    trials: Budget of a run, in training runs.
    slots: Trials that run at the same time.
    rules: Acceptance rules to combine with each strategy; none to use each problem's own rule.
    references: Labels of methods, or of rules for all methods with that rule, that all other
      methods are compared with.
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
        raise BenchmarkError(f'{self.title}: there are no {what}; name one or more.')
    for rows in (self.problems, self.entrants, self.rules):
      labels = [row.label for row in rows]
      if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise BenchmarkError(f'{self.title}: the label {twice[0]!r} occurs twice.')
    self._require_numbers()
    self._require_made()
    self._require_references()

  def _require_numbers(self) -> None:
    if len(set(self.seeds)) < len(self.seeds):
      raise BenchmarkError(f'{self.title}: a seed occurs twice.')
    if wrong := [seed for seed in self.seeds if not 0 <= seed < MAX_SEEDS]:
      raise BenchmarkError(
        f'{self.title}: {wrong[0]} is not an instance seed; they range from 0 to {MAX_SEEDS - 1}.'
      )
    if self.slots < 1:
      raise BenchmarkError(f'{self.title}: slots is {self.slots}; it must be 1 or more.')
    if not math.isfinite(self.trials):
      raise BenchmarkError(f'{self.title}: trials is {self.trials}; it must be a finite number.')

  def _require_made(self) -> None:
    """Makes every part once, so that wrong names and options are reported before any run."""
    for row in (*self.problems, *self.entrants):
      _made(row)
    rules = self.rules or tuple(problem.rule for problem in self.problems)
    needed = max(_made(rule).baseline_seeds for rule in rules)
    if self.trials < needed:
      raise BenchmarkError(
        f'{self.title}: trials is {self.trials:g}; the baseline alone takes {needed} training runs.'
      )
    for entrant in self.entrants:
      if not self._problems_of(entrant):
        raise BenchmarkError(
          f'{self.title}: {entrant.label} can run on none of the problems: it samples '
          f'constants, and {", ".join(self._offers_space)} have none. Remove it, or add a problem '
          'with constants.'
        )

  def _require_references(self) -> None:
    if self.references == REFERENCES:
      return
    known = [*self.methods(), *(rule.label for rule in self.rules)]
    if unknown := [label for label in self.references if label not in known]:
      raise BenchmarkError(
        f'{self.title}: the reference {unknown[0]!r} does not exist; there are: '
        f'{", ".join(dict.fromkeys(known))}.'
      )

  def methods(self) -> dict[str, tuple[Entrant, AcceptanceSpec | None]]:
    """Returns the rows of the tables by label: a strategy, and a rule if rules are compared."""
    if not self.rules:
      return {c.label: (c, None) for c in self.entrants}
    one_strategy = len(self.entrants) == 1
    return {
      rule.label if one_strategy else f'{c.label} + {rule.label}': (c, rule)
      for c, rule in itertools.product(self.entrants, self.rules)
    }

  def groups(self) -> dict[str, tuple[str, ...]]:
    """Returns the labels of the problems by group."""
    found: dict[str, tuple[str, ...]] = {}
    for problem in self.problems:
      name = problem.group or 'problems'
      found[name] = (*found.get(name, ()), problem.label)
    return found

  def reference_methods(self) -> tuple[str, ...]:
    """Returns the labels of the methods that are references, in the order of `references`."""
    methods = self.methods()
    return tuple(
      label
      for reference in self.references
      for label, (_, rule) in methods.items()
      if reference in (label, rule and rule.label)
    )

  def runnable(self) -> dict[str, tuple[str, ...]]:
    """Returns the problems that each method can run on, both by label."""
    by_entrant = {c.label: self._problems_of(c) for c in self.entrants}
    return {label: by_entrant[c.label] for label, (c, _) in self.methods().items()}

  def _problems_of(self, entrant: Entrant) -> tuple[str, ...]:
    return tuple(
      label for label, offers in self._offers_space.items() if offers or not entrant.samples
    )

  @functools.cached_property
  def _offers_space(self) -> dict[str, bool]:
    """Whether each problem has constants to sample, by label; makes an instance of each."""
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
  """What `ar.compare` returns: one simulated run per strategy, problem and seed.

  Attributes:
    suite: What was compared.
    runs: Runs by (method, problem, seed); a method is a strategy's label.
    runnable: Problems that each method can run on.

  Example:
    >>> import autoresearch_jax as ar
    >>> result = ar.compare(['greedy', 'random'], ['nk'], trials=10, seeds=2, workers=1)
    >>> sorted(result.runs)[0]
    ('greedy', 'nk', 1000)
  """

  suite: Suite
  runs: Mapping[tuple[str, str, int], BenchmarkRun]
  runnable: Mapping[str, tuple[str, ...]]

  @property
  def left_out(self) -> list[tuple[str, str]]:
    """Pairs (method, problem) without runs: the method samples constants, the problem has none."""
    return [
      (method, problem.label)
      for method, problems in self.runnable.items()
      for problem in self.suite.problems
      if problem.label not in problems
    ]

  def runs_of(self, method: str, problem: str) -> list[BenchmarkRun]:
    """Returns the runs of a method on a problem, in the order of `suite.seeds`."""
    return [self.runs[method, problem, seed] for seed in self.suite.seeds]

  def scores(self, measure: str, method: str, problems: Sequence[str]) -> np.ndarray:
    """Returns one of MEASURES for each run, [problems, seeds]; smaller is better."""
    return np.array([[getattr(run, measure) for run in self.runs_of(method, p)] for p in problems])

  def dataframe(self) -> 'pandas.DataFrame':
    """Returns one row per run: problem, strategy, acceptance rule, seed, and regrets.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
      import pandas  # noqa: PLC0415 - optional
    except ImportError as error:
      raise ImportError('dataframe() needs pandas: pip install pandas.') from error
    return pandas.DataFrame(self.rows())

  def rows(self) -> list[dict[str, Any]]:
    """Returns the rows of `dataframe`: name -> value for each run."""
    columns = ('problem', 'strategy', 'acceptance', 'instance_seed', *MEASURES, 'kept', 'runs')
    return [{name: getattr(run, name) for name in columns} for run in self.runs.values()]


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
  """Runs every strategy on every simulation and seed; nothing is trained.

  Args:
    strategies: Registered names, (name, options) pairs, Strategy objects or classes, or a mapping
      of labels to names or pairs. With classes that are not registered, everything runs in this
      process.
    problems: Simulations (see `benchmark/simulations/`), not a run's problems, in the same form.
    acceptance: The acceptance rule of all runs.
    seeds: Instance seeds; a number n means 1000 to 1000 + n - 1.
    trials: Budget of a run, in training runs.
    slots: Trials that run at the same time.
    workers: Number of processes; 0 for one per core. Names that were registered in an interactive
      session need 1.
    out: Folder for `results.db`, from which the same call resumes; None to keep nothing.

  Returns:
    The runs, for `leaderboard` or `Comparison.dataframe`.

  Raises:
    ValueError: A name, option or number is wrong.

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
    progress = stack.enter_context(show_progress())
    (comparison,) = run([suite], results, workers, progress)
  return comparison


def run(
  suites: Sequence[Suite],
  results: Results,
  workers: int,
  progress: ComparisonProgress,
  stop: Callable[[], str] = lambda: '',
) -> list[Comparison]:
  """Makes the runs that are missing in `results`.

  Args:
    suites: What to compare.
    results: Where runs are stored.
    workers: Number of processes; 0 for one per core.
    progress: Where progress is shown.
    stop: Returns a reason to stop, or ''.

  Returns:
    A comparison per suite; none if `stop` ended the benchmark early.

  Raises:
    BenchmarkError: `workers` is negative.
    ResultsError: The file contains runs of another definition of a label.
    SimulationError: A run failed.
  """
  if workers < 0:
    raise BenchmarkError(f'workers is {workers}; it must be 0 (one per core) or more.')
  specs = {spec.key: spec for suite in suites for spec in suite.specs()}
  for spec in specs.values():
    for kind, (label, meaning) in spec.meanings().items():
      results.require(kind, label, meaning)
  missing = [spec for key, spec in specs.items() if key not in results.keys]
  progress.begin(len(specs), len(specs) - len(missing))
  with contextlib.closing(run_all(missing, workers, _versions(), stop)) as finished:
    for runs in finished:
      results.add(runs)
      progress.advance(len(runs))
  if any(key not in results.keys for key in specs):
    return []
  return [_comparison(suite, results) for suite in suites]


def _comparison(suite: Suite, results: Results) -> Comparison:
  stored = {run.key: run for run in results.runs()}
  runnable, problems = suite.runnable(), {p.label: p for p in suite.problems}
  runs = {
    (method, label, seed): stored[suite.spec(method, problems[label], seed).key]
    for method, labels in runnable.items()
    for label in labels
    for seed in suite.seeds
  }
  return Comparison(suite, runs, runnable)


def _versions() -> dict[str, str]:
  """Returns the versions of everything that can change a result, without importing it."""
  return {'python': platform.python_version(), **installed_versions(PACKAGES)}


def _made(row: ProblemSpec | Entrant | AcceptanceSpec) -> Any:
  """Makes a problem, strategy or rule. Raises BenchmarkError."""
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
  """Whether it is an object or a subclass of Strategy without a registered name."""
  kind = strategy if isinstance(strategy, type) else type(strategy)
  return issubclass(kind, Strategy) and not STRATEGIES.names_of(kind)


def _as_named(strategy: Any) -> Any:
  """Converts a Strategy object or class to a (name, options) pair; returns the rest unchanged."""
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
  """Returns (label, row) pairs of a mapping or a list; in a list, the label is the name."""
  if isinstance(rows, str):
    raise BenchmarkError(f'{what} is {rows!r}; give a list, or a mapping from labels.')
  if isinstance(rows, Mapping):
    return list(rows.items())
  return [(row if isinstance(row, str) else _label(row), row) for row in rows]


def _label(row: Any) -> str:
  if isinstance(row, ProblemSpec | Entrant):
    return row.label
  name, options = row
  arguments = ', '.join(f'{key}={value}' for key, value in options.items())
  return f'{name}({arguments})' if arguments else name


__all__ = ['BenchmarkError', 'Comparison', 'SimulationError', 'Suite', 'compare', 'run']
