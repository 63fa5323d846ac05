"""Continuous functions with their optimum at a random place in a box. To be minimised.

    sphere      Σ z_i²
    ellipsoid   Σ 10^(6(i-1)/(d-1)) y_i²,  y = R z with a random rotation R: condition 10^6
    rosenbrock  Σ 100 (u_{i+1} - u_i²)² + (1 - u_i)²,  u = z + 1
    rastrigin   Σ z_i² - 10 cos(2π z_i) + 10
    ackley      20 - 20 exp(-(Σ z_i²/d)^½ / 5) + e - exp(Σ cos(2π z_i) / d)

z = x - shift, so that all have the minimum 0 at the shift, which an instance draws inside
[-4, 4]^d; the box is [-5, 5]^d. Sources: Hansen and others, Real-Parameter Black-Box Optimization
Benchmarking 2009 (INRIA RR-6829) and, for ackley, Ackley, 1987.

A program is `X0 = 0.25`, `X1 = -3.5`, ...; one outside the box is invalid. Samplers of constants
learn the box from the instance's `space`. part_0 to part_3: sums of four groups of summands in
order, where there are four or more (ackley has none).
"""

import dataclasses
import functools
import math

import numpy as np

from autoresearch_jax.benchmark.simulations import SIMULATIONS, moves
from autoresearch_jax.benchmark.simulations.assignments import Assignments, Unreadable
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, Meter
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
BOUND = 5.0  # of the box, each coordinate's
FUNCTIONS = ('sphere', 'ellipsoid', 'rosenbrock', 'rastrigin', 'ackley')


@SIMULATIONS.register('continuous')
@dataclasses.dataclass(frozen=True)
class Continuous:
  """function: one of FUNCTIONS. dimension: number of constants.

  noise: standard deviation of the metric between seeds, as a share of the start's value, since
  the functions differ in size by orders of magnitude.
  """

  function: str = 'sphere'
  dimension: int = 10
  noise: float = 0.0

  def __post_init__(self) -> None:
    if self.function not in FUNCTIONS:
      raise ValueError(
        f'There is no continuous function {self.function!r}; there are: {", ".join(FUNCTIONS)}.'
      )
    least = 2 if self.function == 'rosenbrock' else 1
    if self.dimension < least:
      raise ValueError(
        f'dimension is {self.dimension}; the function {self.function!r} needs {least} or more.'
      )
    if not 0 <= self.noise < float('inf'):
      raise ValueError(f'noise is {self.noise}; it is a share of the start value, 0 or more.')

  def instance(self, seed: int) -> 'Surface':
    rng = np.random.default_rng((seed, 4))
    shift = rng.uniform(-4, 4, self.dimension).round(3)
    first = rng.uniform(-BOUND, BOUND, self.dimension).round(3)
    rotation = None
    if self.function == 'ellipsoid':
      rotation = np.linalg.qr(rng.standard_normal((self.dimension, self.dimension)))[0]
    return Surface(self, seed, shift, first, rotation)


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """An instance. shift, first: the optimum and the start, [dimension]. rotation: ellipsoid's R."""

  options: Continuous
  seed: int
  shift: np.ndarray
  first: np.ndarray
  rotation: np.ndarray | None

  optimum = 0.0

  @property
  def objective(self) -> Objective:
    return LOSS

  @functools.cached_property
  def form(self) -> Assignments:
    return Assignments(tuple(f'X{i}' for i in range(self.options.dimension)))

  @functools.cached_property
  def start(self) -> Program:
    return self.form.program(self.first.tolist())

  @functools.cached_property
  def solution(self) -> Program:
    return self.form.program(self.shift.tolist())

  @property
  def space(self) -> dict[str, dict[str, float]]:
    return {name: {'low': -BOUND, 'high': BOUND} for name in self.form.names}

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).worth

  def measure(self, request: TrialRequest) -> Result:
    return self._meter.result(request, self._evaluation(request.program), request.program.digest)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Moves a few constants, see `moves.py`."""
    return moves.edit(self._map, proposal, context, rng)

  @functools.cached_property
  def _map(self) -> moves.Map:
    return moves.Map(self.form, self.first, _unit, _in_the_box)

  @functools.cached_property
  def _meter(self) -> Meter:
    key = f'{self.options.function}-{self.options.dimension}/{self.seed}'
    return Meter(key, LOSS, self._first_value)

  @functools.cached_property
  def _first_value(self) -> float:
    return float(self._terms(self.first - self.shift).sum())

  def _evaluation(self, program: Program) -> Evaluation:
    try:
      values = self.form.values(program)
    except Unreadable as why:
      return Evaluation(status=Status.INVALID, reason=str(why), training_seconds=0.0)
    if max(values) > BOUND or min(values) < -BOUND:
      name, value = next(p for p in zip(self.form.names, values, strict=True) if abs(p[1]) > BOUND)
      reason = f'{name} is {value:g}, outside of the box [{-BOUND:g}, {BOUND:g}].'
      return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
    terms = self._terms(np.array(values) - self.shift)
    deviation = self.options.noise * self._first_value
    if len(terms) < 4:
      return Evaluation(float(terms.sum()), (), deviation)
    parts = tuple(np.add.reduceat(terms, np.arange(4) * len(terms) // 4).tolist())
    return Evaluation(sum(parts), parts, deviation)

  def _terms(self, z: np.ndarray) -> np.ndarray:
    """The summands at z [dimension]; ackley's value is one."""
    match self.options.function:
      case 'sphere':
        return z * z
      case 'ellipsoid':
        assert self.rotation is not None
        return self._weights * (self.rotation @ z) ** 2
      case 'rosenbrock':
        u = z + 1
        return 100 * (u[1:] - u[:-1] ** 2) ** 2 + (1 - u[:-1]) ** 2
      case 'rastrigin':
        return z * z - 10 * np.cos(2 * math.pi * z) + 10
    size = len(z)
    near = 20 - 20 * math.exp(-0.2 * math.sqrt(z @ z / size))
    return np.array([near + math.e - math.exp(np.cos(2 * math.pi * z).sum() / size)])

  @functools.cached_property
  def _weights(self) -> np.ndarray:
    """[dimension], from 1 to 10^6."""
    return 10 ** np.linspace(0, 6, self.options.dimension)


def _unit(point: np.ndarray) -> np.ndarray:
  """With the box as the unit cube."""
  return (np.clip(point, -BOUND, BOUND) + BOUND) / (2 * BOUND)


def _in_the_box(unit: np.ndarray) -> np.ndarray:
  return unit * 2 * BOUND - BOUND
