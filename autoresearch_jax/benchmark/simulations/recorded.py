"""Recorded tables of real trials, made into a problem by a surrogate: search without training.

`autoresearch table --table=FILE` prints how well the surrogate fits, cross-validated: believe a
comparison on it no further than that. A program is the table's constants, `RATE = 0.1` and so on,
in the ranges of the table. What a trial measures is the surrogate's mean and its noise; where
recorded trials failed, it crashes (see `surrogate.py`). The table named 'digits' is shipped;
`scripts/studies/landscapes/record_digits_table.py` made it.

All instances of a table have the same surface. The instance seed decides the start, one of the
successful half that is worse, and the noise: held-out instances have starts that tuning never
sees, on the surface that it sees.
The optimum is the best of a dense sample, polished: the best that is known of the surrogate.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from autoresearch_jax.benchmark.simulations import ENTRY, HELD_OUT, SIMULATIONS, moves
from autoresearch_jax.benchmark.simulations.assignments import Unreadable
from autoresearch_jax.benchmark.simulations.fitted import Model, fitted
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, Meter
from autoresearch_jax.benchmark.simulations.table import Columns
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
class Recorded:
  """table: the name of a shipped table or the path of a CSV or JSON file.

  metric, success, seconds, seed: names of columns. constants: names too; () for all other columns
  of numbers. noise: times the recorded deviation between seeds.
  """

  table: str = 'digits'
  metric: str = 'val_loss'
  direction: Literal['minimize', 'maximize'] = 'minimize'
  success: str = 'ok'
  seconds: str = 'seconds'
  seed: str = 'seed'
  constants: tuple[str, ...] = ()
  noise: float = 1.0

  def __post_init__(self) -> None:
    if not 0 <= self.noise < float('inf'):
      raise ValueError(f'noise is {self.noise}; it is times the recorded deviation, 0 or more.')

  def instance(self, seed: int) -> 'Trials':
    """Raises TableError, a ValueError, for a table that cannot be used."""
    return Trials(f'recorded-{self.table}/{seed}', self._fitted(), self.noise, seed)

  def describe(self) -> str:
    """The cross-validated figures of the fit, as lines of text. Raises TableError."""
    from autoresearch_jax.benchmark.simulations import validation  # noqa: PLC0415 - needs scipy

    return validation.describe(self.table, self._fitted())

  def _fitted(self) -> Model:
    columns = Columns(self.metric, self.success, self.seconds, self.seed, self.constants)
    return fitted(self.table, columns, self.direction)


@dataclasses.dataclass(frozen=True, eq=False)
class Trials:
  """An instance."""

  key: str
  model: Model
  noise: float
  seed: int

  @property
  def objective(self) -> Objective:
    return self.model.objective

  @functools.cached_property
  def start(self) -> Program:
    """A recorded program from the worse half of those that the surrogate lets run.

    Every other one is for tuning, the rest are for held-out instances.
    """
    worse = self.model.starts[int(self.seed >= HELD_OUT) :: 2]
    row = np.random.default_rng((self.seed, 6)).choice(len(worse))
    return self.model.form.program(worse[row].tolist())

  @functools.cached_property
  def solution(self) -> Program:
    return self.model.form.program(self.model.best.tolist())

  @functools.cached_property
  def optimum(self) -> float:
    return self._evaluation(self.solution).value

  @functools.cached_property
  def space(self) -> dict[str, dict[str, float]]:
    table, scaling = self.model.table, self.model.scaling
    ranges = zip(table.names, scaling.low.tolist(), scaling.high.tolist(), scaling.log, strict=True)
    return {
      name: {
        'low': int(low) if name in table.whole else low,
        'high': int(high) if name in table.whole else high,
        'log': bool(log),
      }
      for name, low, high, log in ranges
    }

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).worth

  def measure(self, request: TrialRequest) -> Result:
    return self._meter.result(request, self._evaluation(request.program), request.program.digest)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Moves a few constants, see `moves.py`."""
    return moves.edit(self._map, proposal, context, rng)

  @functools.cached_property
  def _map(self) -> moves.Map:
    first = np.array(self.model.form.values(self.start))
    return moves.Map(self.model.form, first, self.model.unit, self.model.rounded)

  @functools.cached_property
  def _meter(self) -> Meter:
    first = self._evaluation(self.start).value
    return Meter(self.key, self.objective, abs(first - self.optimum))

  def _evaluation(self, program: Program) -> Evaluation:
    try:
      point = np.array(self.model.form.values(program))
    except Unreadable as why:
      return Evaluation(status=Status.INVALID, reason=str(why), training_seconds=0.0)
    scaling, surface = self.model.scaling, self.model.surface
    outside = np.flatnonzero((point < scaling.low) | (point > scaling.high))
    if len(outside):
      return self._outside(int(outside[0]), point)
    unit = scaling.unit(point)
    failing, seconds = self.model.vote.at(unit)
    if failing >= 0.5:
      reason = f'Of the recorded trials around these constants, {failing:.0%} failed.'
      return Evaluation(status=Status.CRASH, reason=reason, training_seconds=float(seconds))
    value = float(f'{surface.mean(unit):.9g}')  # the last bits may differ between machines
    deviation = self.noise * surface.noise * (value if surface.log else 1.0)
    return Evaluation(value, (), deviation, float(seconds))

  def _outside(self, place: int, point: np.ndarray) -> Evaluation:
    scaling, name = self.model.scaling, self.model.table.names[place]
    reason = (
      f'{ENTRY}: {name} is {point[place]:g}; the table knows {scaling.low[place]:g} to '
      f'{scaling.high[place]:g}.'
    )
    return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
