"""A recorded landscape as a problem: real trainings of real edits, looked up instead of repeated.

A program is the level of each factor, `ACTIVATION = 1` and so on, an index into its alternatives
(`landscape_table.py`); the proposer switches edits and moves constants to neighbouring values. A
trial returns what was recorded:

- the metric's mean over the recorded seeds, plus noise of the recorded size. The deviation of a
  cell is a weighted mean of its own and of that of cells with a similar metric, since three seeds
  determine it poorly; the noise is a recorded standardised residual;
- divergence on the recorded share of seeds, after the recorded share of the training;
- the recorded CPU seconds and memory. `device_bytes` makes a pretended device run out of memory;
- of the recorded budgets the one nearest to the trial's, on a logarithmic scale. Nothing is cheaper
  than the smallest.

All instances share the landscape. The instance seed decides the start (one of the worse half of the
programs that train) and the noise.
"""

import dataclasses
import functools
import hashlib
import math

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import AssignmentError, Assignments
from autoresearch_jax.benchmark.simulations.base import (
  ENTRY,
  HELD_OUT,
  SIMULATIONS,
  Instance,
  SearchSpace,
  Simulation,
)
from autoresearch_jax.benchmark.simulations.landscape_table import Landscape, loaded
from autoresearch_jax.benchmark.simulations.measuring import duplicate
from autoresearch_jax.benchmark.simulations.proposing import (
  PURE_CROSSOVERS,
  REDRAW_ATTEMPT,
  DraftedEdit,
  effective_proposal,
  first_untried,
  merge_partner,
)
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import (
  Cost,
  Edit,
  Measurement,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  TrialRequest,
)

PRIOR_DEGREES = 4.0  # weight of similar cells in a cell's variance, in degrees of freedom
EULER = 0.5772156649  # E log of a chi-square variable with two degrees of freedom / 2 is -EULER
MIN_RUNNING = 4  # programs that train: two starts for tuning and reports, and better ones
NEIGHBOUR = 0.75  # probability that a constant moves to a neighbouring value


@SIMULATIONS.register('landscape')
@dataclasses.dataclass(frozen=True)
class RecordedLandscape(Simulation):
  """A landscape of recorded trainings.

  Attributes:
    landscape: Name of a shipped landscape, or the path of an `.npz` file.
    noise: Multiplies the recorded deviation between training seeds.
    device_bytes: Memory of the pretended device; 0: enough for all programs.
  """

  landscape: str = 'digits'
  noise: float = 1.0
  device_bytes: int = 0

  def __post_init__(self) -> None:
    if not 0 <= self.noise < float('inf'):
      raise ValueError(
        f'noise is {self.noise}; it multiplies the recorded standard deviation and must be 0 or '
        'more.'
      )
    if self.device_bytes < 0:
      raise ValueError(f'device_bytes is {self.device_bytes}; it must be 0 (no limit) or more.')

  def instance(self, seed: int) -> 'LandscapeInstance':
    """Returns the instance with this seed.

    Raises:
      LandscapeError: The landscape cannot be read.
      ValueError: Fewer than MIN_RUNNING programs train on the pretended device.
    """
    return LandscapeInstance(self, _played(self.landscape, self.device_bytes), seed)


@dataclasses.dataclass(frozen=True, eq=False)
class PlayedLandscape:
  """A landscape prepared for look-up.

  Attributes:
    landscape: The landscape.
    status: How a full training of each cell ends, [c].
    deviation: Standard deviation between seeds, [c, b].
    failing: Share of the seeds that diverge, [c, b].
    residuals: Standardised residuals of all trainings that did not fail, for each budget.
    order: Cells that train, worst first.
    starts: The worse half of the cells that train on all seeds, worst first.
  """

  landscape: Landscape
  status: tuple[Status, ...]
  deviation: np.ndarray
  failing: np.ndarray
  residuals: tuple[np.ndarray, ...]
  order: np.ndarray
  starts: np.ndarray


