"""A told trial finds the flight it ends, and the inner strategy sees its own proposal."""

import dataclasses

from autoresearch_jax import types
from autoresearch_jax.search import pending
from autoresearch_jax.testing.strategies import finished

IMPROVE = types.Operation.IMPROVE
ONE, OTHER = types.Proposal(IMPROVE, (1,)), types.Proposal(IMPROVE, (2,))
OK = (types.Status.OK, False, 1.0)


def test_flights_land_in_any_order_each_once():
  flying = pending.PendingProposals().add(ONE, 4).add(OTHER, 5)
  flight, flying = flying.pop(finished(9, OTHER, OK))
  assert flight is not None and flight.label == 5
  assert flying.pop(finished(10, OTHER, OK))[0] is None
  flight, flying = flying.pop(finished(11, ONE, OK))
  assert flight is not None and flight.label == 4
  assert flying == pending.PendingProposals()


def test_of_equal_proposals_the_oldest_lands_first():
  flight, _ = pending.PendingProposals().add(ONE, 4).add(ONE, 5).pop(finished(9, ONE, OK))
  assert flight is not None and flight.label == 4


def test_an_altered_proposal_lands_as_the_one_that_was_asked():
  short = dataclasses.replace(ONE, fidelity=0.5)
  trial = finished(9, short, OK)
  flight, _ = pending.PendingProposals().add(short, requested=ONE).pop(trial)
  assert flight is not None
  assert flight.as_requested(trial) == dataclasses.replace(trial, proposal=ONE)


def test_what_is_never_told_is_forgotten_in_the_end(monkeypatch):
  monkeypatch.setattr(pending, 'MAX_PENDING', 2)
  flying = pending.PendingProposals().add(ONE, 1).add(OTHER, 2).add(OTHER, 3)
  assert [flight.label for flight in flying.proposals] == [2, 3]
