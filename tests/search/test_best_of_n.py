"""Best of n draws groups of children of one root."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.best_of_n import BestOfN
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

RNG = np.random.default_rng(0)
OK, CRASH = types.Status.OK, types.Status.CRASH


def after(strategy, *losses):
  """The parent of each draw; a loss of None is a crash."""
  state, parents = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0)), []
  for number, loss in enumerate(losses, start=1):
    proposal, state = strategy.ask(state, RNG)
    parents.append(proposal.parents[0])
    outcome = (CRASH, False, 0.0) if loss is None else (OK, False, loss)
    state = strategy.tell(state, finished(number, proposal, outcome))
  return parents


def test_the_best_of_a_group_is_the_next_root():
  assert after(BestOfN(3), 0.9, 0.5, 0.7, 0.6, 0.8, 0.4, 9, 9) == [0, 0, 0, 2, 2, 2, 6, 6]


def test_a_group_without_a_better_one_starts_again_from_its_root():
  assert after(BestOfN(2), 1.5, 2.0, 1.2, 1.0, 0.5, 3.0, 3) == [0, 0, 0, 0, 0, 0, 5]


def test_failed_draws_count():
  assert after(BestOfN(2), None, 0.5, None, None, 0.1) == [0, 0, 2, 2, 2]


def test_more_draws_than_trials_are_independent_draws_from_the_start():
  assert set(after(BestOfN(99), *np.linspace(1, 0, 20).tolist())) == {0}


def test_a_late_draw_of_the_root_before_wins_but_does_not_count():
  strategy = BestOfN(2)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  old = strategy.ask(state, RNG)[0]  # three under way
  for number, loss in ((2, 0.9), (3, 0.8)):
    state = strategy.tell(state, finished(number, old, (OK, False, loss)))
  new = strategy.ask(state, RNG)[0]
  assert new.parents == (3,)
  state = strategy.tell(state, finished(1, old, (OK, False, 0.1)))
  state = strategy.tell(state, finished(4, new, (OK, False, 0.7)))
  assert strategy.ask(state, RNG)[0].parents == (3,)
  state = strategy.tell(state, finished(5, new, (OK, False, 0.7)))
  assert strategy.ask(state, RNG)[0].parents == (1,)


def test_replicates_are_no_draws_but_correct_the_score():
  strategy = BestOfN(2)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  draw = strategy.ask(state, RNG)[0]
  state = strategy.tell(state, finished(1, draw, (OK, False, 0.5)))
  again = types.Proposal(types.Operation.REPLICATE, (1,))
  state = strategy.tell(state, finished(2, again, (OK, False, 3.5)))
  assert strategy.ask(state, RNG)[0].parents == (0,)
  state = strategy.tell(state, finished(3, draw, (OK, False, 0.9)))
  assert strategy.ask(state, RNG)[0].parents == (3,)  # trial 1 is 2.0 on average


def test_draws_show_no_history_and_n_is_checked():
  strategy = BestOfN()
  state = strategy.tell(strategy.init(OBJECTIVE), baseline())
  assert strategy.ask(state, RNG)[0].context == ()
  with pytest.raises(ValueError, match='n of best_of_n is 0; it must be at least 1'):
    BestOfN(0)
