"""Continuous test functions with the optimum at a random place in a box. To be minimised.

    sphere      Σ z_i²
    ellipsoid   Σ 10^(6(i-1)/(d-1)) y_i²,  y = R z with a random rotation R: condition 10^6
    rosenbrock  Σ 100 (u_{i+1} - u_i²)² + (1 - u_i)²,  u = z + 1
    rastrigin   Σ z_i² - 10 cos(2π z_i) + 10
    ackley      20 - 20 exp(-(Σ z_i²/d)^½ / 5) + e - exp(Σ cos(2π z_i) / d)

z = x - shift, so that every function has its minimum 0 at the shift, which an instance draws in
[-4, 4]^d. The box is [-5, 5]^d. Sources: Hansen and others, Real-Parameter Black-Box Optimization
Benchmarking 2009 (INRIA RR-6829); for ackley, Ackley, 1987.

A program is `X0 = 0.25`, `X1 = -3.5`, ...; one outside the box is invalid. Samplers of constants
get the box from the instance's `space`. The metrics part_0 to part_3 are the sums of four
consecutive groups of summands, where there are four or more (ackley has none).
"""

import dataclasses
import math

import numpy as np

from autoresearch_jax.benchmark.simulations import moves
from autoresearch_jax.benchmark.simulations.assignments import AssignmentError, Assignments
from autoresearch_jax.benchmark.simulations.base import (
  SIMULATIONS,
  Instance,
  SearchSpace,
  Simulation,
)
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, MeasurementModel
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

LOSS = Objective('loss', 'minimize')
BOUND = 5.0  # the box is [-BOUND, BOUND] in each coordinate
FUNCTIONS = ('sphere', 'ellipsoid', 'rosenbrock', 'rastrigin', 'ackley')


@SIMULATIONS.register('continuous')
@dataclasses.dataclass(frozen=True)
class Continuous(Simulation):
  """A continuous test function.

  Attributes:
    function: One of FUNCTIONS.
    dimension: Number of constants, d.
    noise: Standard deviation of the metric between training seeds, as a share of the start's value,
      since the functions differ in size by orders of magnitude.
  """

  function: str = 'sphere'
  dimension: int = 10
  noise: float = 0.0

  def __post_init__(self) -> None:
    if self.function not in FUNCTIONS:
      raise ValueError(
        f'There is no continuous function {self.function!r}; there are: {", ".join(FUNCTIONS)}.'
      )
    minimum = 2 if self.function == 'rosenbrock' else 1
    if self.dimension < minimum:
      raise ValueError(
        f'dimension is {self.dimension}; the function {self.function!r} needs {minimum} or more.'
      )
    if not 0 <= self.noise < float('inf'):
      raise ValueError(
        f"noise is {self.noise}; it is a share of the start's value and must be 0 or more."
      )

  def instance(self, seed: int) -> 'ContinuousInstance':
    rng = np.random.default_rng((seed, 4))
    shift = rng.uniform(-4, 4, self.dimension).round(3)
    first = rng.uniform(-BOUND, BOUND, self.dimension).round(3)
    rotation = None
    if self.function == 'ellipsoid':
      rotation = np.linalg.qr(rng.standard_normal((self.dimension, self.dimension)))[0]
    return ContinuousInstance(self, seed, shift, first, rotation)


class ContinuousInstance(Instance):
  """An instance of a continuous test function."""

  def __init__(
    self,
    options: Continuous,
    seed: int,
    shift: np.ndarray,
    first: np.ndarray,
    rotation: np.ndarray | None,
  ):
    """Makes an instance.

    Args:
      options: The simulation that it belongs to.
      seed: Its seed; keys the noise.
      shift: The optimum, [d].
      first: The constants of the start, [d].
      rotation: The rotation R of the ellipsoid, [d, d]; None for the other functions.
    """
    self.options = options
    self.shift = shift
    self._rotation = rotation
    self._weights = 10 ** np.linspace(0, 6, options.dimension)  # of the ellipsoid
    self.format = Assignments(tuple(f'X{i}' for i in range(options.dimension)))
    self._start = self.format.program(first.tolist())
    self._solution = self.format.program(shift.tolist())
    self._cube = moves.UnitCube(self.format, first, _to_unit, _to_box)
    self._start_value = float(self._terms(first - shift).sum())
    key = f'{options.function}-{options.dimension}/{seed}'
    self._model = MeasurementModel(key, LOSS, self._start_value)

  @property
  def objective(self) -> Objective:
    return LOSS

  @property
  def start(self) -> Program:
    return self._start

  @property
  def solution(self) -> Program:
    return self._solution

  @property
  def optimum(self) -> float:
    return 0.0

  @property
  def space(self) -> SearchSpace:
    return {name: {'low': -BOUND, 'high': BOUND} for name in self.format.names}

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).value_if_ok

  def measure(self, request: TrialRequest) -> Result:
    program = request.program
    return self._model.result(request, self._evaluation(program), program.digest)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Changes a few constants, see `moves.py`."""
    return moves.edit(self._cube, proposal, context, rng)

  def _evaluation(self, program: Program) -> Evaluation:
    names = self.format.names
    try:
      values = self.format.values(program)
    except AssignmentError as error:
      return Evaluation(status=Status.INVALID, reason=str(error), training_seconds=0.0)
    if max(values) > BOUND or min(values) < -BOUND:
      name, value = next(p for p in zip(names, values, strict=True) if abs(p[1]) > BOUND)
      reason = f'{name} is {value:g}, which is outside the box [{-BOUND:g}, {BOUND:g}].'
      return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
    terms = self._terms(np.array(values) - self.shift)
    deviation = self.options.noise * self._start_value
    if len(terms) < 4:
      return Evaluation(float(terms.sum()), (), deviation)
    parts = tuple(np.add.reduceat(terms, np.arange(4) * len(terms) // 4).tolist())
    return Evaluation(sum(parts), parts, deviation)

  def _terms(self, z: np.ndarray) -> np.ndarray:
    """Returns the summands at z, [d] - for ackley, whose value is no sum, [1]."""
    match self.options.function:
      case 'sphere':
        return z * z
      case 'ellipsoid':
        assert self._rotation is not None
        return self._weights * (self._rotation @ z) ** 2
      case 'rosenbrock':
        u = z + 1
        return 100 * (u[1:] - u[:-1] ** 2) ** 2 + (1 - u[:-1]) ** 2
      case 'rastrigin':
        return z * z - 10 * np.cos(2 * math.pi * z) + 10
    size = len(z)
    exponential = 20 - 20 * math.exp(-0.2 * math.sqrt(z @ z / size))
    return np.array([exponential + math.e - math.exp(np.cos(2 * math.pi * z).sum() / size)])


def _to_unit(point: np.ndarray) -> np.ndarray:
  """Maps the box to the unit cube; points outside land on the border."""
  return (np.clip(point, -BOUND, BOUND) + BOUND) / (2 * BOUND)


def _to_box(unit: np.ndarray) -> np.ndarray:
  return unit * 2 * BOUND - BOUND
