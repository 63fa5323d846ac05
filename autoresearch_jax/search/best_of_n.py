"""Best of n: n independent improvements of one root; the best of them is the next root.

Source: the simple baseline that many evolvers do not beat, Gideoni et al., "Simple Baselines are
Competitive with Code Evolution", 2026 (https://arxiv.org/abs/2602.16805): draw independently and
take the best. There one group of draws is all; here the best scored trial, if it is better than
the root, becomes the root of another group, since a run ends when its user says so. With n above
the number of trials it is the paper's. The proposer sees no history, so the draws stay independent.

Several trials under way: a group ends when n of its draws are told of, so it may have some more.
A late one does not count among the next n, but it wins when it is the best.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class BestOfNState:
  """root: trial id, NONE before one is known. drawn: children of the root told in this group."""

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  root: int = NONE
  drawn: int = 0


@STRATEGIES.register('best_of_n')
@dataclasses.dataclass(frozen=True)
class BestOfN(Strategy):
  """n: draws from a root, failed ones counted, before the best becomes the next root."""

  n: int = 10

  def __post_init__(self) -> None:
    if self.n < 1:
      raise ValueError(f'n is {self.n}; best_of_n draws 1 or more from each root.')

  def init(self, objective: Objective) -> BestOfNState:
    return BestOfNState(objective)

  def ask(self, state: BestOfNState, rng: np.random.Generator) -> tuple[Proposal, BestOfNState]:
    del rng  # nothing to draw: the proposer draws the edit
    parents = () if state.root == NONE else (state.root,)
    return Proposal(Operation.IMPROVE, parents), state

  def tell(self, state: BestOfNState, trial: Trial) -> BestOfNState:
    archive = state.archive.added(trial, score_of(state.objective, trial))
    is_draw = trial.proposal.operation is not Operation.REPLICATE
    root = trial.id if state.root == NONE else state.root
    drawn = state.drawn + (is_draw and trial.proposal.parents[:1] == (root,))
    best = archive.best()
    if drawn >= self.n:
      root, drawn = root if best is None else int(archive.ids.array[best]), 0
    return dataclasses.replace(state, archive=archive, root=root, drawn=drawn)
