"""The sequential test: hand-computed bounds, what is replicated when, and its error rate."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.sequential_state import MAX_CHALLENGERS, MAX_PAST
from autoresearch_jax.testing.acceptance import TrialStream

KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
REPLICATE = types.Operation.REPLICATE
RULE = SequentialTest(baseline_seeds=4, looks=(1, 2, 4), horizon=10)


def by_program(gains, noise=0.1):
  """Programs better by their gain, and seed noise that alternates in sign."""
  return lambda program, seed: 1.0 - gains.get(program, 0.0) + noise * (-1) ** seed


def verdicts(stream):
  return [(t.id, t.proposal.operation, t.verdict.decision) for t in stream.trials]


def asked(stream):
  wanted = stream.ask()[1]
  return None if wanted is None else (wanted.parents[0], wanted.seeds)


def test_the_first_bound_is_the_quantile_of_its_share_of_the_error():
  """By hand: 4 runs against 1, whole information 4·4/(4+4) = 2, error 0.005·(0.8/2)²."""
  baseline = TrialStream.start(RULE, by_program({}))
  error = 0.05 / 10 * (0.8 / 2) ** 2
  deviation = 0.2 / math.sqrt(3)  # ±0.1 four times
  line = -scipy.stats.t.ppf(error, 3) * deviation * math.sqrt(1 + 1 / 4)
  for factor, decision in ((1.01, KEEP), (0.99, DISCARD)):
    # seed 0 is worse by 0.1
    step = baseline.step(by_program({1: factor * line + 0.1}))
    assert step.trials[-1].verdict.decision is decision
    assert (asked(step) is None) == (decision is KEEP)


def test_the_sentences_say_what_was_seen_and_what_comes_next():
  gains = {1: 0.7}
  stream = TrialStream.start(RULE, by_program(gains)).step(by_program(gains))
  reason = stream.trials[-1].verdict.reason
  for part in ('0.400000 (1 run)', '1.000000 (trial 0, 4 runs)', 'inconclusive', 'gain +0.6'):
    assert part in reason
  for part in ('t = 4.65', '0.129', '3 degrees', 'below', '11.02', 'replicated on seed 1'):
    assert part in reason
  end = stream.run_replications(by_program(gains))
  reason = end.trials[-1].verdict.reason
  for part in (
    '0.300000 (4 runs)',
    'gain +0.7',
    't = 8.08',
    '0.0866',
    '4 degrees',
    'above',
    '4.85',
  ):
    assert part in reason
  assert 'inconclusive' not in reason
  futile = TrialStream.start(RULE, by_program({})).step(by_program({1: 0.11}))
  reason = futile.trials[-1].verdict.reason
  for part in (
    '0.990000 (1 run)',
    'gain +0.01',
    '0.09 seed standard deviations (0.115)',
    'futility',
  ):
    assert part in reason
  assert asked(futile) is None


def test_a_challenger_climbs_the_looks_and_its_replicate_is_kept():
  gains = {1: 0.7}
  stream = TrialStream.start(RULE, by_program(gains)).step(by_program(gains))
  steps = [stream, *stream.replications(by_program(gains))]
  assert [asked(step) for step in steps] == [(1, (1,)), (1, (2, 3)), None]
  stream = steps[-1]
  assert [d for _, _, d in verdicts(stream)] == [KEEP, DISCARD, DISCARD, KEEP]
  assert stream.incumbent.id == 3
  assert stream.state.incumbent.trial == 1
  assert stream.state.incumbent.seeds == (0, 1, 2, 3)
  assert stream.state.challengers == ()


def test_a_challenger_that_was_only_lucky_is_given_up():
  def measure(program, seed):
    lucky = 0.6 if program == 1 and seed == 0 else 0.0
    return by_program({}, 0.1)(program, seed) - lucky

  stream = TrialStream.start(RULE, measure).step(measure)
  end = stream.run_replications(measure)
  assert verdicts(end)[-1][2] is DISCARD
  assert end.incumbent.id == 0
  assert end.state.challengers == ()


def test_a_fresh_incumbent_is_measured_on_the_seeds_it_lacks_and_before_the_challenger():
  rule = dataclasses.replace(RULE, min_gain=0.1)
  gains = {1: 9.0, 2: 9.3}
  measure = by_program(gains)
  stream = TrialStream.start(rule, measure).step(measure).step(measure)
  assert verdicts(stream)[1][2] is KEEP  # at once, so on one seed
  assert asked(stream) == (1, (1,))
  stream = stream.step(measure)
  reason = stream.trials[-1].verdict.reason
  assert 'incumbent on seed 1: val_loss -8.000000 over 2 runs' in reason
  assert stream.trials[-1].verdict.decision is DISCARD
  assert asked(stream) == (2, (1,))
  stream = stream.run_replications(measure)
  assert stream.state.incumbent.seeds[:4] == (0, 1, 2, 3)


def test_a_replicate_of_the_incumbent_by_its_kept_name_is_the_incumbents():
  gains = {1: 0.7}
  stream = TrialStream.start(RULE, by_program(gains)).step(by_program(gains))
  stream = stream.run_replications(by_program(gains))
  assert stream.incumbent.id == 3
  for parent in (1, 3):  # the original, and the replicate that was kept
    wish = types.Proposal(REPLICATE, (parent,), seeds=(50 + parent,))
    stream = stream.run(wish, lambda program, seed: -99.0)
    assert stream.trials[-1].verdict.decision is DISCARD
    assert 'the incumbent on seed 5' in stream.trials[-1].verdict.reason
  assert stream.state.incumbent.seeds[4:] == (51, 53)
  assert stream.state.incumbent.mean < -30


def test_the_means_are_over_all_runs_of_a_program_and_a_seed_counts_once():
  gains = {1: 0.7}
  stream = TrialStream.start(RULE, by_program(gains)).step(by_program(gains))
  flight = stream.ask()[1]
  stream = stream.run(flight, by_program(gains))
  again = stream.run(flight, by_program(gains))
  assert again.trials[-1].verdict.decision is DISCARD
  assert 'no seed that was not measured' in again.trials[-1].verdict.reason
  known = stream.state.challengers[0].runs
  assert (known.seeds, known.mean) == ((0, 1), pytest.approx(0.3))


@pytest.mark.parametrize('status', [s for s in types.Status if s is not types.Status.OK])
def test_a_replication_that_fails_ends_its_challenger(status):
  stream = TrialStream.start(RULE, by_program({})).step(by_program({1: 0.7}))
  assert asked(stream) is not None
  stream = stream.step(lambda program, seed: status)
  assert asked(stream) is None
  assert stream.state.challengers == ()
  assert stream.step(by_program({})).trials[-1].proposal.operation is types.Operation.IMPROVE


def test_a_replication_of_the_incumbent_that_fails_is_not_asked_for_again():
  rule, gains = dataclasses.replace(RULE, min_gain=0.1), {1: 9.0, 2: 9.3}
  measure = by_program(gains)
  stream = TrialStream.start(rule, measure).step(measure).step(measure)
  assert asked(stream) == (1, (1,))
  stream = stream.step(lambda program, seed: types.Status.CRASH)
  assert asked(stream) == (2, (1,))  # goes on with what the incumbent has


def test_while_a_replication_is_under_way_it_is_not_asked_for_twice():
  stream = TrialStream.start(RULE, by_program({})).step(by_program({1: 0.7}))
  stream, wanted = stream.ask()
  assert wanted is not None
  assert stream.ask()[1] is None


def test_the_incumbent_may_change_while_a_challenger_is_replicated():
  gains = {1: 0.7, 2: 9.0}
  measure = by_program(gains)
  stream = TrialStream.start(RULE, measure).step(measure)
  stream, wanted = stream.ask()
  stream = stream.submit(wanted)
  stream = stream.run(stream.new_challenger(), by_program({3: 9.0}))
  assert stream.incumbent.id == 3
  stream = stream.complete(stream.pending[0], measure)
  assert '-7.900000 (trial 3, ' in stream.trials[-1].verdict.reason
  assert stream.trials[-1].verdict.decision is DISCARD
  assert stream.state.challengers == ()


def test_a_first_look_that_may_spend_nothing_keeps_nothing_yet():
  rule = dataclasses.replace(RULE, spending_function='obrien_fleming', looks=(1, 100), min_gain=0.0)
  stream = TrialStream.start(rule, by_program({}, 0.01)).step(by_program({1: 0.5}, 0.01))
  assert stream.trials[-1].verdict.decision is DISCARD
  reason = stream.trials[-1].verdict.reason
  assert 'no alpha is left for this look' in reason and 'replicated on' in reason


def test_a_replication_that_finds_another_incumbent_is_not_kept_for_a_gain_of_nothing():
  """The new incumbent has one run, so the difference tells less than when the error was spent."""
  luck = [0.0, 0.01, -0.01, 0.005, -0.005, 0.008, -0.008, 0.002]

  def measure(values):
    return lambda program, seed: values.get(program, 1.0) + luck[seed]

  stream = TrialStream.start(SequentialTest(), measure({}))
  for _ in range(3):
    stream = stream.step(measure({1: 0.975}))
  assert len(stream.state.challengers[0].runs.seeds) == 4
  stream, wanted = stream.ask()
  stream = stream.submit(wanted)
  stream = stream.run(stream.new_challenger(), lambda program, seed: 0.88)
  assert stream.incumbent.id == 5
  stream = stream.complete(stream.pending[0], measure({1: 0.784}))
  assert stream.trials[-1].verdict.decision is DISCARD
  assert 'less than min_gain 1' in stream.trials[-1].verdict.reason
  assert stream.incumbent.id == 5


def test_a_better_incumbent_ends_waiting_challengers_that_it_beats():
  measure = by_program({1: 0.7})
  stream = TrialStream.start(RULE, measure)
  stream = stream.submit(stream.new_challenger()).submit(stream.new_challenger())
  stream = stream.complete(stream.pending[0], measure)
  assert len(stream.state.challengers) == 1
  stream = stream.complete(stream.pending[0], by_program({2: 9.0}))
  assert stream.incumbent.id == 2
  assert stream.state.challengers == ()
  assert stream.trials[-1].verdict.reason.endswith('stopped testing trial 1.')


def test_an_incumbent_that_measures_better_names_the_challengers_that_it_ends():
  rule, gains = dataclasses.replace(RULE, min_gain=0.1), {1: 9.0, 2: 9.3, 3: 9.3}
  stream = TrialStream.start(rule, by_program({})).step(by_program(gains))
  flights = [stream.new_challenger(), stream.new_challenger()]
  for proposal in flights:
    stream = stream.run(proposal, by_program(gains))
  assert asked(stream) == (1, (1,))
  stream = stream.step(by_program({1: 20.0}))
  reason = stream.trials[-1].verdict.reason
  assert 'the incumbent on seed 1' in reason
  assert reason.endswith('stopped testing trials 2, 3.')
  assert asked(stream) is None


def test_an_incumbent_that_another_rule_kept_is_taken_on():
  stream = TrialStream.start(RULE, by_program({})).step(by_program({}))
  other = dataclasses.replace(stream, incumbent=stream.trials[1])
  after = other.step(by_program({2: 0.05}))
  assert after.state.kept == 1
  assert '(trial 1, 1 run)' in after.trials[-1].verdict.reason


def test_challengers_under_test_and_remembered_ones_are_bounded():
  stream = TrialStream.start(RULE, by_program({}))
  for _ in range(3 * MAX_CHALLENGERS):
    stream = stream.submit(stream.new_challenger())
  for flight in stream.pending:
    stream = stream.complete(flight, lambda program, seed: 0.4)
  assert len(stream.state.challengers) == MAX_CHALLENGERS
  assert 'stopped' not in stream.trials[MAX_CHALLENGERS].verdict.reason
  assert stream.trials[MAX_CHALLENGERS + 1].verdict.reason.endswith('stopped testing trial 1.')
  quiet = TrialStream.start(RULE, by_program({}))
  for _ in range(2 * MAX_PAST):
    quiet = quiet.step(by_program({}))
  assert [runs.trial for runs in quiet.state.past] == [*range(MAX_PAST + 1, 2 * MAX_PAST + 1)]
  assert len(types.to_json(quiet.state)) < 100 * (MAX_PAST + 4)


def test_a_program_that_was_given_up_is_judged_by_all_its_runs_when_it_is_replicated():
  measure = by_program({1: 0.05, 2: 0.05})
  stream = TrialStream.start(RULE, measure).step(measure).step(measure)
  assert stream.state.challengers == ()
  again = types.Proposal(REPLICATE, (1,), seeds=(1, 2))
  lucky = stream.run(again, lambda program, seed: 0.5)
  reason = lucky.trials[-1].verdict.reason
  assert reason.startswith(f'val_loss {(1.05 + 0.5 + 0.5) / 3:.6f} (3 runs) vs. 1.000000 (trial 0')
  assert lucky.rule.undecided(lucky.state, lucky.trials[1])
  assert asked(lucky) == (1, (3,))  # and no seed is trained again
  repeated = stream.run(types.Proposal(REPLICATE, (1,), seeds=(0,)), lambda program, seed: -9.0)
  assert 'no seed that was not measured' in repeated.trials[-1].verdict.reason


def test_an_incumbent_that_was_beaten_keeps_its_runs():
  measure = by_program({1: 9.0})
  stream = TrialStream.start(RULE, measure).step(measure)
  assert stream.incumbent.id == 1
  stream = stream.run(types.Proposal(REPLICATE, (0,), seeds=(4,)), measure)
  assert '(5 runs) vs. -7.900000 (trial 1, 1 run)' in stream.trials[-1].verdict.reason


@pytest.mark.parametrize('status', [types.Status.CRASH, types.Status.CANCELLED])
def test_the_seeds_on_which_a_replication_failed_stay_tried_after_its_test(status):
  stream = TrialStream.start(RULE, by_program({})).step(by_program({1: 0.7}))
  assert asked(stream) == (1, (1,))
  stream = stream.step(lambda program, seed: status)
  stream = stream.run(types.Proposal(REPLICATE, (1,), seeds=(7,)), lambda program, seed: 0.3)
  assert asked(stream) == (1, (2, 3))


def test_where_seeds_agree_exactly_any_gain_counts_at_once():
  stream = TrialStream.start(RULE, lambda program, seed: 1.0).step(lambda program, seed: 0.999)
  assert stream.trials[-1].verdict.decision is KEEP
  assert 'seeds agree exactly' in stream.trials[-1].verdict.reason


def test_the_noise_is_pooled_inside_trials_and_not_around_lucky_means():
  rng = np.random.default_rng(0)

  def measure(program, seed):
    return rng.normal()

  squares = degrees = 0.0
  for _ in range(300):
    stream = TrialStream.start(SequentialTest(), measure)
    for _ in range(5):
      stream = stream.step(measure)
    noise = stream.state.noise
    squares, degrees = squares + noise.sum_of_squares, degrees + noise.degrees_of_freedom
  assert squares / degrees == pytest.approx(1.0, abs=4 * math.sqrt(2 / degrees))


def test_one_challenger_without_effect_is_kept_at_the_rate_it_was_allotted():
  rng, tests, kept = np.random.default_rng(0), 3000, 0
  rule = SequentialTest(alpha=0.05, horizon=1, min_gain=0.0)

  def measure(program, seed):
    return rng.normal()

  for _ in range(tests):
    stream = TrialStream.start(rule, measure).step(measure).run_replications(measure)
    kept += stream.incumbent.id != 0
  assert kept / tests == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / tests))


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'baseline_seeds': 1}, 'needs at least 2'),
    ({'alpha': 0.0}, 'alpha is 0.0'),
    ({'horizon': 0}, 'horizon is 0'),
    ({'min_gain': -1.0}, 'min_gain is -1.0'),
    ({'min_gain': float('nan')}, 'min_gain is nan'),
    ({'looks': ()}, r'looks is \(\)'),
    ({'looks': (2, 2)}, 'must be increasing'),
    ({'looks': (0, 3)}, 'must be increasing'),
    ({'spending_function': 'all'}, 'kim_demets, obrien_fleming, pocock'),
  ],
)
def test_options_that_cannot_work_are_refused(options, sentence):
  with pytest.raises(ValueError, match=sentence):
    SequentialTest(**options)
