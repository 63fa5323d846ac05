"""What is played against what: problems, strategies and rules by label, and a spec for each run.

A spec is plain data, so that any process can play it, and it always gives the same run.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.benchmark import sources
from autoresearch_jax.benchmark.regret import areas
from autoresearch_jax.benchmark.results import BenchmarkRun, Key
from autoresearch_jax.benchmark.runners.simulate import SimulatedRun, SimulationError, simulate
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Instance, Simulation
from autoresearch_jax.search import STRATEGIES, Strategy

Options = dict[str, Any]
# A run's root seed is ROOTS + its instance's seed. Instances draw from (seed, small number), runs
# from (root, turn): with equal seeds a strategy would draw what its problem's optimum was drawn
# from. As words of 32 bits the root is (seed, 256), so that no turn gives an instance's numbers.
ROOTS = 2**40


@dataclasses.dataclass(frozen=True)
class ProblemSpec:
  """group: the table it is counted in. acceptance: its runs' rule, unless rules are compared.

  sampled: whether its constants, if it has any, are offered to strategies that sample them.
  """

  label: str
  simulation: str
  options: Options = dataclasses.field(default_factory=dict)
  group: str = ''
  acceptance: str = 'strict'
  acceptance_options: Options = dataclasses.field(default_factory=dict)
  sampled: bool = True

  def make(self) -> Simulation:
    """Raises ValueError for an unknown name or option."""
    return SIMULATIONS.make(self.simulation, self.options)

  def offers_space(self, seed: int) -> bool:
    """Makes an instance and says whether strategies that sample constants can run on it.

    Raises SimulationError when the instance cannot be made.
    """
    with self.opened(seed) as instance:
      return self.sampled and bool(_space(instance))

  @contextlib.contextmanager
  def opened(self, seed: int) -> Iterator[Instance]:
    """The instance, which is closed at the end if it holds processes. Raises SimulationError."""
    try:
      instance = self.make().instance(seed)
    except Exception as error:  # a simulation is not ours either
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
  """A strategy with its options, under a label."""

  label: str
  strategy: str
  options: Options = dataclasses.field(default_factory=dict)

  def make(self, instance: Instance | None = None) -> Strategy:
    """Raises ValueError for an unknown name or option. instance: whose `space` it searches."""
    options = self.options
    if instance is not None:
      options = _with_space(self.strategy, options, _space(instance))
    return STRATEGIES.make(self.strategy, options)

  @property
  def samples(self) -> bool:
    """Whether it needs a space of constants from the problem."""
    return _samples(self.strategy, self.options)


@dataclasses.dataclass(frozen=True)
class AcceptanceSpec:
  """An acceptance rule with its options, under a label."""

  label: str
  acceptance: str
  options: Options = dataclasses.field(default_factory=dict)

  def make(self) -> AcceptanceRule:
    """Raises ValueError for an unknown name or option."""
    return ACCEPTANCE.make(self.acceptance, self.options)


@dataclasses.dataclass(frozen=True)
class RunSpec:
  """One run. trials: the budget in training runs. instance_seed: 0 or more, below 2**32."""

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
    """Of the strategy's and the proposer's random numbers."""
    return ROOTS + self.instance_seed

  def run(self, instance: Instance, versions: Mapping[str, str]) -> BenchmarkRun:
    """Plays the run on its instance. Raises SimulationError that names the spec.

    versions: of what can change a result, to be put on record.
    """
    try:
      strategy, rule = self.entrant.make(instance), self.rule.make()
      played = simulate(strategy, rule, instance, self.root_seed, self.trials, self.slots)
    except Exception as error:  # a strategy is not ours: whatever it raises is put into a sentence
      why = f'{error}' if isinstance(error, SimulationError) else f'{type(error).__name__}: {error}'
      raise SimulationError(
        f'{self.entrant.label} on {self.problem.label}, seed {self.instance_seed}, under '
        f'{self.rule.label} cannot be played: {why}'
      ) from error
    return self._run(instance, played, versions)

  def _run(
    self, instance: Instance, played: SimulatedRun, versions: Mapping[str, str]
  ) -> BenchmarkRun:
    under = areas(played.curve, self.trials, played.run_seconds)
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
      curve=played.curve,
      final=played.curve.regret[-1],
      area_runs=under.runs,
      area_seconds=under.seconds,
      area_calls=under.calls,
      runs=played.runs,
      seconds=played.seconds,
      calls=played.calls,
      run_seconds=played.run_seconds,
      statuses=played.statuses,
      kept=played.kept,
      false_keeps=played.false_keeps,
      versions=dict(versions),
    )

  def _definition(self, instance: Instance) -> str:
    """Digest of what makes the instance; another start or optimum shows that its code changed."""
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
    """Digests of the code of `classes`; the problem's has in it how runs are played."""
    found = {kind: sources.digest(kinds) for kind, kinds in self.classes().items()}
    return {**found, 'problem': found['problem'] + sources.run_digest()}

  def meanings(self) -> dict[str, tuple[str, dict[str, Any]]]:
    """What the spec's labels stand for, as `Results.require` wants it."""
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
  """Modules that another process must import to know the specs' names."""
  kinds = {kind for spec in specs for found in spec.classes().values() for kind in found}
  return sorted({kind.__module__ for kind in kinds} - {'__main__'})


def import_modules(modules: list[str]) -> None:
  for module in modules:
    importlib.import_module(module)


def _plain(options: Options) -> Options:
  """As JSON gives them back, so that a stored row equals a new one."""
  return msgspec.json.decode(msgspec.json.encode(options))


def _space(instance: Instance) -> Mapping[str, Any]:
  return instance.space


def _fields(strategy: str) -> dict[str, Any]:
  return {f.name: f.default for f in dataclasses.fields(STRATEGIES.get(strategy))}


def _samples(strategy: str, options: Options) -> bool:
  """Whether it, or a strategy inside it, needs a space of constants and was given none."""
  if inner := sources.wrapped(STRATEGIES, strategy, options):
    return _samples(inner, options.get('inner_options', {}))
  return 'space' in _fields(strategy) and not options.get('space')


def _with_space(strategy: str, options: Options, space: Mapping[str, Any]) -> Options:
  """The options, with the instance's space where a strategy has that option and no other value."""
  if not space or not _samples(strategy, options):
    return options
  if inner := sources.wrapped(STRATEGIES, strategy, options):
    given = _with_space(inner, options.get('inner_options', {}), space)
    return {**options, 'inner_options': given}
  return {**options, 'space': {name: dict(bounds) for name, bounds in space.items()}}
