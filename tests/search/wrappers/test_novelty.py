"""Near-duplicates of what was tried are duplicates to the inner strategy."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.wrappers.novelty import Novelty
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, DUPLICATE = types.Status.OK, types.Status.DUPLICATE
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


@pytest.fixture
def inner(scribe):
  """Options of a wrapper around a strategy that writes down what it is told."""
  return {'inner': scribe, 'inner_options': {'sets_rate': True}}


@pytest.fixture
def trial(edit):
  """A trial of the start with another rate."""

  def made(number, rate, proposal=IMPROVE, status=OK, kept=False):
    return finished(number, proposal, (status, kept, 0.5), edit(rate))

  return made


def told(strategy, *trials):
  state = strategy.tell(strategy.init(OBJECTIVE), baseline())
  for trial in trials:
    state = strategy.tell(state, trial)
  return state


def test_a_near_duplicate_is_told_as_a_duplicate_of_the_nearest(inner, trial):
  first, other, near = trial(1, 0.123), trial(2, 0.3), trial(3, 0.1204)
  state = told(Novelty(**inner), first, other, near)
  assert state.inner[1:3] == (first, other)
  seen = state.inner[3]
  assert (seen.result.status, seen.result.duplicate_of) == (DUPLICATE, 1)
  assert seen.verdict.decision is types.Decision.DISCARD
  assert seen.result.reason == 'Near-duplicate of trial 1.'
  assert state.ids == (0, 1, 2)


def test_the_start_itself_was_tried(inner, trial):
  seen = told(Novelty(**inner), trial(1, 0.501)).inner[1]
  assert (seen.result.status, seen.result.duplicate_of) == (DUPLICATE, 0)


def test_what_acceptance_kept_is_told_as_it_is(inner, trial):
  near = trial(2, 0.1204, kept=True)
  assert told(Novelty(**inner), trial(1, 0.123), near).inner[2] == near


@pytest.mark.parametrize('operation', [types.Operation.REPLICATE, types.Operation.PROMOTE])
def test_repeats_are_meant_to_be_the_same(inner, trial, operation):
  again = trial(2, 0.123, proposal=types.Proposal(operation, (1,)))
  assert told(Novelty(**inner), trial(1, 0.123), again).inner[2] == again


def test_what_was_cancelled_was_not_tried(inner, trial):
  again = trial(2, 0.123)
  first = trial(1, 0.123, status=types.Status.CANCELLED)
  assert told(Novelty(**inner), first, again).inner[2] == again


def test_only_the_last_programs_are_remembered(inner, trial):
  again = trial(3, 0.123)
  state = told(Novelty(**inner, max_remembered=1), trial(1, 0.123), trial(2, 0.3), again)
  assert state.inner[3] == again and state.ids == (3,)


def test_near_duplicate_edits_are_asked_again_and_leave_no_trace(inner, trial, edit):
  rates = [n / 10 for n in range(11) if n not in (3, 5)]
  state = told(Novelty(**inner), *(trial(n, rate) for n, rate in enumerate(rates, start=1)))
  strategy = Novelty(**inner, max_novelty_attempts=1000)
  proposal, after = strategy.ask(state, np.random.default_rng(0))
  assert proposal.edit == edit(0.3)  # 0.5 is the start's
  assert after.inner == (*state.inner, 'rate 0.3')
  few = [Novelty(**inner).ask(state, np.random.default_rng(n))[0].edit for n in range(30)]
  assert any(found != edit(0.3) for found in few)  # let through in the end


@pytest.mark.parametrize(
  'options', [{'code_embed_sim_threshold': 1.0}, {'max_novelty_attempts': 0}, {'max_remembered': 0}]
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match='of novelty'):
    Novelty(**options)
