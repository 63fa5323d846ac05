"""Real training runs as a simulation: the trial engine as a benchmark problem.

A trial is what it is in a run: the config's proposer edits the program, the tracer traces it in its
sandbox, and a warm runner trains and scores it. A trial therefore takes seconds instead of
microseconds and the whole machine: use one worker and one slot. With a budget in steps, results are
bit-reproducible on one kind of machine; with a budget in seconds they are not.

Instances differ in their training seeds: seed s of instance i trains with seed i·2³² + s. The value
of a program is the same in all instances; it is measured once, on seeds that no trial uses.
"""

import dataclasses
import pathlib
import tempfile
import time

import numpy as np

from autoresearch_jax import config as configs
from autoresearch_jax.benchmark.simulations.base import SIMULATIONS, Instance, Simulation
from autoresearch_jax.config import Config, from_config_dict
from autoresearch_jax.executors import Executor, finished
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.research.build import build, build_task
from autoresearch_jax.types import (
  Edit,
  Measurement,
  Objective,
  Program,
  Proposal,
  Result,
  Spec,
  Status,
  TrialRequest,
)

SEEDS_PER_INSTANCE = 2**32
MAX_INSTANCES = 2**29
VALUE_SEED = SEEDS_PER_INSTANCE * MAX_INSTANCES  # the first seed that measures a program's value
VALUE_TRIAL = -1  # trial number of these measurements


@SIMULATIONS.register('engine')
@dataclasses.dataclass(frozen=True)
class EngineSimulation(Simulation):
  """The problem of a config. The config's strategy and acceptance rule are ignored.

  Attributes:
    config: The name of a shipped config, or a file.
    variant: The config's variant, as in `FILE:VARIANT`; '' for the file's default.
    optimum: The best known value of the metric; None for the problem's own, `Problem.best_known`.
    value_seeds: Number of training runs that measure the value of a program.
    values: Values measured so far in this process, by digest of the program. Not an option.
  """

  config: str = 'configs/packing.py'
  variant: str = ''
  optimum: float | None = None
  value_seeds: int = 4
  values: dict[str, float | None] = dataclasses.field(
    default_factory=dict, init=False, repr=False, compare=False
  )

  def __post_init__(self) -> None:
    if self.value_seeds < 1:
      raise ValueError(f'value_seeds is {self.value_seeds}; it must be at least 1.')

  def instance(self, seed: int) -> 'EngineInstance':
    """Returns the instance with this seed; starts no process yet.

    Raises:
      ConfigError: The config cannot be loaded.
      ValueError: The seed is out of range, or no optimum is known.
    """
    if not 0 <= seed < MAX_INSTANCES:
      raise ValueError(f'The instance seed is {seed}; it must be 0 to {MAX_INSTANCES - 1}.')
    config = load(self.config, self.variant)
    return EngineInstance(config, seed, self._optimum(config), self.value_seeds, self.values)

  def _optimum(self, config: Config) -> float:
    if self.optimum is not None:
      return self.optimum
    known = build_task(config).problem.best_known(config.metric)
    if known is None:
      raise ValueError(
        f'No best known value of {config.metric} is recorded for the problem {config.problem!r} '
        f'with {config.data}. Set the option optimum to the best value you know.'
      )
    return known


class EngineInstance(Instance):
  """An instance that trains real programs. It owns processes: close it."""

  def __init__(
    self,
    config: Config,
    seed: int,
    optimum: float,
    value_seeds: int,
    values: dict[str, float | None],
  ):
    """Makes an instance; the executor starts with the first trial.

    Args:
      config: The run whose problem, program, proposer and limits are used.
      seed: The instance seed.
      optimum: The best known value of the metric.
      value_seeds: Number of training runs that measure the value of a program.
      values: Values by digest of the program, shared by all instances in this process.
    """
    self._run = build(config)
    self._optimum = optimum
    self._first_seed = seed * SEEDS_PER_INSTANCE
    self._value_seeds = tuple(range(VALUE_SEED, VALUE_SEED + value_seeds))
    self._values = values
    self._executor: Executor | None = None
    self._scratch: tempfile.TemporaryDirectory[str] | None = None

  @property
  def objective(self) -> Objective:
    return self._run.config.objective

  @property
  def start(self) -> Program:
    return self._run.program

  @property
  def optimum(self) -> float:
    return self._optimum

  @property
  def spec(self) -> Spec:
    return self._run.spec

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns an edit by the config's proposer, of the files that the config lists."""
    context = dataclasses.replace(
      context, editable=self._run.config.editable, objective=self.objective, spec=self.spec
    )
    return self._run.proposer.propose(proposal, context, rng)

  def measure(self, request: TrialRequest) -> Result:
    """Traces, trains and scores a program, and waits for the result.

    Raises:
      Unavailable: No trial can run on this machine.
      ConfigError: The data cannot be prepared as the config asks.
      SandboxError: The sandbox that the config requires is not available.
      OSError: The operating system refused something.
    """
    began = time.monotonic()
    seeds = tuple(self._first_seed + seed for seed in request.seeds)
    result = self._train(dataclasses.replace(request, seeds=seeds))
    facts = {**result.facts, 'seconds': time.monotonic() - began}
    if 'curves' in facts:
      facts['curves'] = {
        str(int(seed) - self._first_seed): curve for seed, curve in facts['curves'].items()
      }
    return dataclasses.replace(
      result, measurements=tuple(map(self._with_own_seed, result.measurements)), facts=facts
    )

  def value(self, program: Program) -> float | None:
    """Returns the mean metric over `value_seeds` seeds that no trial uses; None for a failure.

    Expensive: it trains as often as there are seeds, once per program. The mean has noise, too.
    """
    if program.digest not in self._values:
      request = TrialRequest(VALUE_TRIAL, program, self._value_seeds, self.spec.budget)
      result = self._train(request)
      values = [m.metrics[self.objective.metric] for m in result.measurements]
      ok = result.status == Status.OK
      self._values[program.digest] = float(np.mean(values)) if ok else None
    return self._values[program.digest]

  def close(self) -> None:
    """Ends the tracer and the runner, which start again when needed. Idempotent."""
    if self._executor:
      self._executor.close()
    if self._scratch:
      self._scratch.cleanup()
    self._executor = self._scratch = None

  def _train(self, request: TrialRequest) -> Result:
    (result,) = finished(self._running_executor(), request)
    return result

  def _running_executor(self) -> Executor:
    if self._executor is None:
      dataset = self._run.prepare_data(lambda text: None)
      self._scratch = tempfile.TemporaryDirectory(prefix='autoresearch_jax_')
      self._executor = self._run.start_executor(dataset, pathlib.Path(self._scratch.name))
    return self._executor

  def _with_own_seed(self, measurement: Measurement) -> Measurement:
    return dataclasses.replace(measurement, seed=measurement.seed - self._first_seed)


def load(file: str, variant: str = '') -> Config:
  """Loads a shipped config or a file, in one variant. Raises ConfigError."""
  return from_config_dict(configs.load(f'{file}:{variant}' if variant else file))
