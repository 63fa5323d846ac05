"""Best of n: n independent improvements of one root; the best of them becomes the next root.

Source: the simple baseline that many evolutionary methods do not beat, Gideoni et al., "Simple
Baselines are Competitive with Code Evolution", 2026 (https://arxiv.org/abs/2602.16805): sample
independently and take the best.

Differences from the paper: it samples one group; here the best trial, when it is better than the
root, becomes the root of another group, because the user decides when a run ends. With n larger
than the number of trials it is the paper's method. The proposer sees no history, so that the
samples stay independent.

With several trials running, a group ends when n of its samples have finished, so it may have a few
more. A late one does not count towards the next group, but becomes the root if it is the best.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class BestOfNState:
  """The current root and the progress of its group.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    root: Trial id, NONE before the first trial.
    num_samples: Finished children of the root.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  root: int = NONE
  num_samples: int = 0


@STRATEGIES.register('best_of_n')
@dataclasses.dataclass(frozen=True)
class BestOfN(Strategy):
  """Samples n improvements of a root, then moves to the best program.

  Attributes:
    n: Samples per root, including failed ones.
  """

  n: int = 10

  def __post_init__(self) -> None:
    if self.n < 1:
      raise ValueError(f'n of best_of_n is {self.n}; it must be at least 1.')

  def init(self, objective: Objective) -> BestOfNState:
    return BestOfNState(objective)

  def ask(self, state: BestOfNState, rng: np.random.Generator) -> tuple[Proposal, BestOfNState]:
    del rng  # deterministic: the proposer samples the edit
    parents = () if state.root == NONE else (state.root,)
    return Proposal(Operation.IMPROVE, parents), state

  def tell(self, state: BestOfNState, trial: Trial) -> BestOfNState:
    archive = state.archive.add(trial, score_of(state.objective, trial))
    is_new = trial.proposal.operation is not Operation.REPLICATE
    root = trial.id if state.root == NONE else state.root
    num_samples = state.num_samples + (is_new and trial.proposal.parents[:1] == (root,))
    best = archive.best_row()
    if num_samples >= self.n:
      root, num_samples = root if best is None else int(archive.ids.array[best]), 0
    return dataclasses.replace(state, archive=archive, root=root, num_samples=num_samples)
