"""Bit strings whose best value is known: what `nk`, `trap` and `leading_ones` share.

A program is `B0 = 0`, `B1 = 1`, ... The value lies in [0, 1] and is to be maximised; `noise` is
the standard deviation of the metric between seeds, in its own units. The proposer flips one bit, or
a few; it is as blind as the edits of a program are. No program fails unless a line of it is not a
number; what is 0.5 or more counts as 1.

part_0 to part_3: what the four quarters of the string contribute.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import Assignments, Unreadable
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, Meter
from autoresearch_jax.benchmark.simulations.proposing import (
  ANEW,
  CROSSED,
  Draft,
  partner,
  untried,
  wish,
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
SCALE = 0.25  # of what a lower fidelity does: about from a random string to the best of an NK one


@dataclasses.dataclass(frozen=True, eq=False)
class BitString:
  """An instance. terms: bits (int array [n]) -> summands of the fitness, in the bits' order.

  first: the start's bits. best: finds the best bits, called once, when they are asked for.
  """

  name: str
  first: list[int]
  terms: Callable[[np.ndarray], np.ndarray]
  best: Callable[[], list[int]]
  noise: float

  @property
  def objective(self) -> Objective:
    return FITNESS

  @functools.cached_property
  def form(self) -> Assignments:
    names = tuple(f'B{i}' for i in range(len(self.first)))
    return Assignments(names, frozenset(names))

  @functools.cached_property
  def start(self) -> Program:
    return self.form.program(self.first)

  @functools.cached_property
  def solution(self) -> Program:
    return self.form.program(self.best())

  @functools.cached_property
  def optimum(self) -> float:
    return self._evaluation(self.bits(self.solution)).value

  @property
  def space(self) -> dict[str, dict[str, float]]:
    return {name: {'low': 0, 'high': 1} for name in self.form.names}

  def bits(self, program: Program) -> list[int]:
    """Raises Unreadable."""
    return [int(value >= 0.5) for value in self.form.values(program)]

  def value(self, program: Program) -> float | None:
    try:
      return self._evaluation(self.bits(program)).value
    except Unreadable:
      return None

  def measure(self, request: TrialRequest) -> Result:
    try:
      bits = self.bits(request.program)
      made, meaning = self._evaluation(bits), bytes(bits).hex()
    except Unreadable as why:
      made = Evaluation(status=Status.INVALID, reason=str(why), training_seconds=0.0)
      meaning = request.program.digest
    return self._meter.result(request, made, meaning)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Flips one bit or a few; see `_flips` for what operations and guidance change."""
    other = partner(proposal, context)

    def draw(attempt: int) -> Draft:
      bits = self._readable(context.parents[0])
      if other is not None:
        bits = _crossed(bits, self._readable(other), rng)
        if attempt < CROSSED:
          return self._draft(bits, 'take bits of both parents', 'merge')
      flips = self._flips(wish(proposal, attempt), bits, rng, attempt)
      for place in flips:
        bits[place] ^= 1
      where = ', '.join(map(str, flips[:4])) + (', ...' if len(flips) > 4 else '')
      return self._draft(bits, f'flip bits {where}', f'quarter {4 * flips[0] // len(bits)}')

    return untried(context, draw)

  @functools.cached_property
  def _meter(self) -> Meter:
    return Meter(self.name, FITNESS, SCALE)

  @functools.cached_property
  def _splits(self) -> np.ndarray:
    count = len(self.terms(np.array(self.first)))
    return np.arange(min(4, count)) * count // min(4, count)

  def _evaluation(self, bits: list[int]) -> Evaluation:
    terms = self.terms(np.array(bits))
    parts = tuple(np.add.reduceat(terms, self._splits).tolist())
    return Evaluation(sum(parts), parts if len(parts) == 4 else (), self.noise)

  def _flips(
    self, proposal: Proposal, bits: list[int], rng: np.random.Generator, attempt: int
  ) -> list[int]:
    """Which bits: geometric in number with mean 1.5, in places of their own, as edits are.

    tuning: one. creative: four at least. rewrite, and a draft after the first: a quarter. ablation:
    one that differs from the start's, so that it is as in the start again. At last each bit has
    even chances to be flipped.
    """
    size = len(bits)
    if attempt >= ANEW:
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

  def _draft(self, bits: list[int], description: str, mechanism: str) -> Draft:
    return Draft(self.form.program(bits), description, mechanism)

  def _readable(self, program: Program) -> list[int]:
    try:
      return self.bits(program)
    except Unreadable:
      return list(self.first)  # to mend a broken program is to begin again


def _crossed(one: list[int], other: list[int], rng: np.random.Generator) -> list[int]:
  """Uniform crossover."""
  return np.where(rng.random(len(one)) < 0.5, one, other).tolist()


def _distinct(size: int, count: int, rng: np.random.Generator) -> list[int]:
  if count == 1:
    return [int(rng.integers(size))]
  return rng.permutation(size)[:count].tolist()


def other_than(right: np.ndarray, rng: np.random.Generator) -> list[int]:
  """Random bits that are not the solution."""
  bits = rng.integers(0, 2, len(right))
  if (bits == right).all():
    bits[0] ^= 1
  return bits.tolist()


def require_noise(noise: float) -> None:
  if not 0 <= noise < float('inf'):
    raise ValueError(f'noise is {noise}; it is a standard deviation, 0 or more.')
