"""`compare` runs strategies on problems; `Comparison` holds the results for tables and plots."""

import contextlib
import dataclasses
import functools
import itertools
import math
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoresearch_jax.benchmark.parts import (
  BenchmarkError,
  Part,
  entrants,
  has_unregistered,
  problem_specs,
)
from autoresearch_jax.benchmark.progress import ComparisonProgress, show_progress
from autoresearch_jax.benchmark.results import BenchmarkRun, Results
from autoresearch_jax.benchmark.runners.pool import run_all
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec, RunSpec
from autoresearch_jax.benchmark.simulations import HELD_OUT
from autoresearch_jax.messages import say
from autoresearch_jax.registry import installed_versions

if TYPE_CHECKING:
  import pandas

SEEDS = range(HELD_OUT, HELD_OUT + 20)
PACKAGES = ('autoresearch_jax', 'numpy', 'scipy', 'optuna', 'cmaes', 'torch')
REFERENCES = ('random', 'best_of_n')  # by default, if they are among the strategies
MAX_SEEDS = 2**32  # instance seeds are below it, see `specs.ROOTS`
MEASURES = ('area_runs', 'final', 'area_seconds', 'area_calls')


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
    return _dataframe(self.rows())

  def trials(self, method: str, problem: str, seed: int) -> 'pandas.DataFrame':
    """Returns one row per trial of a run; see `trial_rows`.

    Raises:
      ImportError: pandas is not installed.
    """
    return _dataframe(self.trial_rows(method, problem, seed))

  def trial_rows(self, method: str, problem: str, seed: int) -> list[dict[str, Any]]:
    """Returns the trials of a run: operation, parents, seeds, status, metric, decision, program.

    They are not stored: the run is simulated again, which gives the same trials.
    `runners/simulate.py` lists the fields.

    Args:
      method: Label of the strategy.
      problem: Label of the problem.
      seed: Instance seed.

    Raises:
      BenchmarkError: There is no such run.
    """
    if (method, problem, seed) not in self.runs:
      methods, problems, seeds = (list(dict.fromkeys(k)) for k in zip(*self.runs, strict=True))
      raise BenchmarkError(
        f'There is no run of {method!r} on {problem!r} with seed {seed}. Methods: '
        f'{", ".join(methods)}; problems: {", ".join(problems)}; seeds: {min(seeds)} to '
        f'{max(seeds)}.'
      )
    chosen = next(p for p in self.suite.problems if p.label == problem)
    return self.suite.spec(method, chosen, seed).trial_rows()

  def rows(self) -> list[dict[str, Any]]:
    """Returns the rows of `dataframe`: name -> value for each run."""
    columns = ('problem', 'strategy', 'acceptance', 'instance_seed', *MEASURES, 'kept', 'runs')
    return [{name: getattr(run, name) for name in columns} for run in self.runs.values()]


def compare(
  strategies: Iterable[Part | Entrant] | Mapping[str, Part],
  problems: Iterable[Part | ProblemSpec] | Mapping[str, Part],
  acceptance: Part = 'strict',
  seeds: int | Iterable[int] = SEEDS,
  trials: float = 200,
  slots: int = 1,
  workers: int = 0,
  out: str | pathlib.Path | None = None,
  minutes: float = 0,
) -> Comparison:
  """Runs every strategy on every simulation and seed; nothing is trained.

  Args:
    strategies: Registered names, (name, options) pairs, Strategy objects or classes, or a mapping
      of labels to these. With classes that are not registered, or that the script or notebook
      itself defines, everything runs in this process.
    problems: Simulations (see `benchmark/simulations/`), not a run's problems, in the same form.
    acceptance: The acceptance rule of all runs: a name, a pair, an object or a class.
    seeds: Instance seeds; a number n means 1000 to 1000 + n - 1.
    trials: Budget of a run, in training runs.
    slots: Trials that run at the same time.
    workers: Number of processes; 0 for one per core. A script needs no main guard.
    out: Folder for `results.db`, from which the same call resumes; None to keep nothing.
    minutes: When to stop; 0 for never. The comparison then has the seeds on which all runs are
      done.

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
  given: list[Any] = [
    parts if isinstance(parts, Mapping | str) else list(parts) for parts in (strategies, problems)
  ]
  if not 0 <= minutes < math.inf:
    raise BenchmarkError(f'minutes is {minutes}; it must be 0 (no limit) or more.')
  if has_unregistered(*given, acceptance):
    workers = 1  # no other process would find them by name
  suite = Suite(
    'comparison', problem_specs(given[1], acceptance), entrants(given[0]), tuple(seeds), trials,
    slots,
  )  # fmt: skip
  deadline = time.monotonic() + 60 * minutes if minutes else math.inf
  stop = lambda: 'The minutes are over.' if time.monotonic() > deadline else ''  # noqa: E731
  with contextlib.ExitStack() as stack:
    folder = out or stack.enter_context(tempfile.TemporaryDirectory())
    results = stack.enter_context(Results.open(pathlib.Path(folder) / 'results.db', suite.title))
    progress = stack.enter_context(show_progress())
    compared = run([suite], results, workers, progress, stop) or finished([suite], results)
  if not compared:
    raise BenchmarkError(
      f'{suite.title}: no seed was finished in {minutes:g} minutes. Raise minutes, lower trials, '
      'or give out: the same call then goes on.'
    )
  return compared[0]


def finished(suites: Sequence[Suite], results: Results) -> list[Comparison]:
  """Returns comparisons over the seeds on which all runs are done; none for a suite without."""
  comparisons = []
  for suite in suites:
    missing = {spec.instance_seed for spec in suite.specs() if spec.key not in results.keys}
    if done := tuple(seed for seed in suite.seeds if seed not in missing):
      if len(done) < len(suite.seeds):
        say(f'{suite.title}: {len(done)} of {len(suite.seeds)} seeds are done.', file=sys.stderr)
      comparisons.append(_comparison(dataclasses.replace(suite, seeds=done), results))
  return comparisons


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


def _dataframe(rows: list[dict[str, Any]]) -> 'pandas.DataFrame':
  try:
    import pandas  # noqa: PLC0415 - optional
  except ImportError as error:
    raise ImportError('dataframe() needs pandas: pip install pandas.') from error
  return pandas.DataFrame(rows)


__all__ = ['BenchmarkError', 'Comparison', 'SimulationError', 'Suite', 'compare', 'run']
