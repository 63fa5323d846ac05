"""Annealing accepts worse trials with the probability of Metropolis, less often with time."""

import math

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.annealing import Annealing, acceptance_probability
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK = types.Status.OK
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))
REPLICATE = types.Proposal(types.Operation.REPLICATE, (0,))


def told(strategy, *losses, proposal=IMPROVE):
  """The state after the baseline with a loss of 1 and trials 1, 2, ..."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number, loss in enumerate(losses, start=1):
    state = strategy.tell(state, finished(number, proposal, (OK, False, loss)))
  return state


def parent(strategy, state, seed=0):
  return strategy.ask(state, np.random.default_rng(seed))[0].parents[0]


def test_the_formula():
  assert acceptance_probability(0.5, 1.0) == 1
  assert acceptance_probability(0.0, 0.0) == 1
  assert acceptance_probability(-1.0, 1.0) == pytest.approx(0.36787944)
  assert acceptance_probability(-3.0, 2.0) == pytest.approx(0.22313016)
  assert acceptance_probability(-1e-9, 0.0) == 0


def test_a_worse_trial_is_accepted_that_often():
  strategy = Annealing(initial_temperature=2.0, temperature_unit='metric')
  state = told(strategy, 4.0)  # worse by 3
  accepted = sum(parent(strategy, state, seed) == 1 for seed in range(4000))
  assert accepted / 4000 == pytest.approx(math.exp(-1.5), abs=0.02)


def test_a_better_trial_is_always_accepted():
  strategy = Annealing(initial_temperature=0.0)
  assert parent(strategy, told(strategy, 0.9)) == 1
  assert parent(strategy, told(strategy, 1.0)) == 1  # equal: the walk goes on
  assert parent(strategy, told(strategy, 1.1)) == 0


def test_it_cools_geometrically_by_decisions():
  strategy = Annealing(initial_temperature=8.0, cooling_rate=0.5, temperature_unit='metric')
  state = told(strategy, 2.0, 3.0)
  assert strategy.temperature_of(state) == 8
  _, state = strategy.ask(state, np.random.default_rng(0))
  assert strategy.temperature_of(state) == 2
  _, state = strategy.ask(state, np.random.default_rng(0))
  assert strategy.temperature_of(state) == 2  # nothing to decide on


def test_the_temperature_is_in_typical_steps_down():
  strategy = Annealing(initial_temperature=0.5)
  state = told(strategy, 2.0, 5.0, 1.25, 0.5)  # losses of 1, 4 and 0.25; one gain
  assert strategy.temperature_of(state) == 0.5
  assert strategy.temperature_of(told(strategy)) == 0


def test_trials_are_decided_on_in_the_order_of_telling():
  strategy = Annealing(initial_temperature=0.0)
  assert parent(strategy, told(strategy, 0.5, 0.7, 0.6)) == 1
  assert parent(strategy, told(strategy, 0.7, 0.6, 0.9)) == 2


def test_failed_trials_and_replicates_are_no_candidates():
  strategy = Annealing()
  state = told(strategy, 0.1, proposal=REPLICATE)
  assert parent(strategy, state) == 0
  state = strategy.tell(state, finished(2, IMPROVE, (types.Status.OOM, False, 0.0)))
  proposal, after = strategy.ask(state, np.random.default_rng(0))
  assert proposal.parents == (0,)
  assert after.num_decisions == 0


def test_a_replicate_corrects_the_score_of_the_current_trial():
  strategy = Annealing(initial_temperature=0.0)
  state = told(strategy, 0.9)
  state = strategy.tell(state, finished(2, REPLICATE, (OK, False, 0.2)))  # trial 0: 0.6 on average
  assert parent(strategy, state) == 0


def test_any_score_beats_a_baseline_without_one():
  strategy = Annealing(initial_temperature=0.0)
  failed = finished(0, types.Proposal(types.Operation.DRAFT), (types.Status.CRASH, False, 0.0))
  state = strategy.tell(strategy.init(OBJECTIVE), failed)
  assert parent(strategy, state) == 0
  assert parent(strategy, strategy.tell(state, finished(1, IMPROVE, (OK, False, 9.0)))) == 1


@pytest.mark.parametrize(
  'options',
  [
    {'initial_temperature': -1.0},
    {'initial_temperature': math.inf},
    {'cooling_rate': 0.0},
    {'context_size': -1},
  ],
)
def test_options_that_make_no_sense_are_refused(options):
  with pytest.raises(ValueError, match=rf'{next(iter(options))} .*is'):
    Annealing(**options)
