"""A chain: improve the last trial, whatever its score.

Source: sequential sampling, the other baseline of Gideoni et al., "Simple Baselines are
Competitive with Code Evolution", 2026 (https://arxiv.org/abs/2602.16805): each program is written
with the earlier successful ones in view. So a failed trial is no link of the chain: after one,
the last trial that has a score is improved again. There is no selection at all, which makes it
the measure of what selection is worth.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class SequentialState:
  """last: the trial with a score told last, else the first trial told. recent: oldest first."""

  objective: Objective
  last: int | None = None
  recent: tuple[int, ...] = ()


@STRATEGIES.register('sequential')
@dataclasses.dataclass(frozen=True)
class Sequential(Strategy):
  """shown: how many of the last trials with a score a proposer gets to see."""

  shown: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'sequential', 'shown')

  def init(self, objective: Objective) -> SequentialState:
    return SequentialState(objective)

  def ask(
    self, state: SequentialState, rng: np.random.Generator
  ) -> tuple[Proposal, SequentialState]:
    del rng  # nothing to draw: the proposer draws the edit
    parents = () if state.last is None else (state.last,)
    return Proposal(Operation.IMPROVE, parents, context=state.recent), state

  def tell(self, state: SequentialState, trial: Trial) -> SequentialState:
    if trial.proposal.operation is Operation.REPLICATE:
      return state  # a program that is in the chain already
    if score_of(state.objective, trial) is None:
      return state if state.last is not None else dataclasses.replace(state, last=trial.id)
    told = (*state.recent, trial.id)
    recent = told[max(0, len(told) - self.shown) :]
    return dataclasses.replace(state, last=trial.id, recent=recent)
