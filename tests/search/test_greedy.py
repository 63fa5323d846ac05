"""Greedy search climbs from the last kept trial."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.greedy import Greedy

OBJECTIVE = types.Objective('val_bpb', 'minimize')
RNG = np.random.default_rng(0)


def told(number, decision):
  program = types.Program((('model.py', ''),), 'model.py')
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    types.Edit(program, 'an edit', types.Hypothesis('a claim')),
    types.Result(number, types.Status.OK),
    types.Verdict(decision, ''),
  )


def after(strategy, *decisions):
  state = strategy.init(OBJECTIVE)
  for number, decision in decisions:
    state = strategy.tell(state, told(number, decision))
  return strategy.ask(state, RNG)[0]


KEEP, DISCARD, CRASH = types.Decision.KEEP, types.Decision.DISCARD, types.Decision.CRASH


def test_it_improves_the_last_kept_trial():
  proposal = after(Greedy(), (0, KEEP), (1, DISCARD), (2, KEEP), (3, CRASH))
  assert proposal.parents == (2,)
  assert proposal.operation is types.Operation.IMPROVE


def test_results_out_of_order_count_by_their_verdict():
  assert after(Greedy(), (0, KEEP), (3, KEEP), (1, KEEP), (2, DISCARD)).parents == (1,)


def test_asks_in_flight_share_the_incumbent():
  strategy = Greedy()
  state = strategy.tell(strategy.init(OBJECTIVE), told(0, KEEP))
  first, state = strategy.ask(state, RNG)
  second, _ = strategy.ask(state, RNG)
  assert first.parents == second.parents == (0,)


def test_it_shows_the_last_trials_only():
  decisions = [(0, KEEP), *((n, DISCARD) for n in range(1, 6))]
  assert after(Greedy(context_size=3), *decisions).context == (3, 4, 5)
  assert after(Greedy(context_size=0), *decisions).context == ()


def test_a_negative_number_of_trials_to_show_is_refused():
  with pytest.raises(ValueError, match='context_size of greedy is -1; it must be at least 0'):
    Greedy(context_size=-1)
