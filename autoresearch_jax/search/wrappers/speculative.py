"""Speculative: has the next trial prepared as if the running one will be discarded.

Source: this project. Most trials are discarded, so what the inner strategy would ask for after one
is known before it ends. The loop asks ahead, and has the edit written and traced meanwhile. When a
result came in between, it asks again (`revise`): the inner strategy answers with the same random
numbers and with all that it was told, and where it now wants another parent the edit is applied to
that one instead. The inner strategy is asked and told exactly what it would have been one trial at
a time, so its search is the same, only that its proposer wrote the edit before the last result.

Kept as they were asked for: proposals that carry their own edit, and those whose revision would be
another operation, at another share of the budget. Played one trial at a time, as the benchmark
does, nothing is ahead, and this is the inner strategy.
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.wrappers.base import Wrapper
from autoresearch_jax.types import Objective, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class Ahead:
  """The last proposal, and what it takes to ask again: the seed and the inner state without it."""

  given: Proposal
  seed: int
  unasked: Any


@dataclasses.dataclass(frozen=True)
class SpeculativeState:
  """inner: as it would be one trial at a time, if the last proposal stands.

  ahead: the last proposal, until it is told of or another one is asked for.
  """

  inner: Any
  ahead: Ahead | None = None
  underway: Underway = dataclasses.field(default_factory=Underway)


@STRATEGIES.register('speculative')
@dataclasses.dataclass(frozen=True)
class Speculative(Wrapper):
  """inner, inner_options: the strategy that decides."""

  inner: str = 'tree'

  def init(self, objective: Objective) -> SpeculativeState:
    return SpeculativeState(self.strategy.init(objective))

  def ask(
    self, state: SpeculativeState, rng: np.random.Generator
  ) -> tuple[Proposal, SpeculativeState]:
    seed = int(rng.integers(2**63))
    proposal, inner = self.strategy.ask(state.inner, np.random.default_rng(seed))
    ahead = Ahead(proposal, seed, state.inner)
    return proposal, SpeculativeState(inner, ahead, state.underway.departed(proposal))

  def tell(self, state: SpeculativeState, trial: Trial) -> SpeculativeState:
    inner = self.strategy.tell(state.inner, trial)
    ahead, (_, underway) = state.ahead, state.underway.landed(trial)
    if ahead is None or not any(flight.given == ahead.given for flight in underway.flights):
      return SpeculativeState(inner, None, underway)
    unasked = self.strategy.tell(ahead.unasked, trial)
    return SpeculativeState(inner, dataclasses.replace(ahead, unasked=unasked), underway)

  def revise(
    self, state: SpeculativeState, proposal: Proposal
  ) -> tuple[Proposal, SpeculativeState]:
    """What would be asked for by now in place of `proposal`, which was prepared and not begun."""
    ahead = state.ahead
    if ahead is None or ahead.given != proposal or proposal.edit is not None:
      return proposal, state
    revised, inner = self.strategy.ask(ahead.unasked, np.random.default_rng(ahead.seed))
    same = (revised.operation, revised.fidelity) == (proposal.operation, proposal.fidelity)
    if not same or revised.edit is not None:
      return proposal, state
    others = Underway(state.underway.flights[:-1])  # the last one to depart is the one ahead
    return revised, SpeculativeState(inner, None, others.departed(revised))
