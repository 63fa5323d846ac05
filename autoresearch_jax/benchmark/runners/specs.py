"""Specifications of benchmark runs: a problem, a strategy and an acceptance rule, by label.

A `RunSpec` is plain data, so any process can simulate it, and it always gives the same run.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.benchmark import sources
from autoresearch_jax.benchmark.regret import areas
from autoresearch_jax.benchmark.results import BenchmarkRun, Key
from autoresearch_jax.benchmark.runners.simulate import (
  SimulatedRun,
  SimulationError,
  simulate,
  simulated_trials,
)
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Instance, Simulation
from autoresearch_jax.search import STRATEGIES, Strategy

Options = dict[str, Any]
# A run's root seed is ROOTS + its instance's seed. Instances use the seeds (instance seed, number),
# runs (root seed, turn). With equal seeds, a strategy could draw the same random numbers as its
# problem's optimum. As 32-bit words the root seed is (instance seed, 256), so no turn collides.
ROOTS = 2**40


@dataclasses.dataclass(frozen=True)
class ProblemSpec:
  """A problem under a label.

  Attributes:
    label: Its name in tables.
    simulation: Registered name of the simulation.
    options: Options of the simulation.
    group: The table that it belongs to.
    acceptance: Acceptance rule of its runs, unless rules are compared.
    acceptance_options: Options of that rule.
    sampled: Whether strategies that sample constants run on it, if it has any.
  """

  label: str
  simulation: str
  options: Options = dataclasses.field(default_factory=dict)
  group: str = ''
  acceptance: str = 'strict'
  acceptance_options: Options = dataclasses.field(default_factory=dict)
  sampled: bool = True

  def make(self) -> Simulation:
    """Makes the simulation. Raises ValueError for an unknown name or option."""
    return SIMULATIONS.make(self.simulation, self.options)

  def offers_space(self, seed: int) -> bool:
    """Whether strategies that sample constants can run on the instance with this seed.

    Raises:
      SimulationError: The instance cannot be made.
    """
    with self.opened(seed) as instance:
      return self.sampled and bool(_space(instance))

  @contextlib.contextmanager
  def opened(self, seed: int) -> Iterator[Instance]:
    """Makes an instance for the duration of a `with` block. Raises SimulationError."""
    try:
      instance = self.make().instance(seed)
    except Exception as error:  # third-party simulations may raise anything
      raise SimulationError(
        f'The problem {self.label}, seed {seed}, cannot be made: {type(error).__name__}: {error}'
      ) from error
    try:
      yield instance
    finally:
      instance.close()

  @property
  def rule(self) -> 'AcceptanceSpec':
    return AcceptanceSpec(self.acceptance, self.acceptance, self.acceptance_options)


@dataclasses.dataclass(frozen=True)
class Entrant:
  """A strategy under a label.

  Attributes:
    label: Its name in tables.
    strategy: Registered name.
    options: Its options.
  """

  label: str
  strategy: str
  options: Options = dataclasses.field(default_factory=dict)

  def make(self, instance: Instance | None = None) -> Strategy:
    """Makes the strategy.

    Args:
      instance: Its `space` becomes the strategy's option, if it has that.

    Raises:
      ValueError: A name or option is unknown.
    """
    options = self.options
    if instance is not None:
      options = _with_space(self.strategy, options, _space(instance))
    return STRATEGIES.make(self.strategy, options)

  @property
  def samples(self) -> bool:
    """Whether the strategy needs constants to sample from the problem."""
    return _samples(self.strategy, self.options)


@dataclasses.dataclass(frozen=True)
class AcceptanceSpec:
  """An acceptance rule under a label.

  Attributes:
    label: Its name in tables.
    acceptance: Registered name.
    options: Its options.
  """

  label: str
  acceptance: str
  options: Options = dataclasses.field(default_factory=dict)

  def make(self) -> AcceptanceRule:
    """Makes the rule. Raises ValueError for an unknown name or option."""
    return ACCEPTANCE.make(self.acceptance, self.options)


@dataclasses.dataclass(frozen=True)
class RunSpec:
  """One run.

  Attributes:
    problem: The problem.
    entrant: The strategy.
    rule: The acceptance rule.
    instance_seed: Seed of the instance, at least 0 and below 2**32.
    trials: Budget in training runs.
    slots: Trials that run at the same time.
  """

  problem: ProblemSpec
  entrant: Entrant
  rule: AcceptanceSpec
  instance_seed: int
  trials: float
  slots: int = 1

  @property
  def key(self) -> Key:
    return self.problem.label, self.entrant.label, self.rule.label, self.instance_seed

  @property
  def root_seed(self) -> int:
    """Root seed of the strategy's and the proposer's random numbers."""
    return ROOTS + self.instance_seed

  def run(self, instance: Instance, versions: Mapping[str, str]) -> BenchmarkRun:
    """Simulates the run.

    Args:
      instance: The problem's instance with `instance_seed`.
      versions: Versions of packages, stored with the run.

    Raises:
      SimulationError: The run failed; the message names the spec.
    """
    with self._named_errors():
      strategy, rule = self.entrant.make(instance), self.rule.make()
      simulated = simulate(strategy, rule, instance, self.root_seed, self.trials, self.slots)
    return self._run(instance, simulated, versions)

  def trial_rows(self) -> list[dict[str, Any]]:
    """Simulates the run again and returns its trials; see `simulated_trials`.

    Raises:
      SimulationError: The run failed; the message names the spec.
    """
    with self.problem.opened(self.instance_seed) as instance, self._named_errors():
      strategy, rule = self.entrant.make(instance), self.rule.make()
      return simulated_trials(strategy, rule, instance, self.root_seed, self.trials, self.slots)

  @contextlib.contextmanager
  def _named_errors(self) -> Iterator[None]:
    """Converts any error to a SimulationError that names the spec."""
    try:
      yield
    except Exception as error:  # third-party strategies may raise anything
      why = f'{error}' if isinstance(error, SimulationError) else f'{type(error).__name__}: {error}'
      raise SimulationError(
        f'{self.entrant.label} on {self.problem.label}, seed {self.instance_seed}, under '
        f'{self.rule.label} failed: {why}'
      ) from error

  def _run(
    self, instance: Instance, simulated: SimulatedRun, versions: Mapping[str, str]
  ) -> BenchmarkRun:
    under = areas(simulated.curve, self.trials, simulated.run_seconds)
    return BenchmarkRun(
      problem=self.problem.label,
      simulation=self.problem.simulation,
      simulation_options=_plain(self.problem.options),
      problem_code=self.code['problem'],
      definition=self._definition(instance),
      start=instance.start.digest,
      instance_seed=self.instance_seed,
      trials=float(self.trials),
      slots=self.slots,
      strategy=self.entrant.label,
      strategy_name=self.entrant.strategy,
      strategy_options=_plain(self.entrant.options),
      strategy_code=self.code['strategy'],
      acceptance=self.rule.label,
      acceptance_name=self.rule.acceptance,
      acceptance_options=_plain(self.rule.options),
      acceptance_code=self.code['acceptance'],
      seed=self.root_seed,
      curve=simulated.curve,
      final=simulated.curve.regret[-1],
      area_runs=under.runs,
      area_seconds=under.seconds,
      area_calls=under.calls,
      runs=simulated.runs,
      seconds=simulated.seconds,
      calls=simulated.calls,
      run_seconds=simulated.run_seconds,
      statuses=simulated.statuses,
      kept=simulated.kept,
      false_keeps=simulated.false_keeps,
      versions=dict(versions),
    )

  def _definition(self, instance: Instance) -> str:
    """Digest of the instance's definition and of values that follow from it."""
    said = [
      self.problem.simulation, self.problem.options, self.instance_seed, instance.start.digest,
      instance.optimum, instance.value(instance.start), instance.objective,
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(said, order='sorted')).hexdigest()

  def classes(self) -> dict[str, list[type]]:
    """What the spec's names are registered for, wrapped ones too."""
    return {
      'problem': [SIMULATIONS.get(self.problem.simulation)],
      'strategy': sources.classes(STRATEGIES, self.entrant.strategy, self.entrant.options),
      'acceptance': sources.classes(ACCEPTANCE, self.rule.acceptance, self.rule.options),
    }

  @functools.cached_property
  def code(self) -> dict[str, str]:
    """Digests of the code of `classes`; the problem's includes how runs are simulated."""
    found = {kind: sources.digest(kinds) for kind, kinds in self.classes().items()}
    return {**found, 'problem': found['problem'] + sources.run_digest()}

  def meanings(self) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns (label, fields that define it) by kind, for `Results.require`."""
    return {
      'problem': (
        self.problem.label,
        {
          'simulation': self.problem.simulation,
          'simulation_options': _plain(self.problem.options),
          'trials': float(self.trials),
          'slots': self.slots,
          'problem_code': self.code['problem'],
        },
      ),
      'strategy': (
        self.entrant.label,
        {
          'strategy_name': self.entrant.strategy,
          'strategy_options': _plain(self.entrant.options),
          'strategy_code': self.code['strategy'],
        },
      ),
      'acceptance': (
        self.rule.label,
        {
          'acceptance_name': self.rule.acceptance,
          'acceptance_options': _plain(self.rule.options),
          'acceptance_code': self.code['acceptance'],
        },
      ),
    }


def modules_of(specs: list[RunSpec]) -> list[str]:
  """Returns the modules that register the specs' names, for another process to import."""
  kinds = {kind for spec in specs for found in spec.classes().values() for kind in found}
  return sorted({kind.__module__ for kind in kinds} - {'__main__'})


