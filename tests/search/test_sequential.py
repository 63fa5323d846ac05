"""The chain goes on from its last link, good or bad."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.sequential import SequentialSampling
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

RNG = np.random.default_rng(0)
OK, CRASH = types.Status.OK, types.Status.CRASH
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


def after(strategy, *trials):
  state = strategy.init(OBJECTIVE)
  for trial in trials:
    state = strategy.tell(state, trial)
  return strategy.ask(state, RNG)[0]


def test_the_last_trial_is_improved_whatever_its_score():
  worse, better = (finished(n, IMPROVE, (OK, False, v)) for n, v in ((1, 9.0), (2, 0.1)))
  assert after(SequentialSampling(), baseline(), worse).parents == (1,)
  assert after(SequentialSampling(), baseline(), better, worse).parents == (1,)


def test_a_failed_trial_is_no_link_of_the_chain():
  scored, failed = finished(1, IMPROVE, (OK, False, 2)), finished(2, IMPROVE, (CRASH, False, 0))
  assert after(SequentialSampling(), baseline(), scored, failed).parents == (1,)
  assert after(SequentialSampling(), failed).parents == (2,)  # nothing else is known


def test_a_replicate_is_no_new_link():
  again = finished(2, types.Proposal(types.Operation.REPLICATE, (0,)), (OK, False, 0.1))
  last = finished(1, IMPROVE, (OK, False, 2.0))
  assert after(SequentialSampling(), baseline(), last, again).parents == (1,)


def test_it_shows_the_last_programs_that_have_a_score():
  scored = [finished(n, IMPROVE, (OK, False, n)) for n in (1, 2, 4)]
  failed = finished(3, IMPROVE, (CRASH, False, 0.0))
  trials = (baseline(), *scored, failed)
  assert after(SequentialSampling(context_size=3), *trials).context == (1, 2, 4)
  assert after(SequentialSampling(context_size=0), *trials).context == ()
  with pytest.raises(ValueError, match='context_size of sequential is -1; it must be at least 0'):
    SequentialSampling(context_size=-1)
