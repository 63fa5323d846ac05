"""What wrappers share: the strategy inside is found by its name, and may be a wrapper itself."""

import dataclasses

import pytest

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.wrapper import judged_alone, own_score
from autoresearch_jax.testing.strategies import OBJECTIVE, finished

WRAPPERS = ('novelty', 'restarts', 'rungs', 'islands')
KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


@pytest.mark.parametrize('name', WRAPPERS)
def test_the_inner_strategy_is_made_with_its_options(name):
  wrapper = STRATEGIES.make(name, {'inner': 'greedy', 'inner_options': {'shown': 3}})
  assert wrapper.strategy == Greedy(shown=3)
  inner = {'inner': 'greedy', 'inner_options': {'shown': 4}}
  nested = STRATEGIES.make(name, {'inner': 'novelty', 'inner_options': inner})
  assert nested.strategy.strategy == Greedy(shown=4)


@pytest.mark.parametrize('name', WRAPPERS)
def test_an_unknown_inner_strategy_or_option_is_named_when_the_wrapper_is_made(name):
  with pytest.raises(ValueError, match=r"no strategy 'gready'; there are: .*greedy"):
    STRATEGIES.make(name, {'inner': 'gready'})
  with pytest.raises(ValueError, match=r"'greedy' has no option 'show'; it has: shown"):
    STRATEGIES.make(name, {'inner': 'greedy', 'inner_options': {'show': 3}})


def decision(trial, best):
  return judged_alone(trial, OBJECTIVE, best).verdict.decision


def test_alone_a_trial_is_kept_when_it_is_better_than_all_that_is_known():
  trial = finished(1, IMPROVE, (types.Status.OK, False, 0.5))
  assert [decision(trial, best) for best in (None, -0.6, -0.5, -0.4)] == [
    KEEP, KEEP, DISCARD, DISCARD,
  ]  # fmt: skip
  kept = finished(1, IMPROVE, (types.Status.OK, True, 0.5))
  assert judged_alone(kept, OBJECTIVE, -0.4) is kept


def test_failures_short_runs_and_replicates_are_not_kept_for_it():
  failed = finished(1, IMPROVE, (types.Status.OOM, False, 0.5))
  assert judged_alone(failed, OBJECTIVE, None) is failed
  for proposal in (
    dataclasses.replace(IMPROVE, fidelity=0.5),
    dataclasses.replace(IMPROVE, operation=types.Operation.REPLICATE),
  ):
    trial = finished(1, proposal, (types.Status.OK, False, 0.5))
    assert own_score(OBJECTIVE, trial) is None
    assert decision(trial, None) is DISCARD
