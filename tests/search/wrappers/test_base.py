"""What wrappers share: the strategy inside is found by its name, and may be a wrapper itself."""

import collections
import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.wrappers.base import full_score, judged_locally
from autoresearch_jax.testing.strategies import OBJECTIVE, finished, play

WRAPPERS = ('novelty', 'restarts', 'rungs', 'islands')
FIXTURE = HealthCheck.function_scoped_fixture
MOSTLY_WELL = st.lists(
  st.tuples(
    st.sampled_from([*[types.Status.OK] * 5, types.Status.OOM, types.Status.CANCELLED]),
    st.booleans(),
    st.floats(0, 9, width=32),
  ),
  min_size=8,
  max_size=16,
)
KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


@pytest.mark.parametrize('name', WRAPPERS)
def test_the_inner_strategy_is_made_with_its_options(name):
  wrapper = STRATEGIES.make(name, {'inner': 'greedy', 'inner_options': {'context_size': 3}})
  assert wrapper.strategy == Greedy(context_size=3)
  inner = {'inner': 'greedy', 'inner_options': {'context_size': 4}}
  nested = STRATEGIES.make(name, {'inner': 'novelty', 'inner_options': inner})
  assert nested.strategy.strategy == Greedy(context_size=4)


@pytest.mark.parametrize('name', WRAPPERS)
def test_an_unknown_inner_strategy_or_option_is_named_when_the_wrapper_is_made(name):
  with pytest.raises(ValueError, match=r"no strategy 'gready'; there are: .*greedy"):
    STRATEGIES.make(name, {'inner': 'gready'})
  with pytest.raises(ValueError, match=r"'greedy' has no option 'show'; it has: context_size"):
    STRATEGIES.make(name, {'inner': 'greedy', 'inner_options': {'show': 3}})


@pytest.mark.parametrize('name', WRAPPERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[FIXTURE])
@given(outcomes=MOSTLY_WELL, parallel=st.integers(1, 4))
def test_an_inner_strategy_is_told_at_most_once_of_what_it_asked_for(
  scribe, name, outcomes, parallel
):
  own = (
    {'num_rungs': 2, 'reduction_factor': 2} if name == 'rungs' else {}
  )  # climbs within a dozen trials
  wrapper = STRATEGIES.make(name, {'inner': scribe, 'inner_options': {'draws_seed': True}, **own})
  _, state = play(wrapper, outcomes, parallel=parallel)
  for inner in [i.inner for i in state.islands] if name == 'islands' else [state.inner]:
    asked = {entry.seeds for entry in inner if isinstance(entry, types.Proposal)}
    told = collections.Counter(e.proposal.seeds for e in inner if isinstance(e, types.Trial))
    assert all(told[seeds] <= 1 for seeds in asked)


def decision(trial, best):
  return judged_locally(trial, OBJECTIVE, best).verdict.decision


def test_alone_a_trial_is_kept_when_it_is_better_than_all_that_is_known():
  trial = finished(1, IMPROVE, (types.Status.OK, False, 0.5))
  assert [decision(trial, best) for best in (None, -0.6, -0.5, -0.4)] == [
    KEEP, KEEP, DISCARD, DISCARD,
  ]  # fmt: skip
  kept = finished(1, IMPROVE, (types.Status.OK, True, 0.5))
  assert judged_locally(kept, OBJECTIVE, -0.4) is kept


def test_failures_short_runs_and_replicates_are_not_kept_for_it():
  failed = finished(1, IMPROVE, (types.Status.OOM, False, 0.5))
  assert judged_locally(failed, OBJECTIVE, None) is failed
  for proposal in (
    dataclasses.replace(IMPROVE, fidelity=0.5),
    dataclasses.replace(IMPROVE, operation=types.Operation.REPLICATE),
  ):
    trial = finished(1, proposal, (types.Status.OK, False, 0.5))
    assert full_score(OBJECTIVE, trial) is None
    assert decision(trial, None) is DISCARD
