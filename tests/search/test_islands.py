"""Copies of a strategy side by side: whose trial is whose, and who migrates."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.wrappers.islands import Islands
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK = types.Status.OK
RNG = np.random.default_rng(0)


def started(strategy):
  return strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))


def step(strategy, state, number, loss, kept=False):
  proposal, state = strategy.ask(state, RNG)
  return proposal, strategy.tell(state, finished(number, proposal, (OK, kept, loss)))


def recent(state):
  return [island.inner.recent for island in state.islands]


def test_asks_go_round_and_each_trial_is_told_to_its_own_island():
  strategy = Islands(num_islands=3)
  state = started(strategy)
  asked = []
  for _ in range(4):
    proposal, state = strategy.ask(state, RNG)
    asked.append(proposal)
  for number in range(1, 5):
    state = strategy.tell(state, finished(number, asked[number - 1], (OK, False, 2.0)))
  assert recent(state) == [(0, 1, 4), (0, 2), (0, 3)]


def test_islands_climb_on_their_own():
  strategy = Islands(num_islands=2)
  _, state = step(strategy, started(strategy), 1, 0.5, kept=True)  # the first leads
  _, state = step(strategy, state, 2, 0.8)  # better than the start, not than the incumbent
  proposals = []
  for number in (3, 4):
    proposal, state = step(strategy, state, number, 0.9)
    proposals.append(proposal.parents)
  assert proposals == [(1,), (2,)]


def test_the_best_of_each_island_is_told_to_the_next_one_once():
  strategy = Islands(num_islands=3, migration_interval=4)  # the baseline is the first that is told
  state = started(strategy)
  for number, loss in ((1, 0.5), (2, 0.7), (3, 2.0)):
    _, state = step(strategy, state, number, loss, kept=number == 1)
  # The best of the third is the start, which everybody knows.
  assert recent(state) == [(0, 1), (0, 2, 1), (0, 3, 2)]
  assert [island.inner.incumbent for island in state.islands] == [1, 1, 2]
  for number in range(4, 8):
    _, state = step(strategy, state, number, 2.0)
  assert [found[-1] for found in recent(state)] == [2, 5, 1]


def test_a_migrant_that_was_kept_once_does_not_displace_a_better_program():
  strategy = Islands(num_islands=2, migration_interval=3)
  _, state = step(strategy, started(strategy), 1, 0.5, kept=True)
  _, state = step(strategy, state, 2, 0.3, kept=True)
  assert recent(state) == [(0, 1, 2), (0, 2, 1)]
  assert [island.inner.incumbent for island in state.islands] == [2, 2]


def test_a_replicate_is_told_where_its_original_is_known():
  strategy = Islands(num_islands=3)
  _, state = step(strategy, started(strategy), 1, 0.5)
  replicate = types.Proposal(types.Operation.REPLICATE, (1,), seeds=(1, 2))
  state = strategy.tell(state, finished(2, replicate, (OK, True, 0.5)))
  assert recent(state) == [(0, 1, 2), (0,), (0,)]
  assert state.islands[0].inner.incumbent == 2


@pytest.mark.parametrize('options', [{'num_islands': 0}, {'migration_interval': 0}])
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match='of islands is 0'):
    Islands(**options)
