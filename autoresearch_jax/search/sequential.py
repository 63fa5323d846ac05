"""Sequential sampling: improve the last trial, whatever its score.

Source: the second baseline of Gideoni et al., "Simple Baselines are Competitive with Code
Evolution", 2026 (https://arxiv.org/abs/2602.16805): each program is written with the earlier
successful ones in the context. A failed trial is therefore not continued: after one, the last trial
that has a score is improved again. There is no selection, so this baseline measures what selection
is worth.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class SequentialSamplingState:
  """The end of the chain.

  Attributes:
    objective: The run's objective.
    last: Id of the last finished trial with a score; without one, the first trial; None before it.
    recent: Ids of the last `context_size` trials with a score, oldest first.
  """

  objective: Objective
  last: int | None = None
  recent: tuple[int, ...] = ()


@STRATEGIES.register('sequential')
@dataclasses.dataclass(frozen=True)
class SequentialSampling(Strategy):
  """Improves the last trial that has a score.

  Attributes:
    context_size: How many of the last trials with a score are shown to the proposer.
  """

  context_size: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'sequential', 'context_size')

  def init(self, objective: Objective) -> SequentialSamplingState:
    return SequentialSamplingState(objective)

  def ask(
    self, state: SequentialSamplingState, rng: np.random.Generator
  ) -> tuple[Proposal, SequentialSamplingState]:
    del rng  # deterministic: the proposer samples the edit
    parents = () if state.last is None else (state.last,)
    return Proposal(Operation.IMPROVE, parents, context=state.recent), state

  def tell(self, state: SequentialSamplingState, trial: Trial) -> SequentialSamplingState:
    if trial.proposal.operation is Operation.REPLICATE:
      return state  # its program is in the chain already
    if score_of(state.objective, trial) is None:
      return state if state.last is not None else dataclasses.replace(state, last=trial.id)
    recent = (*state.recent, trial.id)
    recent = recent[max(0, len(recent) - self.context_size) :]
    return dataclasses.replace(state, last=trial.id, recent=recent)
