"""Real trainings beside simulations: the trial engine as an instance of a benchmark.

A trial here is what it is in a run: `mutate` (or the config's proposer) edits the program, the
tracer traces it in its sandbox, the warm runner trains and scores it. So it takes seconds, not
microseconds, and all of the machine: play one instance at a time, with one slot. With a budget in
steps and one kind of machine, results repeat bit for bit; with a budget in seconds they do not.

Instances differ in their training seeds: seed s of instance i trains with i·2³² + s. What they do
not differ in is what a program is worth, which is measured once on seeds that no trial ever gets.
"""

import dataclasses
import pathlib
import tempfile
import time

import numpy as np

from autoresearch_jax import config as configs
from autoresearch_jax.benchmark.simulations import SIMULATIONS
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

SEEDS_APART = 2**32  # between two instances
MAX_INSTANCES = 2**29
VALUE_SEED = SEEDS_APART * MAX_INSTANCES  # the first of those that tell a program's value
VALUE_TRIAL = -1  # the number under which they are submitted


@SIMULATIONS.register('engine')
@dataclasses.dataclass(frozen=True)
class EngineProblem:
  """A config's problem, to be compared on. Its strategy and acceptance are not looked at.

  config: the name of a shipped config or a file. variant: as in the config
  string, '' for the file's default. optimum: the best known value of the metric; None: the
  problem's own, see `Problem.best_known`. value_seeds: training runs behind `value`.
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
    """Starts no process yet. Raises ConfigError, and ValueError for a seed that cannot be."""
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
        f'No best value of {config.metric} is known for the problem {config.problem!r} with '
        f'{config.data}; set the option optimum to the best one that you know.'
      )
    return known


class EngineInstance:
  """An Instance (see problems/simulated) that trains. Close it: it holds processes.

  values: of programs by their digest, shared by the instances of one problem in one process.
  spec: what programs see, with the full budget of a trial.
  """

  def __init__(
    self,
    config: Config,
    seed: int,
    optimum: float,
    value_seeds: int,
    values: dict[str, float | None],
  ):
    self.objective: Objective = config.objective
    self._run = build(config)
    self.start: Program = self._run.program
    self.optimum = optimum
    self.spec: Spec = self._run.spec
    self._first_seed = seed * SEEDS_APART
    self._value_seeds = tuple(range(VALUE_SEED, VALUE_SEED + value_seeds))
    self._values = values
    self._executor: Executor | None = None
    self._scratch: tempfile.TemporaryDirectory[str] | None = None

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """The config's proposer's edit, of the files that the config names. Raises NothingToPropose."""
    context = dataclasses.replace(
      context, editable=self._run.config.editable, objective=self.objective, spec=self.spec
    )
    return self._run.proposer.propose(proposal, context, rng)

  def measure(self, request: TrialRequest) -> Result:
    """Trains in the sandboxed tracer and the runner, and waits.

    The result's seeds are the request's; `facts['seconds']` is the wall clock of the whole trial,
    failed or not. Raises executors.Unavailable, ConfigError, sandbox.SandboxError, OSError.
    """
    began = time.monotonic()
    seeds = tuple(self._first_seed + seed for seed in request.seeds)
    result = self._trained(dataclasses.replace(request, seeds=seeds))
    facts = {**result.facts, 'seconds': time.monotonic() - began}
    if 'curves' in facts:
      facts['curves'] = {
        str(int(seed) - self._first_seed): curve for seed, curve in facts['curves'].items()
      }
    return dataclasses.replace(
      result, measurements=tuple(map(self._as_asked, result.measurements)), facts=facts
    )

  def value(self, program: Program) -> float | None:
    """The mean metric over seeds that no trial has, at the full budget; None when one fails.

    Expensive: as many training runs as `value_seeds`, but only once a program. It still has the
    noise of such a mean.
    """
    if program.digest not in self._values:
      request = TrialRequest(VALUE_TRIAL, program, self._value_seeds, self.spec.budget)
      result = self._trained(request)
      found = [m.metrics[self.objective.metric] for m in result.measurements]
      ok = result.status == Status.OK
      self._values[program.digest] = float(np.mean(found)) if ok else None
    return self._values[program.digest]

  def close(self) -> None:
    """Ends the tracer and the runner; they start again when they are needed. Idempotent."""
    if self._executor:
      self._executor.close()
    if self._scratch:
      self._scratch.cleanup()
    self._executor = self._scratch = None

  def _trained(self, request: TrialRequest) -> Result:
    (result,) = finished(self._running(), request)
    return result

  def _running(self) -> Executor:
    if self._executor is None:
      dataset = self._run.prepare_data(lambda text: None)
      self._scratch = tempfile.TemporaryDirectory(prefix='autoresearch_jax_')
      self._executor = self._run.start_executor(dataset, pathlib.Path(self._scratch.name))
    return self._executor

  def _as_asked(self, measurement: Measurement) -> Measurement:
    return dataclasses.replace(measurement, seed=measurement.seed - self._first_seed)


def load(file: str, variant: str = '') -> Config:
  """A shipped config or a file, in that variant. Raises ConfigError."""
  return from_config_dict(configs.load(f'{file}:{variant}' if variant else file))
