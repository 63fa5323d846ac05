"""Greedy hill climbing: improve the incumbent, the last program that was kept.

Source: karpathy/autoresearch, 2026. When several trials run at once, each improves the incumbent at
the time it was proposed; its verdict counts when it arrives.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import is_kept
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class GreedyState:
  """The incumbent and the trials to show.

  Attributes:
    incumbent: Id of the last trial kept, None before the first.
    recent: Ids of the last `context_size` trials, oldest first.
  """

  incumbent: int | None = None
  recent: tuple[int, ...] = ()


@STRATEGIES.register('greedy')
@dataclasses.dataclass(frozen=True)
class Greedy(Strategy):
  """Improves the incumbent.

  Attributes:
    context_size: How many of the last trials are shown to the proposer.
  """

  context_size: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'greedy', 'context_size')

  def init(self, objective: Objective) -> GreedyState:
    del objective  # the acceptance rule compares scores
    return GreedyState()

  def ask(self, state: GreedyState, rng: np.random.Generator) -> tuple[Proposal, GreedyState]:
    del rng  # deterministic: the proposer samples the edit
    parents = () if state.incumbent is None else (state.incumbent,)
    return Proposal(Operation.IMPROVE, parents, context=state.recent), state

  def tell(self, state: GreedyState, trial: Trial) -> GreedyState:
    recent = (*state.recent, trial.id)
    return GreedyState(
      incumbent=trial.id if is_kept(trial) else state.incumbent,
      recent=recent[max(0, len(recent) - self.context_size) :],
    )
