"""AIDE's tree search: a few drafts, then debug a buggy leaf or improve the best good node.

Source: Jiang et al., "AIDE: AI-Driven Exploration in the Space of Code", 2025
(https://arxiv.org/abs/2502.13138), and the search policy of WecoAI/aideml. In its order:

1. `num_drafts` programs are drafted from the problem's start (trial 0 is not one of them);
2. with probability `debug_prob`, a random buggy leaf is debugged whose `debug_depth` does not
   exceed `max_debug_depth`;
3. the good node with the best score is improved; if there is none, another program is drafted.

With several trials running, drafts count when they are proposed, and a buggy leaf that is being
debugged is no longer a leaf.
"""

import dataclasses
from typing import Self

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, IntColumn, is_buggy, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class Journal:
  """The tree of all trials.

  Attributes:
    objective: The run's objective.
    archive: All trials; a row is a node.
    debug_depth: Per row: for a buggy node, the number of consecutive debugging attempts that led to
      it; NONE for any other node.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  debug_depth: IntColumn = dataclasses.field(default_factory=IntColumn)

  def append(self, trial: Trial) -> Self:
    """Returns the journal with a finished trial added."""
    archive = self.archive.add(trial, score_of(self.objective, trial))
    if len(archive) == len(self.archive):
      return dataclasses.replace(self, archive=archive)  # a replicate
    debug_depth = self.debug_depth.append(self._debug_depth(archive, trial))
    return dataclasses.replace(self, archive=archive, debug_depth=debug_depth)

  def _debug_depth(self, archive: Archive, trial: Trial) -> int:
    if not is_buggy(trial):
      return NONE
    parent = archive.parent_rows.array[-1]
    is_debugging = trial.proposal.operation is Operation.DEBUG and parent != NONE
    return 1 + max(0, int(self.debug_depth.array[parent])) if is_debugging else 0

  def buggy_leaves(self, max_debug_depth: int, first_row: int = 0) -> np.ndarray:
    """Returns the buggy rows without children, from `first_row` on. int64 [n]."""
    depth = self.debug_depth.array[first_row:]
    is_leaf = self.archive.num_children.array[first_row:] == 0
    return first_row + np.flatnonzero((depth != NONE) & (depth <= max_debug_depth) & is_leaf)

  def last_good(self, count: int) -> tuple[int, ...]:
    """Returns the ids of the last `count` trials with a score, oldest first: AIDE's memory."""
    rows = self.archive.scored_rows
    return tuple(self.archive.ids.array[rows[max(0, len(rows) - count) :]].tolist())

  def count_child(self, row: int) -> Self:
    """Returns the journal with one more child of `row`, counted when it is proposed."""
    return dataclasses.replace(self, archive=self.archive.count_child(row))


@dataclasses.dataclass(frozen=True)
class TreeState:
  """The tree and the number of drafts.

  Attributes:
    journal: All trials.
    num_drafts: Drafts proposed so far.
  """

  journal: Journal
  num_drafts: int = 0


@STRATEGIES.register('tree')
@dataclasses.dataclass(frozen=True)
class Tree(Strategy):
  """Drafts, debugs or improves; the defaults are AIDE's.

  Attributes:
    num_drafts: Programs drafted before any is improved.
    debug_prob: Probability of debugging a buggy leaf, if there is one.
    max_debug_depth: Consecutive debugging attempts before a branch is given up.
    context_size: How many of the last trials with a score are shown to the proposer.
  """

  num_drafts: int = 5
  debug_prob: float = 0.5
  max_debug_depth: int = 3
  context_size: int = 40

  def __post_init__(self) -> None:
    require_debug_options(self.debug_prob, self.max_debug_depth)
    require_at_least(0, self, 'tree', 'num_drafts', 'context_size')

  def init(self, objective: Objective) -> TreeState:
    return TreeState(Journal(objective))

  def ask(self, state: TreeState, rng: np.random.Generator) -> tuple[Proposal, TreeState]:
    journal = state.journal
    context, best = journal.last_good(self.context_size), journal.archive.best_row()
    drafted = state.num_drafts >= self.num_drafts
    if drafted and rng.random() < self.debug_prob:
      leaves = journal.buggy_leaves(self.max_debug_depth)
      if len(leaves):
        return self._edit(state, Operation.DEBUG, int(rng.choice(leaves)), context)
    if drafted and best is not None:
      return self._edit(state, Operation.IMPROVE, best, context)
    draft = Proposal(Operation.DRAFT, context=context)
    return draft, dataclasses.replace(state, num_drafts=state.num_drafts + 1)

  def _edit(
    self, state: TreeState, operation: Operation, row: int, context: tuple[int, ...]
  ) -> tuple[Proposal, TreeState]:
    parent = int(state.journal.archive.ids.array[row])
    state = dataclasses.replace(state, journal=state.journal.count_child(row))
    return Proposal(operation, (parent,), context), state

  def tell(self, state: TreeState, trial: Trial) -> TreeState:
    return dataclasses.replace(state, journal=state.journal.append(trial))


def require_debug_options(debug_prob: float, max_debug_depth: int) -> None:
  """Raises ValueError when the options of debugging are out of range."""
  if not 0 <= debug_prob <= 1:
    raise ValueError(f'debug_prob is {debug_prob}; it must be between 0 and 1.')
  if max_debug_depth < 0:
    raise ValueError(f'max_debug_depth is {max_debug_depth}; it must be at least 0.')
