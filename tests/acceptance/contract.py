"""What every acceptance rule must do. A new rule adds one line to ACCEPTANCE_CASES."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE

# (registered name, options to test it with)
ACCEPTANCE_CASES = [
  ('strict', {}),
  ('noise', {}),
  ('noise', {'threshold': 0.0, 'baseline_seeds': 2}),
]

LOSS = types.Objective('val_loss', 'minimize')
ACCURACY = types.Objective('val_loss', 'maximize')
KEEP, DISCARD, CRASH = types.Decision.KEEP, types.Decision.DISCARD, types.Decision.CRASH

every_rule = pytest.mark.parametrize(('name', 'options'), ACCEPTANCE_CASES)
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4)


def trial(number, *scores, status=types.Status.OK, reason=''):
  """A finished trial with one seed a score."""
  program = types.Program((('model.py', ''),), 'model.py')
  measurements = tuple(
    types.Measurement(seed, {'val_loss': score}, types.Cost()) for seed, score in enumerate(scores)
  )
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    types.Edit(program, 'an edit', types.Hypothesis('a claim')),
    types.Result(number, status, reason=reason, measurements=measurements),
  )


@every_rule
@pytest.mark.parametrize('status', [s for s in types.Status if s is not types.Status.OK])
def test_a_trial_that_did_not_end_well_is_a_crash_with_its_reason(name, options, status):
  rule = ACCEPTANCE.make(name, options)
  verdict, _ = rule.decide(
    rule.init(LOSS), trial(1, status=status, reason='It broke.'), trial(0, 1.0)
  )
  assert verdict.decision is CRASH
  assert 'It broke.' in verdict.reason and str(status) in verdict.reason


@every_rule
def test_a_trial_without_the_metric_is_a_crash_that_names_it(name, options):
  rule = ACCEPTANCE.make(name, options)
  verdict, _ = rule.decide(rule.init(types.Objective('val_bpb', 'minimize')), trial(1, 1.0), None)
  assert verdict.decision is CRASH
  assert 'val_bpb' in verdict.reason and 'val_loss' in verdict.reason


@every_rule
def test_the_first_score_is_kept_also_after_a_broken_baseline(name, options):
  rule = ACCEPTANCE.make(name, options)
  for incumbent in (None, trial(0, status=types.Status.CRASH)):
    verdict, _ = rule.decide(rule.init(LOSS), trial(1, 2.0), incumbent)
    assert verdict.decision is KEEP


@every_rule
@settings(max_examples=40, deadline=None)
@given(old=values, new=values)
def test_what_is_not_better_is_never_kept_and_directions_mirror(name, options, old, new):
  rule = ACCEPTANCE.make(name, options)
  for objective, sign in ((LOSS, 1.0), (ACCURACY, -1.0)):
    baseline, candidate = (trial(i, *(sign * v for v in vs)) for i, vs in enumerate((old, new)))
    first, state = rule.decide(rule.init(objective), baseline, None)
    verdict, _ = rule.decide(state, candidate, baseline)
    assert first.decision is KEEP
    if sum(new) / len(new) >= sum(old) / len(old):
      assert verdict.decision is DISCARD
    if objective is LOSS:
      minimized = verdict.decision
  assert verdict.decision is minimized


@every_rule
def test_a_gain_far_beyond_the_noise_is_kept(name, options):
  rule = ACCEPTANCE.make(name, options)
  baseline = trial(0, 1.00, 1.01, 0.99)
  _, state = rule.decide(rule.init(LOSS), baseline, None)
  verdict, _ = rule.decide(state, trial(1, 0.5), baseline)
  assert verdict.decision is KEEP
  assert '0.5' in verdict.reason and '1.0' in verdict.reason


@every_rule
def test_the_state_is_plain_data_that_decide_does_not_change(name, options):
  rule = ACCEPTANCE.make(name, options)
  baseline = trial(0, 1.0, 1.1, 0.9)
  _, state = rule.decide(rule.init(LOSS), baseline, None)
  before = copy.deepcopy(state)
  _, after = rule.decide(state, trial(1, 0.8, 0.9), baseline)
  assert state == before
  assert types.from_json(types.to_json(after), type(after)) == after


@every_rule
def test_baseline_seeds_is_a_positive_number(name, options):
  assert ACCEPTANCE.make(name, options).baseline_seeds >= 1
  with pytest.raises(ValueError, match='baseline_seeds is 0'):
    ACCEPTANCE.make(name, {'baseline_seeds': 0})


def test_every_registered_rule_is_in_the_battery():
  assert {name for name, _ in ACCEPTANCE_CASES} == set(ACCEPTANCE.names())
