"""AIDE's tree: a few drafts, then mend a broken leaf or improve the best program that works.

Source: Jiang et al., "AIDE: AI-Driven Exploration in the Space of Code", 2025
(https://arxiv.org/abs/2502.13138), and the search policy of WecoAI/aideml. In its order:

1. `drafts` programs are drafted from the problem's start (trial 0 is not one of them);
2. with probability `debug_probability`, a random broken leaf is mended whose chain of attempts at
   mending is not longer than `debug_depth`;
3. the program with the best score is improved; without one, another is drafted.

Several trials under way: drafts count when they are asked for, and a broken leaf that is being
mended is no leaf any more.
"""

import dataclasses
from typing import Self

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, Ints, is_buggy, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class Journal:
  """The tree of trials, with what is broken in it.

  mended: per row of the archive, for a broken program the number of attempts at mending that led
  to it, NONE for one that works (or was not tried: a duplicate, a cancelled trial).
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  mended: Ints = dataclasses.field(default_factory=Ints)

  def added(self, trial: Trial) -> Self:
    archive = self.archive.added(trial, score_of(self.objective, trial))
    if len(archive) == len(self.archive):
      return dataclasses.replace(self, archive=archive)  # a replicate
    return dataclasses.replace(
      self, archive=archive, mended=self.mended.appended(self._attempts(archive, trial))
    )

  def _attempts(self, archive: Archive, trial: Trial) -> int:
    if not is_buggy(trial):
      return NONE
    above = archive.above.array[-1]
    is_attempt = trial.proposal.operation is Operation.DEBUG and above != NONE
    return 1 + max(0, int(self.mended.array[above])) if is_attempt else 0

  def broken_leaves(self, depth: int, first: int = 0) -> np.ndarray:
    """Rows from `first` on that are broken, have no child, and `depth` attempts at most."""
    mended = self.mended.array[first:]
    leaves = self.archive.children.array[first:] == 0
    return first + np.flatnonzero((mended != NONE) & (mended <= depth) & leaves)

  def working(self, count: int) -> tuple[int, ...]:
    """Ids of the last `count` programs with a score: AIDE's memory, the oldest first."""
    rows = self.archive.scored
    return tuple(self.archive.ids.array[rows[max(0, len(rows) - count) :]].tolist())

  def asked(self, row: int) -> Self:
    return dataclasses.replace(self, archive=self.archive.asked(row))


@dataclasses.dataclass(frozen=True)
class TreeState:
  """drafts: how many were asked for."""

  journal: Journal
  drafts: int = 0


@STRATEGIES.register('tree')
@dataclasses.dataclass(frozen=True)
class Tree(Strategy):
  """drafts, debug_probability, debug_depth: see the module; the defaults are AIDE's.

  shown: how many of the last working programs a proposer gets to see.
  """

  drafts: int = 5
  debug_probability: float = 0.5
  debug_depth: int = 3
  shown: int = 40

  def __post_init__(self) -> None:
    require_debugging(self.debug_probability, self.debug_depth)
    require_at_least(0, self, 'tree', 'drafts', 'shown')

  def init(self, objective: Objective) -> TreeState:
    return TreeState(Journal(objective))

  def ask(self, state: TreeState, rng: np.random.Generator) -> tuple[Proposal, TreeState]:
    journal = state.journal
    context, best = journal.working(self.shown), journal.archive.best()
    enough = state.drafts >= self.drafts
    if enough and rng.random() < self.debug_probability:
      leaves = journal.broken_leaves(self.debug_depth)
      if len(leaves):
        return self._edit(state, Operation.DEBUG, int(rng.choice(leaves)), context)
    if enough and best is not None:
      return self._edit(state, Operation.IMPROVE, best, context)
    draft = Proposal(Operation.DRAFT, context=context)
    return draft, dataclasses.replace(state, drafts=state.drafts + 1)

  def _edit(
    self, state: TreeState, operation: Operation, row: int, context: tuple[int, ...]
  ) -> tuple[Proposal, TreeState]:
    parent = int(state.journal.archive.ids.array[row])
    state = dataclasses.replace(state, journal=state.journal.asked(row))
    return Proposal(operation, (parent,), context), state

  def tell(self, state: TreeState, trial: Trial) -> TreeState:
    return dataclasses.replace(state, journal=state.journal.added(trial))


def require_debugging(probability: float, depth: int) -> None:
  """Raises ValueError when the options of mending make no sense."""
  if not 0 <= probability <= 1:
    raise ValueError(f'debug_probability is {probability}; it must be from 0 to 1.')
  if depth < 0:
    raise ValueError(f'debug_depth is {depth}; it must not be below 0.')
