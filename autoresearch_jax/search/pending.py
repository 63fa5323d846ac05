"""What a strategy remembers of its proposals until their results come: which island, which copy.

A proposal has no room for such a label, and ids are given out after `ask`. So the proposal itself
is the key: a told trial belongs to the oldest flight with an equal proposal. Equal proposals are
interchangeable, so it does no harm that two of them may change places.

A wrapper that alters a proposal (another fidelity, more context) keeps the one of its inner
strategy beside it, since the inner strategy must be told of what it asked for.
"""

import dataclasses
from typing import Self

from autoresearch_jax.types import Proposal, Trial

MOST = 1000  # flights remembered; a proposal that is never told of must not stay for ever


@dataclasses.dataclass(frozen=True)
class Flight:
  """given: the proposal as the loop got it. asked: the inner strategy's, None when it is given."""

  given: Proposal
  asked: Proposal | None = None
  label: int = 0

  def landed_as(self, trial: Trial) -> Trial:
    """The trial as the inner strategy asked for it."""
    return trial if self.asked is None else dataclasses.replace(trial, proposal=self.asked)


@dataclasses.dataclass(frozen=True)
class Underway:
  """Proposals asked for and not told of yet, the oldest first."""

  flights: tuple[Flight, ...] = ()

  def departed(self, given: Proposal, label: int = 0, asked: Proposal | None = None) -> Self:
    asked = None if asked == given else asked
    flights = (*self.flights, Flight(given, asked, label))
    return type(self)(flights[max(0, len(flights) - MOST) :])

  def landed(self, trial: Trial) -> tuple[Flight | None, Self]:
    """The flight that a told trial ends, None when it was never asked for, and the others."""
    for place, flight in enumerate(self.flights):
      if flight.given == trial.proposal:
        return flight, type(self)(self.flights[:place] + self.flights[place + 1 :])
    return None, self
