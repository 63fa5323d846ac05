"""How a proposer without insight moves constants: a few of them, by steps of all sizes.

Points are in the unit cube, [0, 1]^d; whoever calls maps constants onto it.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import Assignments, Unreadable
from autoresearch_jax.benchmark.simulations.proposing import (
  ANEW,
  CROSSED,
  Draft,
  partner,
  untried,
  wish,
)
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Edit, Operation, Program, Proposal

SMALLEST = 1e-3  # a step's typical size is log-uniform from this share of the range ...
LARGEST = 0.5  # ... to this one: who edits by hand does not know the scale


@dataclasses.dataclass(frozen=True)
class Move:
  """point: [d]. kind: a tag. changed: which constants moved."""

  point: np.ndarray
  kind: str
  changed: list[int]

  def describe(self, names: Sequence[str]) -> str:
    said = ', '.join(names[i] for i in self.changed[:4]) + (', ...' if self.changed[4:] else '')
    return f'{self.kind} {said}'


@dataclasses.dataclass(frozen=True)
class Map:
  """Between an instance's programs and the unit cube.

  first: the start's constants [d]. unit: from constants to a point, those outside of their ranges
  at the border. constants: and back.
  """

  form: Assignments
  first: np.ndarray
  unit: Callable[[np.ndarray], np.ndarray]
  constants: Callable[[np.ndarray], np.ndarray]

  def point(self, program: Program) -> np.ndarray:
    """The program's point; a broken program's is the start's."""
    try:
      return self.unit(np.array(self.form.values(program)))
    except Unreadable:
      return self.unit(self.first)


def edit(map_: Map, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
  """Moves a few constants; a merge takes each from either parent. Raises NothingToPropose."""
  other = partner(proposal, context)
  point, first = map_.point(context.parents[0]), map_.unit(map_.first)
  mate = None if other is None else map_.point(other)

  def draft(attempt: int) -> Draft:
    move = drawn(point, mate, first, proposal, rng, attempt)
    program = map_.form.program(map_.constants(move.point).tolist())
    return Draft(program, move.describe(map_.form.names), move.kind)

  return untried(context, draft)


def drawn(
  point: np.ndarray,
  mate: np.ndarray | None,
  first: np.ndarray,
  proposal: Proposal,
  rng: np.random.Generator,
  attempt: int,
) -> Move:
  """A move from `point`; with a `mate`, from a uniform crossover of both.

  first: the start. attempt: counts the moves that were not new, which whole constants make likely;
  later ones change more, and at last all constants are drawn anew.
  tuning: one constant, by a tenth of the usual step. creative: one or more, drawn anew. rewrite,
  and a draft: half of them, drawn anew. ablation: one of those changed, as in the start again.
  """
  if mate is not None:
    point = np.where(rng.random(len(point)) < 0.5, point, mate)
    if attempt < CROSSED:
      return Move(point, 'cross', list(range(len(point))))
  if attempt >= ANEW:
    return Move(rng.random(len(point)), 'redraw', list(range(len(point))))
  proposal = wish(proposal, attempt)
  changed = np.flatnonzero(point != first)
  if proposal.guidance == 'ablation' and len(changed) and attempt == 0:
    places = [int(rng.choice(changed))]
    return Move(_with(point, places, first[places]), 'restore', places)
  places = _places(len(point), proposal, rng, attempt)
  if proposal.guidance in ('creative', 'rewrite') or proposal.operation is Operation.DRAFT:
    return Move(_with(point, places, rng.random(len(places))), 'redraw', places)
  typical = SMALLEST * (LARGEST / SMALLEST) ** rng.random()
  if proposal.guidance == 'tuning':
    typical /= 10
  steps = typical * rng.standard_normal(len(places))
  return Move(_with(point, places, _reflected(point[places] + steps)), 'move', places)


def _places(size: int, proposal: Proposal, rng: np.random.Generator, attempt: int) -> list[int]:
  """Constants to change: geometric in number with mean 2, every fourth time all of them."""
  if proposal.guidance == 'rewrite' or proposal.operation is Operation.DRAFT:
    count = (size + 1) // 2
  elif proposal.guidance == 'tuning':
    count = 1
  else:
    count = size if rng.random() < 0.25 else int(rng.geometric(0.5))
  count = min(size, count + attempt // 5)
  if count == 1:
    return [int(rng.integers(size))]
  return rng.permutation(size)[:count].tolist()


def _with(point: np.ndarray, places: list[int], values: np.ndarray) -> np.ndarray:
  new = point.copy()
  new[places] = values
  return new


def _reflected(values: np.ndarray) -> np.ndarray:
  """Back into [0, 1] as from mirrors at both ends."""
  return 1 - np.abs(1 - np.abs(values) % 2)