@functools.lru_cache(maxsize=8)
def _played(source: str, device_bytes: int) -> PlayedLandscape:
  landscape = loaded(source)
  too_large = landscape.peak_bytes > (device_bytes or np.inf)
  fails = landscape.fails | too_large
  ends = (Status.OK, Status.DIVERGED, Status.OOM, Status.INVALID)
  which = np.select([landscape.invalid, too_large, fails], [3, 2, 1], 0)
  runs = np.flatnonzero(~fails)
  sign = -1 if landscape.direction == 'minimize' else 1
  order = runs[np.argsort(sign * landscape.mean[runs, -1], kind='stable')]
  failing = np.isnan(landscape.metric).mean(axis=-1)
  always = order[np.asarray(failing[order, -1] == 0)]
  if len(always) < MIN_RUNNING:
    raise ValueError(
      f'Of the landscape {source}, {len(always)} programs train on the device; {MIN_RUNNING} are '
      'needed.'
    )
  deviations, residuals = [], []
  for budget in range(len(landscape.steps)):
    deviation, residual = _noise(landscape, budget)
    deviations.append(deviation)
    residuals.append(residual)
  return PlayedLandscape(
    landscape=landscape,
    status=tuple(ends[i] for i in which),
    deviation=np.stack(deviations, axis=1),
    failing=failing,
    residuals=tuple(residuals),
    order=order,
    starts=always[: len(always) // 2],
  )


def _noise(landscape: Landscape, budget: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns each cell's standard deviation between seeds, [c], and the standardised residuals.

  The logarithm of the variance is a straight line in that of the mean (least squares over cells); a
  cell's own variance counts with its degrees of freedom against PRIOR_DEGREES of the line's.
  """
  metric = landscape.metric[:, budget].astype(float)
  seeds = metric.shape[1]
  complete = np.asarray(np.isfinite(metric).all(axis=1))
  mean = landscape.mean[:, budget]
  own = np.where(complete, np.nanvar(np.where(complete[:, None], metric, 0.0), axis=1, ddof=1), 0.0)
  positive = np.asarray(np.nan_to_num(mean) > 0)
  used = np.asarray(complete & positive & (own > 0))
  scale = np.log(np.where(positive, mean, 1.0))
  slope, level = np.polyfit(scale[used], np.log(own[used]) + EULER, 1)
  prior = np.exp(level + slope * scale)
  degrees = np.where(complete, seeds - 1.0, 0.0)
  variance = (PRIOR_DEGREES * prior + degrees * own) / (PRIOR_DEGREES + degrees)
  deviation = np.sqrt(variance)
  residual = (metric - mean[:, None])[used] / deviation[used, None]
  residual = residual.ravel()  # of a cell they add up to 0
  return deviation, residual / residual.std()


class LandscapeInstance(Instance):
  """An instance: the landscape with its own start and noise."""

  def __init__(self, options: RecordedLandscape, played: PlayedLandscape, seed: int):
    """Makes an instance.

    Args:
      options: The simulation that it belongs to.
      played: The landscape.
      seed: The instance seed, which decides the start.
    """
    landscape = played.landscape
    self.options = options
    self.landscape = landscape
    self._played = played
    self._shape = landscape.shape
    names = tuple(factor.name for factor in landscape.factors)
    self._format = Assignments(names, frozenset(names))
    self._objective = Objective(landscape.metric_name, landscape.direction)
    self._key = f'landscape-{landscape.name}/{seed}'
    self._fractions = [math.log(steps / landscape.steps[-1]) for steps in landscape.steps]
    starts = played.starts[int(seed >= HELD_OUT) :: 2]
    self._first = self._levels(int(starts[np.random.default_rng((seed, 7)).choice(len(starts))]))
    self._start = self._format.program(self._first)

  @property
  def objective(self) -> Objective:
    return self._objective

  @property
  def start(self) -> Program:
    return self._start

  @property
  def solution(self) -> Program:
    return self._format.program(self._levels(int(self._played.order[-1])))

  @property
  def optimum(self) -> float:
    return float(self.landscape.mean[self._played.order[-1], -1])

  @property
  def space(self) -> SearchSpace:
    return {
      factor.name: {'choices': tuple(range(len(factor.levels)))}
      if factor.kind == 'edit'
      else {'low': 0, 'high': len(factor.levels) - 1}
      for factor in self.landscape.factors
    }

  def value(self, program: Program) -> float | None:
    try:
      cell = self.landscape.cell(self._parsed(program))
    except AssignmentError:
      return None
    if self._played.status[cell] is not Status.OK:
      return None
    return float(self.landscape.mean[cell, -1])

  def measure(self, request: TrialRequest) -> Result:
    try:
      cell = self.landscape.cell(self._parsed(request.program))
    except AssignmentError as error:
      digest = request.program.digest
      return Result(request.trial, Status.INVALID, str(error), digest, facts={'seconds': 0.0})
    fingerprint = f'cell {cell}'
    if fingerprint in request.known:
      return duplicate(request, fingerprint)
    return self._recorded(request, cell, fingerprint)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Switches a few edits and moves a few constants; see `_changed`."""
    other = merge_partner(proposal, context)
    parent = self._levels_or_start(context.parents[0])
    mate = None if other is None else self._levels_or_start(other)

    def draw(attempt: int) -> DraftedEdit:
      levels = list(parent)
      if mate is not None:
        levels = np.where(rng.random(len(levels)) < 0.5, levels, mate).tolist()
        if attempt < PURE_CROSSOVERS:
          return DraftedEdit(self._format.program(levels), 'take levels of both parents', 'merge')
      levels, places = self._changed(levels, effective_proposal(proposal, attempt), rng, attempt)
      factors = self.landscape.factors
      what = ', '.join(f'set {factors[i].name} to {levels[i]}' for i in places[:3])
      what += ', ...' if places[3:] else ''
      return DraftedEdit(self._format.program(levels), what, factors[places[0]].name.lower())

    return first_untried(context, draw)

  def _changed(
    self, levels: list[int], proposal: Proposal, rng: np.random.Generator, attempt: int
  ) -> tuple[list[int], list[int]]:
    """Draws an edit: the new levels, and the places of the factors that it sets.

    The number of factors is geometric with mean 1.5. `tuning` moves one constant, `creative` sets
    two or more factors, `rewrite` and every draft redraw half of them, `ablation` resets one to its
    level in the start. Later attempts change more, and from REDRAW_ATTEMPT on all are redrawn.
    """
    factors, size = self.landscape.factors, len(levels)
    if attempt >= REDRAW_ATTEMPT:
      return [int(rng.integers(count)) for count in self._shape], list(range(size))
    differing = [i for i in range(size) if levels[i] != self._first[i]]
    if proposal.guidance == 'ablation' and attempt == 0 and differing:
      place = differing[rng.integers(len(differing))]
      levels[place] = self._first[place]
      return levels, [place]
    candidates = np.arange(size)
    count = int(rng.geometric(2 / 3)) + attempt // 5
    if proposal.guidance == 'tuning':
      constants = [i for i in range(size) if factors[i].kind == 'constant']
      candidates, count = np.array(constants or range(size)), 1
    elif proposal.guidance == 'creative':
      count += 1
    elif proposal.guidance == 'rewrite' or proposal.operation is Operation.DRAFT:
      count = (size + 1) // 2
    places = rng.permutation(candidates)[: min(count, len(candidates))].tolist()
    for place in places:
      levels[place] = self._moved(place, levels[place], rng)
    return levels, places

  def _moved(self, place: int, level: int, rng: np.random.Generator) -> int:
    """Draws another level of a factor; for a constant, likely a neighbouring one."""
    count = self._shape[place]
    if self.landscape.factors[place].kind == 'constant' and rng.random() < NEIGHBOUR:
      moved = level + (1 if rng.random() < 0.5 else -1)
      return moved if 0 <= moved < count else 2 * level - moved
    return int((level + 1 + rng.integers(count - 1)) % count)

  def _recorded(self, request: TrialRequest, cell: int, fingerprint: str) -> Result:
    landscape, status = self.landscape, self._played.status[cell]
    fraction = min(1.0, request.budget.amount)
    position = math.log(max(fraction, 1e-9))
    budget = min(range(len(self._fractions)), key=lambda i: abs(self._fractions[i] - position))
    share = max(fraction, landscape.steps[0] / landscape.steps[-1])
    seconds = float(landscape.seconds[cell, -1]) * share
    if status in (Status.INVALID, Status.OOM):
      reason = (
        'Its edits exclude each other.' if status is Status.INVALID
        else f'It needs {landscape.peak_bytes[cell]} bytes of {self.options.device_bytes}.'
      )  # fmt: skip
      return Result(request.trial, status, reason, fingerprint, facts={'seconds': 0.0})
    mean, failing = landscape.mean[cell, budget], self._played.failing[cell, budget]
    deviation = self.options.noise * self._played.deviation[cell, budget]
    residuals = self._played.residuals[budget]
    peak = int(landscape.peak_bytes[cell])
    measurements = []
    for seed in request.seeds:
      luck, place = _uniform(f'{self._key}/{cell}/{seed}/{budget}')
      if luck < failing:
        at = landscape.failed_at[cell, budget]
        ended = float(at[at > 0].mean()) / landscape.steps[budget] if (at > 0).any() else 1.0
        spent = seconds * (len(measurements) + ended)
        reason = f'The training loss diverged at {ended:.0%} of the budget.'
        return Result(request.trial, Status.DIVERGED, reason, fingerprint, facts={'seconds': spent})
      metric = float(mean + deviation * residuals[int(place * len(residuals))])
      cost = Cost(training_seconds=seconds, total_seconds=seconds, peak_bytes=peak)
      measurements.append(Measurement(seed, {landscape.metric_name: metric}, cost))
    facts = {'seconds': seconds * len(measurements)}
    return Result(
      request.trial, Status.OK, fingerprint=fingerprint, measurements=tuple(measurements),
      facts=facts,
    )  # fmt: skip

  def _levels(self, cell: int) -> list[int]:
    return [int(level) for level in np.unravel_index(cell, self._shape)]

  def _levels_or_start(self, program: Program) -> list[int]:
    """Returns the program's levels; those of the start for a broken program."""
    try:
      return self._parsed(program)
    except AssignmentError:
      return list(self._first)

  def _parsed(self, program: Program) -> list[int]:
    """Returns the program's levels. Raises AssignmentError for another format or a wrong level."""
    levels = [int(value) for value in self._format.values(program)]
    for factor, level, count in zip(self.landscape.factors, levels, self._shape, strict=True):
      if not 0 <= level < count:
        raise AssignmentError(
          f'{ENTRY}: {factor.name} is {level}; its levels are 0 to {count - 1}.'
        )
    return levels


def _uniform(key: str) -> tuple[float, float]:
  """Returns two numbers in [0, 1), a hash of the key."""
  digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
  return (
    (int.from_bytes(digest[:8], 'little') >> 12) / 2**52,
    (int.from_bytes(digest[8:], 'little') >> 12) / 2**52,
  )
