"""The paired test: what is run in which order, what decides, and its error rate under drift."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.group_sequential import Look
from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.acceptance.paired_state import PairedTest
from autoresearch_jax.testing.acceptance import TrialStream

KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
RULE = Paired(baseline_seeds=6, looks=(2, 4), horizon=20, control_interval=0)


def by_program(gains, noise=0.1):
  """Programs better by their gain; the noise of a seed is the same for all programs."""
  return lambda program, seed: 1.0 - gains.get(program, 0.0) + noise * np.sin(12.9 * seed)


def replications(stream):
  """(program, seeds) of all replications so far."""
  return [
    (t.proposal.parents[0], t.proposal.seeds)
    for t in stream.trials
    if t.proposal.operation is types.Operation.REPLICATE
  ]


def drifting(rng, drift, gains=None):
  """Noise of deviation 1 on top of a drift, a function of the number of runs so far."""
  gains, runs = gains or {}, [0]

  def measure(program, seed):
    runs[0] += 1
    return float(rng.normal()) + drift(runs[0]) - gains.get(program, 0.0)

  return measure


def test_what_does_not_look_better_costs_one_run():
  measure = by_program({1: -0.3})
  stream = TrialStream.start(RULE, measure).step(measure).run_replications(measure)
  assert len(stream.trials) == 2 and replications(stream) == []
  assert 'less than min_gain' in stream.trials[-1].verdict.reason


def test_pairs_run_as_a_b_b_a_on_fresh_seeds_and_the_challenger_is_last():
  measure = by_program({1: 0.9})
  stream = TrialStream.start(RULE, measure).step(measure).run_replications(measure)
  runs = replications(stream)
  assert [program for program, _ in runs] == [1, 0, 1]
  (first,), both, (second,) = (seeds for _, seeds in runs)
  assert both == (first, second) and min(both) >= 6
  assert stream.trials[-1].verdict.decision is KEEP
  assert stream.incumbent.id == stream.trials[-1].id
  assert '2 pairs' in stream.trials[-1].verdict.reason


def test_the_run_that_it_was_picked_for_is_no_evidence():
  """A challenger that was lucky once, and is no better, is rejected whatever its luck was."""
  plain = by_program({})

  def lucky(program, seed):
    return plain(program, seed) - (5.0 if (program, seed) == (1, 0) else 0.0)

  stream = TrialStream.start(RULE, lucky).step(lucky).run_replications(lucky)
  assert stream.incumbent.id == 0
  assert 'futility' in stream.trials[-1].verdict.reason


def test_a_keep_has_evidence_from_the_same_hours_alone():
  """The machine gets faster after the baseline: every edit looks better, and none is kept."""
  stream = TrialStream.start(RULE, by_program({}))
  faster = by_program(dict.fromkeys(range(100), 0.8))  # the incumbent too
  for _ in range(5):
    stream = stream.step(faster).run_replications(faster)
  assert stream.incumbent.id == 0
  assert all(t.verdict.decision is DISCARD for t in stream.trials[1:])


def test_a_change_of_the_machine_is_said_and_the_incumbent_measured_anew():
  rule = dataclasses.replace(RULE, control_interval=2)
  rng = np.random.default_rng(0)
  measure = drifting(rng, lambda run: 0.0 if run < 12 else 8.0)
  stream = TrialStream.start(rule, measure)
  for _ in range(12):
    stream = stream.step(measure).run_replications(measure)
  said = [t.id for t in stream.trials if 'machine has changed' in t.verdict.reason]
  assert said
  after = [t for t in stream.trials if t.id > said[0]]
  anew = [t for t in after if t.proposal.operation is types.Operation.REPLICATE]
  assert anew[0].proposal.parents == (0,) and len(anew[0].proposal.seeds) == 3


def test_the_incumbent_is_controlled_at_regular_intervals():
  rule = dataclasses.replace(RULE, control_interval=4)
  measure = by_program(dict.fromkeys(range(1, 100), -0.5))
  stream = TrialStream.start(rule, measure)
  for _ in range(12):
    stream = stream.step(measure).run_replications(measure)
  runs = replications(stream)
  assert 2 <= len(runs) <= 3
  assert all(program == 0 and len(seeds) == 1 for program, seeds in runs)
  assert len({seeds for _, seeds in runs}) == len(runs)


def test_an_unusual_run_of_the_incumbent_is_followed_by_another_one_at_once():
  rule = dataclasses.replace(RULE, control_interval=4)
  worse = by_program(dict.fromkeys(range(1, 100), -0.5))
  stream = TrialStream.start(rule, worse)

  def slower(program, seed):
    return worse(program, seed) + 2.0

  while not replications(stream):
    stream = stream.step(slower)
  stream = stream.step(slower).step(slower)
  assert [program for program, _ in replications(stream)] == [0, 0]


@settings(max_examples=60, deadline=None)
@given(
  offsets=st.lists(st.floats(-100, 100), min_size=1, max_size=8),
  luck=st.floats(0, 10),
  interval=st.integers(0, 3),
)
def test_no_drift_between_pairs_keeps_a_program_that_is_the_same(offsets, luck, interval):
  """Pairs differ by any amount from one to the next, and the first runs of edits are lucky."""

  def measure(program, seed):
    drift = offsets[seed % len(offsets)] if seed >= 1000 else -luck * (program > 0)
    return float(np.sin(12.9 * seed)) + drift

  stream = TrialStream.start(Paired(control_interval=interval), measure)
  for _ in range(6):
    stream = stream.step(measure).run_replications(measure)
  assert stream.incumbent.id == 0


@pytest.mark.parametrize('period', [2, 3, 5, 8, 15, 30])
def test_a_test_ends_on_a_machine_that_changes_all_the_time(period):
  for night in range(3):
    rng = np.random.default_rng(night)
    measure = drifting(rng, lambda run: 10.0 * ((run // period) % 2), {1: 2.5})
    stream = TrialStream.start(Paired(), measure).step(measure)
    for count, _ in enumerate(stream.replications(measure), start=1):
      assert count < 80


def test_the_pairs_that_a_change_may_have_split_are_dropped_and_others_stay():
  runs = tuple((seed, float(seed)) for seed in range(1000, 1008))
  test = PairedTest(1, (0.0,), 0.01, own=runs, control=runs)
  objective = types.Objective('val_loss', 'minimize')

  def seeds(test):
    return [seed for seed, _ in runs if seed in dict(test.control)]

  assert seeds(test.without_pairs_across(3)) == [1000, 1001, 1002, 1003, 1006, 1007]
  looked = dataclasses.replace(test, looks=(Look(2.5, 0.0, 3.0),))  # five pairs
  assert seeds(looked.without_pairs_across(3)) == [1000, 1001, 1002, 1003, 1004, 1006, 1007]
  assert len(looked.without_pairs_across(3).differences(objective)) == 7
  assert seeds(test.without_pairs_across(20)) == seeds(test)


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'looks': ()}, r'looks is \(\)'),
    ({'looks': (2, 2)}, 'must be increasing'),
    ({'looks': (2, 10**6)}, '1000 or below'),
    ({'control_interval': -1}, 'control_interval is -1'),
    ({'seed_correlation': 1.0}, 'seed_correlation is 1'),
  ],
)
def test_options_out_of_range_are_refused(options, sentence):
  with pytest.raises(ValueError, match=sentence):
    Paired(**options)


@pytest.mark.parametrize('failing', [0, 1])
def test_a_failed_replication_neither_hangs_the_test_nor_keeps(failing):
  plain = by_program({1: 0.9})

  def measure(program, seed):
    return types.Status.CRASH if program == failing and seed >= 1000 else plain(program, seed)

  stream = TrialStream.start(RULE, measure).step(measure).run_replications(measure)
  assert stream.incumbent.id == 0
  assert len(stream.trials) < 20


@pytest.mark.slow
@pytest.mark.parametrize(
  'drift',
  [
    lambda run: 0.0,
    lambda run: 4.0 if run <= 8 else 0.0,  # busy while the baseline ran
    lambda run: 0.0 if run <= 8 else 4.0,  # busy since
    lambda run: 4.0 * ((run // 25) % 2),  # comes and goes
    lambda run: -0.05 * run,  # ever faster
  ],
)
def test_false_keeps_are_rare_under_drift(drift):
  """At most alpha of the nights of 50 trials have one; three times as many would be noticed."""
  rule, nights, false = Paired(horizon=50), 60, 0
  for night in range(nights):
    measure = drifting(np.random.default_rng(night), drift)
    stream = TrialStream.start(rule, measure)
    while len(stream.trials) < 50:
      stream = stream.step(measure)
    false += any(t.verdict.decision is KEEP for t in stream.trials[1:])
  assert false <= 8


def test_a_true_gain_is_found_under_drift_too():
  found = 0
  for night in range(20):
    rng = np.random.default_rng(night)
    measure = drifting(rng, lambda run: 3.0 if run <= 8 else -0.02 * run, {1: 4.0})
    stream = TrialStream.start(Paired(), measure).step(measure).run_replications(measure)
    found += stream.incumbent.id != 0
  assert found >= 15


def sharing(night, correlation, gains):
  """Noise of deviation 1, of which programs share a part on the same seed."""

  def measure(program, seed):
    luck, own = (np.random.default_rng((night, seed, p)).normal() for p in (99, program))
    noise = np.sqrt(correlation) * luck + np.sqrt(1 - correlation) * own
    return float(noise) - gains.get(program, 0.0)

  return measure


def test_what_programs_share_on_a_seed_makes_a_test_sharper():
  """Of nights with a gain of 1.5 deviations, more keep it, and in no more runs."""
  kept, runs = {0.0: 0, 0.6: 0}, {0.0: 0, 0.6: 0}
  for correlation in kept:
    rule = Paired(seed_correlation=correlation)
    for night in range(60):
      measure = sharing(night, 0.6, {1: 1.5})
      stream = TrialStream.start(rule, measure).step(measure).run_replications(measure)
      kept[correlation] += stream.incumbent.id != 0
      runs[correlation] += len(stream.trials)
  assert kept[0.6] > kept[0.0]
  assert runs[0.6] <= runs[0.0]


@pytest.mark.slow
def test_false_keeps_stay_rare_where_the_correlation_is_what_it_is_said_to_be():
  false = 0
  for night in range(60):
    measure = sharing(night, 0.5, {})
    stream = TrialStream.start(Paired(horizon=50, seed_correlation=0.5), measure)
    while len(stream.trials) < 50:
      stream = stream.step(measure)
    false += any(t.verdict.decision is KEEP for t in stream.trials[1:])
  assert false <= 8
