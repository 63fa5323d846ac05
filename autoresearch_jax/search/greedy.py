"""Greedy hill climbing: improve the incumbent, the last program that was kept.

Source: karpathy/autoresearch, 2026. Several trials may be under way at once: each improves the
incumbent that was known when it was asked for, and its verdict is taken in when it is told.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class GreedyState:
  """incumbent: the last trial kept, None before the first. recent: trials told, oldest first."""

  incumbent: int | None = None
  recent: tuple[int, ...] = ()


@STRATEGIES.register('greedy')
@dataclasses.dataclass(frozen=True)
class Greedy(Strategy):
  """shown: how many of the last trials a proposer gets to see, so that it can learn from them."""

  shown: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'greedy', 'shown')

  def init(self, objective: Objective) -> GreedyState:
    del objective  # acceptance compares the scores
    return GreedyState()

  def ask(self, state: GreedyState, rng: np.random.Generator) -> tuple[Proposal, GreedyState]:
    del rng  # nothing to draw: the proposer draws the edit
    parents = () if state.incumbent is None else (state.incumbent,)
    return Proposal(Operation.IMPROVE, parents, context=state.recent), state

  def tell(self, state: GreedyState, trial: Trial) -> GreedyState:
    kept = trial.verdict is not None and trial.verdict.decision is Decision.KEEP
    told = (*state.recent, trial.id)
    recent = told[max(0, len(told) - self.shown) :]
    return GreedyState(trial.id if kept else state.incumbent, recent)
