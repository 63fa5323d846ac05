"""Bit strings with a known optimum: what `nk`, `trap` and `leading_ones` share.

A program is `B0 = 0`, `B1 = 1`, ... The fitness lies in [0, 1] and is maximised. The proposer flips
one or a few random bits. A program fails only when a line is not a number; a number of 0.5 or more
counts as 1.

The metrics part_0 to part_3 are the contributions of the four quarters of the string.
"""

import functools
from collections.abc import Callable

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import AssignmentError, Assignments
from autoresearch_jax.benchmark.simulations.base import Instance, SearchSpace
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, MeasurementModel
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
  Edit,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  TrialRequest,
)

FITNESS = Objective('fitness', 'maximize')
SCALE = 0.25  # of fidelity effects: about the distance from a random string to an NK optimum


class BitStringInstance(Instance):
  """An instance of a bit-string problem."""

  def __init__(
    self,
    name: str,
    first: list[int],
    terms: Callable[[np.ndarray], np.ndarray],
    find_best: Callable[[], list[int]],
    noise: float,
  ):
    """Makes an instance.

    Args:
      name: Name and seed of the instance; keys the noise.
      first: The bits of the start, [n].
      terms: Maps bits (int array, [n]) to the summands of the fitness, in the order of the bits.
      find_best: Finds the best bits, [n]; called at most once.
      noise: Standard deviation of the fitness between training seeds.
    """
    names = tuple(f'B{i}' for i in range(len(first)))
    self.first = first
    self.terms = terms
    self.noise = noise
    self.find_best = find_best
    self.format = Assignments(names, frozenset(names))
    self._start = self.format.program(first)
    self._model = MeasurementModel(name, FITNESS, SCALE)

  @property
  def objective(self) -> Objective:
    return FITNESS

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
    return {name: {'low': 0, 'high': 1} for name in self.format.names}

  def bits(self, program: Program) -> list[int]:
    """Returns the program's bits, [n].

    Raises:
      AssignmentError: The program has another format.
    """
    return [int(value >= 0.5) for value in self.format.values(program)]

  def value(self, program: Program) -> float | None:
    try:
      return self._evaluation(self.bits(program)).value
    except AssignmentError:
      return None

  def measure(self, request: TrialRequest) -> Result:
    try:
      bits = self.bits(request.program)
      evaluation, fingerprint = self._evaluation(bits), bytes(bits).hex()
    except AssignmentError as error:
      evaluation = Evaluation(status=Status.INVALID, reason=str(error), training_seconds=0.0)
      fingerprint = request.program.digest
    return self._model.result(request, evaluation, fingerprint)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Flips one or a few bits; see `_flips` for the effect of operations and guidance."""
    other = merge_partner(proposal, context)

    def draw(attempt: int) -> DraftedEdit:
      bits = self._bits_or_start(context.parents[0])
      if other is not None:
        bits = _crossover(bits, self._bits_or_start(other), rng)
        if attempt < PURE_CROSSOVERS:
          return self._draft(bits, 'take bits of both parents', 'merge')
      flips = self._flips(effective_proposal(proposal, attempt), bits, rng, attempt)
      for place in flips:
        bits[place] ^= 1
      where = ', '.join(map(str, flips[:4])) + (', ...' if len(flips) > 4 else '')
      return self._draft(bits, f'flip bits {where}', f'quarter {4 * flips[0] // len(bits)}')

    return first_untried(context, draw)

  @functools.cached_property
  def _solution(self) -> Program:
    return self.format.program(self.find_best())

  @functools.cached_property
  def _optimum(self) -> float:
    return self._evaluation(self.bits(self.solution)).value

  @functools.cached_property
  def _splits(self) -> np.ndarray:
    """Where the (at most four) parts of the fitness begin among its summands."""
    count = len(self.terms(np.array(self.first)))
    return np.arange(min(4, count)) * count // min(4, count)

  def _evaluation(self, bits: list[int]) -> Evaluation:
    terms = self.terms(np.array(bits))
    parts = tuple(np.add.reduceat(terms, self._splits).tolist())
    return Evaluation(sum(parts), parts if len(parts) == 4 else (), self.noise)

  def _flips(
    self, proposal: Proposal, bits: list[int], rng: np.random.Generator, attempt: int
  ) -> list[int]:
    """Draws the places of the bits to flip.

    The number of flips is geometric with mean 1.5. Guidance changes it: `tuning` flips one bit,
    `creative` four or more, `rewrite` (and every draft after the first) a quarter, and `ablation`
    resets one bit to its value in the start. From `REDRAW_ATTEMPT` on, every bit is flipped with
    probability one half.
    """
    size = len(bits)
    if attempt >= REDRAW_ATTEMPT:
      return np.flatnonzero(rng.random(size) < 0.5).tolist() or [0]
    if proposal.guidance == 'ablation' and attempt == 0:
      changed = [i for i, (a, b) in enumerate(zip(bits, self.first, strict=True)) if a != b]
      if changed:
        return [changed[rng.integers(len(changed))]]
    count = 1 if proposal.guidance == 'tuning' else int(rng.geometric(2 / 3))
    if proposal.guidance == 'creative':
      count += 3
    if proposal.guidance == 'rewrite' or proposal.operation is Operation.DRAFT:
      count = size // 4
    return _distinct(size, min(size, count + attempt // 5), rng)

  def _draft(self, bits: list[int], description: str, mechanism: str) -> DraftedEdit:
    return DraftedEdit(self.format.program(bits), description, mechanism)

  def _bits_or_start(self, program: Program) -> list[int]:
    """Returns the program's bits; those of the start for a broken program."""
    try:
      return self.bits(program)
    except AssignmentError:
      return list(self.first)


def _crossover(one: list[int], other: list[int], rng: np.random.Generator) -> list[int]:
  """Uniform crossover."""
  return np.where(rng.random(len(one)) < 0.5, one, other).tolist()


def _distinct(size: int, count: int, rng: np.random.Generator) -> list[int]:
  """Draws `count` different places below `size`."""
  if count == 1:
    return [int(rng.integers(size))]
  return rng.permutation(size)[:count].tolist()


def random_start(best: np.ndarray, rng: np.random.Generator) -> list[int]:
  """Draws random bits, [n], that differ from the solution."""
  bits = rng.integers(0, 2, len(best))
  if (bits == best).all():
    bits[0] ^= 1
  return bits.tolist()


def require_noise(noise: float) -> None:
  """Raises ValueError unless `noise` is a standard deviation."""
  if not 0 <= noise < float('inf'):
    raise ValueError(f'noise is {noise}; it is a standard deviation and must be 0 or more.')