def defined_in_script(specs: Iterable[RunSpec]) -> str:
  """Returns the name of a class that the specs need and `__main__` defines; '' for none."""
  kinds = (kind for spec in specs for found in spec.classes().values() for kind in found)
  return next((kind.__name__ for kind in kinds if kind.__module__ == '__main__'), '')


def import_modules(modules: list[str]) -> None:
  for module in modules:
    importlib.import_module(module)


def _plain(options: Options) -> Options:
  """Converts options to what JSON gives back, so that a stored row equals a new one."""
  return msgspec.json.decode(msgspec.json.encode(options))


def _space(instance: Instance) -> Mapping[str, Any]:
  return instance.space


def _fields(strategy: str) -> dict[str, Any]:
  return {f.name: f.default for f in dataclasses.fields(STRATEGIES.get(strategy))}


def _samples(strategy: str, options: Options) -> bool:
  """Whether a strategy, or one that it wraps, has the option `space` and no value for it."""
  if inner := sources.wrapped(STRATEGIES, strategy, options):
    return _samples(inner, options.get('inner_options', {}))
  return 'space' in _fields(strategy) and not options.get('space')


def _with_space(strategy: str, options: Options, space: Mapping[str, Any]) -> Options:
  """Returns the options with the instance's space for strategies that need one."""
  if not space or not _samples(strategy, options):
    return options
  if inner := sources.wrapped(STRATEGIES, strategy, options):
    inner_options = _with_space(inner, options.get('inner_options', {}), space)
    return {**options, 'inner_options': inner_options}
  return {**options, 'space': {name: dict(bounds) for name, bounds in space.items()}}
