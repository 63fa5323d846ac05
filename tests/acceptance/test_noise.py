"""The noise-aware rule: pooled deviation, small-sample correction, and its false-keep rate."""

import numpy as np
import pytest
import scipy.stats

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise, standard_error

OBJECTIVE = types.Objective('val_bpb', 'minimize')
PROGRAM = types.Program((('model.py', ''),), 'model.py')
KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD


def trial(number, *values):
  measurements = tuple(
    types.Measurement(seed, {'val_bpb': float(v)}, types.Cost()) for seed, v in enumerate(values)
  )
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim')),
    types.Result(number, types.Status.OK, measurements=measurements),
  )


def told(rule, *trials):
  state = rule.init(OBJECTIVE)
  for one in trials:
    _, state = rule.decide(state, one, None)
  return state


def test_the_deviation_is_pooled_over_all_trials_with_several_seeds():
  trials = (trial(0, 1.0, 1.2, 1.4), trial(1, 5.0), trial(2, 2.0, 2.1))
  state = told(Noise(), *trials)
  assert state.degrees_of_freedom == 3
  assert state.seed_std == pytest.approx(np.sqrt((0.08 + 0.005) / 3))


def test_the_difference_of_two_means_has_the_deviation_of_the_formula():
  old, new = trial(0, 1.0, 1.2, 1.4), trial(1, 0.5)
  state = told(Noise(), old)
  assert standard_error(state, new, old) == pytest.approx(0.2 * np.sqrt(1 + 1 / 3))


def test_few_seeds_ask_for_more_and_many_come_to_the_threshold():
  asked = [Noise(threshold=2.0).critical_value(degrees) for degrees in (1, 2, 5, 20, 10**6)]
  assert asked == sorted(asked, reverse=True)
  assert asked[1] == pytest.approx(scipy.stats.t.ppf(scipy.stats.norm.cdf(2.0), 2))
  assert asked[-1] == pytest.approx(2.0, abs=1e-4)


def test_a_gain_on_either_side_of_the_line():
  rule, old = Noise(), trial(0, 1.0, 1.2, 1.4)
  state = told(rule, old)
  line = rule.critical_value(2) * standard_error(state, trial(1, 0.0), old)
  assert rule.decide(state, trial(1, 1.2 - 1.01 * line), old)[0].decision is KEEP
  assert rule.decide(state, trial(1, 1.2 - 0.99 * line), old)[0].decision is DISCARD


def test_the_reason_shows_the_t_test():
  old = trial(0, 1.0, 1.2, 1.4)
  rule = Noise()
  reason = rule.decide(told(rule, old), trial(1, 0.9), old)[0].reason
  for part in ('0.900000', '1.200000 (trial 0)', 'gain +0.3', 't = 1.30', 'standard error 0.231',
               '2 degrees of freedom', 'below', 'critical value 4.53'):  # fmt: skip
    assert part in reason


def test_without_a_measured_noise_any_gain_counts_and_the_sentence_says_so():
  rule, old = Noise(), trial(0, 1.0)
  verdict, _ = rule.decide(told(rule, old), trial(1, 0.999), old)
  assert verdict.decision is KEEP
  assert 'no trial has two seeds' in verdict.reason
  same = trial(0, 1.0, 1.0)
  assert 'agree' in rule.decide(told(rule, same), trial(1, 0.999), same)[0].reason


def test_options_that_cannot_work_are_refused():
  with pytest.raises(ValueError, match='needs at least 2'):
    Noise(baseline_seeds=1)
  with pytest.raises(ValueError, match='threshold is -1'):
    Noise(threshold=-1.0)
  with pytest.raises(ValueError, match='threshold is nan'):
    Noise(threshold=float('nan'))


def test_edits_without_effect_are_kept_at_the_rate_the_threshold_states():
  rng, rule, runs = np.random.default_rng(0), Noise(), 4000
  kept = 0
  for _ in range(runs):
    old = trial(0, *rng.normal(size=rule.baseline_seeds))
    kept += rule.decide(told(rule, old), trial(1, rng.normal()), old)[0].decision is KEEP
  stated = scipy.stats.norm.sf(rule.threshold)
  assert kept / runs == pytest.approx(stated, abs=4 * np.sqrt(stated / runs))
