"""Speculative: prepares the next trial as if the running one were going to be discarded.

This project's own. Most trials are discarded, so what the inner strategy will propose after one is
known before it ends. The research loop asks ahead, and has the edit written and traced in the
meantime. If a result arrived in between, it calls `revise`: the inner strategy answers with the
same random numbers and everything it has been told, and if it now selects another parent, the edit
is applied to that one instead. The inner strategy is asked and told exactly what it would be if
trials ran one at a time, so its search is the same, except that the proposer wrote the edit before
it saw the last result.

Not revised: proposals that carry their own edit, and those whose revision would have another
operation or fidelity. When trials run one at a time, as in the benchmark, nothing is prepared ahead
and this is the inner strategy.
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.wrappers.base import Wrapper
from autoresearch_jax.types import Objective, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class SpeculativeProposal:
  """The last proposal, and what is needed to ask for it again.

  Attributes:
    proposal: The proposal.
    seed: Seed of the generator it was asked with.
    inner_before: The inner state without that ask.
  """

  proposal: Proposal
  seed: int
  inner_before: Any


@dataclasses.dataclass(frozen=True)
class SpeculativeState:
  """The inner state, and the proposal that may be revised.

  Attributes:
    inner: The inner state if the last proposal stands.
    last: The last proposal, until its result arrives or another one is asked for.
    pending: Proposals without a result.
  """

  inner: Any
  last: SpeculativeProposal | None = None
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)


@STRATEGIES.register('speculative')
@dataclasses.dataclass(frozen=True)
class Speculative(Wrapper):
  """Revises proposals that were prepared ahead.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
  """

  inner: str = 'tree'

  def init(self, objective: Objective) -> SpeculativeState:
    return SpeculativeState(self.strategy.init(objective))

  def ask(
    self, state: SpeculativeState, rng: np.random.Generator
  ) -> tuple[Proposal, SpeculativeState]:
    seed = int(rng.integers(2**63))
    proposal, inner = self.strategy.ask(state.inner, np.random.default_rng(seed))
    last = SpeculativeProposal(proposal, seed, state.inner)
    return proposal, SpeculativeState(inner, last, state.pending.add(proposal))

  def tell(self, state: SpeculativeState, trial: Trial) -> SpeculativeState:
    inner = self.strategy.tell(state.inner, trial)
    last, (_, pending) = state.last, state.pending.pop(trial)
    if last is None or not any(p.submitted == last.proposal for p in pending.proposals):
      return SpeculativeState(inner, None, pending)
    inner_before = self.strategy.tell(last.inner_before, trial)
    return SpeculativeState(inner, dataclasses.replace(last, inner_before=inner_before), pending)

  def revise(
    self, state: SpeculativeState, proposal: Proposal
  ) -> tuple[Proposal, SpeculativeState]:
    last = state.last
    if last is None or last.proposal != proposal or proposal.edit is not None:
      return proposal, state
    revised, inner = self.strategy.ask(last.inner_before, np.random.default_rng(last.seed))
    same = (revised.operation, revised.fidelity) == (proposal.operation, proposal.fidelity)
    if not same or revised.edit is not None:
      return proposal, state
    others = PendingProposals(state.pending.proposals[:-1])  # the newest one is `last`
    return revised, SpeculativeState(inner, None, others.add(revised))
