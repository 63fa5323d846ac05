"""Random edits of constants: a few of them change, by steps of all sizes.

Points lie in the unit cube, [0, 1]^d; the caller maps them to constants and back.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import AssignmentError, Assignments
from autoresearch_jax.benchmark.simulations.proposing import (
  PURE_CROSSOVERS,
  REDRAW_ATTEMPT,
  DraftedEdit,
  effective_proposal,
  first_untried,
  merge_partner,
)
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Edit, Operation, Program, Proposal

# The typical size of a step is log-uniform between these shares of a constant's range: whoever
# edits by hand does not know the scale either.
MIN_STEP = 1e-3
MAX_STEP = 0.5


@dataclasses.dataclass(frozen=True)
class ConstantMove:
  """A change of constants.

  Attributes:
    point: The new point, [d].
    kind: What was done, in a word; also the tag of the hypothesis.
    changed: Indices of the constants that changed.
  """

  point: np.ndarray
  kind: str
  changed: list[int]

  def describe(self, names: Sequence[str]) -> str:
    """Returns a description such as 'move X1, X4'."""
    changed = ', '.join(names[i] for i in self.changed[:4])
    return f'{self.kind} {changed}' + (', ...' if self.changed[4:] else '')


@dataclasses.dataclass(frozen=True)
class UnitCube:
  """The map between an instance's programs and the unit cube.

  Attributes:
    format: The format of the programs.
    first: The constants of the start, [d].
    to_unit: Maps constants to a point; constants outside their ranges land on the border.
    to_constants: Maps a point back to constants.
  """

  format: Assignments
  first: np.ndarray
  to_unit: Callable[[np.ndarray], np.ndarray]
  to_constants: Callable[[np.ndarray], np.ndarray]

  def point(self, program: Program) -> np.ndarray:
    """Returns the program's point, [d]; that of the start for a broken program."""
    try:
      return self.to_unit(np.array(self.format.values(program)))
    except AssignmentError:
      return self.to_unit(self.first)


def edit(
  cube: UnitCube, proposal: Proposal, context: ProposalContext, rng: np.random.Generator
) -> Edit:
  """Draws an edit of `context.parents[0]` that changes a few constants.

  A merge takes each constant from either parent.

  Raises:
    NothingToPropose: No untried edit was found.
  """
  other = merge_partner(proposal, context)
  point, first = cube.point(context.parents[0]), cube.to_unit(cube.first)
  mate = None if other is None else cube.point(other)

  def draw(attempt: int) -> DraftedEdit:
    move = draw_move(point, mate, first, proposal, rng, attempt)
    program = cube.format.program(cube.to_constants(move.point).tolist())
    return DraftedEdit(program, move.describe(cube.format.names), move.kind)

  return first_untried(context, draw)


def draw_move(
  point: np.ndarray,
  mate: np.ndarray | None,
  first: np.ndarray,
  proposal: Proposal,
  rng: np.random.Generator,
  attempt: int,
) -> ConstantMove:
  """Draws a move.

  Guidance changes the default move: `tuning` changes one constant by a tenth of the usual step,
  `creative` redraws one or more constants, `rewrite` (and every draft) redraws half of them, and
  `ablation` resets one changed constant to its value in the start.

  Args:
    point: The point to move from, [d].
    mate: For a merge, the other parent's point, [d]; the move starts from a uniform crossover.
    first: The point of the start, [d].
    proposal: The operation and guidance to follow.
    rng: The source of randomness.
    attempt: How many moves were drawn before that gave no new program (likely where all constants
      are integers). Later moves change more constants, and in the end all are drawn anew.
  """
  if mate is not None:
    point = np.where(rng.random(len(point)) < 0.5, point, mate)
    if attempt < PURE_CROSSOVERS:
      return ConstantMove(point, 'cross', list(range(len(point))))
  if attempt >= REDRAW_ATTEMPT:
    return ConstantMove(rng.random(len(point)), 'redraw', list(range(len(point))))
  proposal = effective_proposal(proposal, attempt)
  changed = np.flatnonzero(point != first)
  if proposal.guidance == 'ablation' and len(changed) and attempt == 0:
    places = [int(rng.choice(changed))]
    return ConstantMove(_with(point, places, first[places]), 'restore', places)
  places = _places(len(point), proposal, rng, attempt)
  if proposal.guidance in ('creative', 'rewrite') or proposal.operation is Operation.DRAFT:
    return ConstantMove(_with(point, places, rng.random(len(places))), 'redraw', places)
  typical = MIN_STEP * (MAX_STEP / MIN_STEP) ** rng.random()
  if proposal.guidance == 'tuning':
    typical /= 10
  steps = typical * rng.standard_normal(len(places))
  return ConstantMove(_with(point, places, _reflected(point[places] + steps)), 'move', places)


def _places(size: int, proposal: Proposal, rng: np.random.Generator, attempt: int) -> list[int]:
  """Draws which constants change: geometric in number with mean 2, or all in one of four draws."""
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
  """Reflects values at the borders of [0, 1] until they lie inside."""
  return 1 - np.abs(1 - np.abs(values) % 2)
