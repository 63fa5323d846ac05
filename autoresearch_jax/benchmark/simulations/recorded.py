"""Recorded tables of real trials as a problem: search without training, on a fitted surrogate.

`autoresearch table --table=FILE` prints how well the surrogate fits, cross-validated; a comparison
on the table is worth no more than that. A program is the table's constants, `RATE = 0.1` and so on,
within their recorded ranges; a category is the integer that the command prints beside its value. A
trial measures the surrogate's mean plus noise, and it crashes where recorded trials failed (see
`surrogate.py`). The table 'digits' is shipped; it was recorded by
`scripts/studies/landscapes/record_digits_table.py`.

All instances of a table share its surface. The instance seed decides the start (one of the worse
half of the successful programs) and the noise: held-out instances have starts that tuning never
sees, on the surface that it does see. The optimum is the best known point of the surrogate.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from autoresearch_jax.benchmark.simulations import cross_validation, moves
from autoresearch_jax.benchmark.simulations.assignments import AssignmentError
from autoresearch_jax.benchmark.simulations.base import (
  ENTRY,
  HELD_OUT,
  SIMULATIONS,
  Instance,
  SearchSpace,
  Simulation,
)
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, MeasurementModel
from autoresearch_jax.benchmark.simulations.table import Columns
from autoresearch_jax.benchmark.simulations.table_surrogate import TableSurrogate, fit_table
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import (
  Edit,
  Objective,
  Program,
  Proposal,
  Result,
  Status,
  TrialRequest,
)

DIRECTIONS = ('minimize', 'maximize')


@SIMULATIONS.register('recorded')
@dataclasses.dataclass(frozen=True)
class RecordedTable(Simulation):
  """A surrogate of a table of trials.

  Attributes:
    table: Name of a shipped table, or the path of a CSV or JSON file.
    metric: Column of the metric.
    direction: Whether the metric is minimised or maximised.
    success: Column that says whether a trial succeeded.
    seconds: Column of the seconds that it took.
    seed: Column of the training seed.
    constants: Columns of the constants; () for all other columns of numbers and categories.
    ties: Whether equal extreme metrics that look like placeholders count as failures.
    noise: Multiplies the recorded standard deviation between training seeds.
  """

  table: str = 'digits'
  metric: str = 'val_loss'
  direction: Literal['minimize', 'maximize'] = 'minimize'
  success: str = 'ok'
  seconds: str = 'seconds'
  seed: str = 'seed'
  constants: tuple[str, ...] = ()
  ties: Literal['fail', 'keep'] = 'fail'
  noise: float = 1.0

  def __post_init__(self) -> None:
    if not 0 <= self.noise < float('inf'):
      raise ValueError(
        f'noise is {self.noise}; it multiplies the recorded standard deviation and must be 0 or '
        'more.'
      )

  def instance(self, seed: int) -> 'RecordedInstance':
    """Returns the instance with this seed.

    Raises:
      TableError: The table cannot be used.
    """
    key = f'recorded-{self.table}/{seed}'
    return RecordedInstance(key, self._surrogate(), self.noise, seed)

  def describe(self) -> str:
    """Returns the cross-validated figures of the fit, as lines of text.

    Raises:
      TableError: The table cannot be used.
    """
    return cross_validation.describe(self.table, self._surrogate())

  def _surrogate(self) -> TableSurrogate:
    columns = Columns(
      self.metric, self.success, self.seconds, self.seed, self.constants, self.ties, self.direction
    )
    return fit_table(self.table, columns)


class RecordedInstance(Instance):
  """An instance: the table's surrogate with its own start and noise."""

  def __init__(self, key: str, surrogate: TableSurrogate, noise: float, seed: int):
    """Makes an instance.

    Args:
      key: Name and seed of the instance; keys the noise.
      surrogate: The table with the models fitted to it.
      noise: Multiplies the recorded standard deviation between training seeds.
      seed: The instance seed, which decides the start.
    """
    self.surrogate = surrogate
    self.noise = noise
    self.seed = seed
    self._key = key

  @property
  def objective(self) -> Objective:
    return self.surrogate.objective

  @property
  def start(self) -> Program:
    return self._start

  @property
  def solution(self) -> Program:
    return self._solution

  @property
  def optimum(self) -> float:
    return self._optimum

  @property
  def space(self) -> SearchSpace:
    return self._space

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).value_if_ok

  def measure(self, request: TrialRequest) -> Result:
    program = request.program
    return self._model.result(request, self._evaluation(program), program.digest)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Changes a few constants, see `moves.py`."""
    return moves.edit(self._cube, proposal, context, rng)

  @functools.cached_property
  def _start(self) -> Program:
    """Draws one of the surrogate's starts: every other one is for tuning, the rest is held out."""
    starts = self.surrogate.starts[int(self.seed >= HELD_OUT) :: 2]
    row = np.random.default_rng((self.seed, 6)).choice(len(starts))
    return self.surrogate.format.program(starts[row].tolist())

  @functools.cached_property
  def _solution(self) -> Program:
    return self.surrogate.format.program(self.surrogate.best.tolist())

  @functools.cached_property
  def _optimum(self) -> float:
    return self._evaluation(self.solution).value

  @functools.cached_property
  def _space(self) -> SearchSpace:
    table, scaling = self.surrogate.table, self.surrogate.scaling
    ranges = zip(table.names, scaling.low.tolist(), scaling.high.tolist(), scaling.log, strict=True)
    return {
      name: {'choices': tuple(range(len(table.levels[name])))}
      if name in table.levels
      else {
        'low': int(low) if name in table.integers else low,
        'high': int(high) if name in table.integers else high,
        'log': bool(log),
      }
      for name, low, high, log in ranges
    }

  @functools.cached_property
  def _cube(self) -> moves.UnitCube:
    surrogate = self.surrogate
    first = np.array(surrogate.format.values(self.start))
    return moves.UnitCube(surrogate.format, first, surrogate.unit, surrogate.constants)

  @functools.cached_property
  def _model(self) -> MeasurementModel:
    start_value = self._evaluation(self.start).value
    return MeasurementModel(self._key, self.objective, abs(start_value - self.optimum))

  def _evaluation(self, program: Program) -> Evaluation:
    try:
      point = np.array(self.surrogate.format.values(program))
    except AssignmentError as error:
      return Evaluation(status=Status.INVALID, reason=str(error), training_seconds=0.0)
    scaling, metric = self.surrogate.scaling, self.surrogate.metric
    outside = np.flatnonzero((point < scaling.low) | (point > scaling.high))
    if len(outside):
      return self._out_of_range(int(outside[0]), point)
    features = scaling.features(point)
    failing, seconds = self.surrogate.failures.at(features)
    if failing >= 0.5:
      reason = f'{failing:.0%} of the recorded trials around these constants failed.'
      return Evaluation(status=Status.CRASH, reason=reason, training_seconds=float(seconds))
    value = float(f'{metric.mean(features):.9g}')  # the last bits may differ between machines
    deviation = self.noise * metric.noise * (value if metric.log else 1.0)
    return Evaluation(value, (), deviation, float(seconds))

  def _out_of_range(self, place: int, point: np.ndarray) -> Evaluation:
    scaling, name = self.surrogate.scaling, self.surrogate.table.names[place]
    reason = (
      f'{ENTRY}: {name} is {point[place]:g}; its recorded range is {scaling.low[place]:g} to '
      f'{scaling.high[place]:g}.'
    )
    return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
