"""Pending proposals, each with a label such as the island that it came from.

A proposal has no field for such a label, and trial ids are assigned only after `ask`. The proposal
itself is therefore the key: a finished trial belongs to the oldest pending proposal that equals
its own. Equal proposals are interchangeable, so it does not matter which of them is matched.

A wrapper that changes a proposal (its fidelity, its context) also remembers what the inner
strategy had requested, because the inner strategy must be told about its own proposal.
"""

import dataclasses
from typing import Self

from autoresearch_jax.types import Proposal, Trial

MAX_PENDING = 1000  # a proposal that never gets a result must not be remembered for ever


@dataclasses.dataclass(frozen=True)
class PendingProposal:
  """A proposal without a result.

  Attributes:
    submitted: The proposal as the research loop received it.
    requested: The inner strategy's proposal, None when it is the submitted one.
    label: Whatever the strategy needs to know when the result arrives.
  """

  submitted: Proposal
  requested: Proposal | None = None
  label: int = 0

  def as_requested(self, trial: Trial) -> Trial:
    """Returns the trial with the proposal that the inner strategy had requested."""
    return trial if self.requested is None else dataclasses.replace(trial, proposal=self.requested)


@dataclasses.dataclass(frozen=True)
class PendingProposals:
  """All proposals without a result, oldest first."""

  proposals: tuple[PendingProposal, ...] = ()

  def add(self, submitted: Proposal, label: int = 0, requested: Proposal | None = None) -> Self:
    """Returns the proposals with one more."""
    requested = None if requested == submitted else requested
    proposals = (*self.proposals, PendingProposal(submitted, requested, label))
    return type(self)(proposals[max(0, len(proposals) - MAX_PENDING) :])

  def pop(self, trial: Trial) -> tuple[PendingProposal | None, Self]:
    """Returns the proposal that a finished trial belongs to, and the remaining ones.

    The proposal is None when this strategy did not propose the trial.
    """
    for place, pending in enumerate(self.proposals):
      if pending.submitted == trial.proposal:
        return pending, type(self)(self.proposals[:place] + self.proposals[place + 1 :])
    return None, self
