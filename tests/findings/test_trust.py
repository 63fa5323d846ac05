"""How far claims of others are believed: a prior that is earned by repeating."""

import dataclasses

import pytest

from autoresearch_jax.findings.finding import FindingSetting
from autoresearch_jax.findings.trust import NEWCOMERS, TriedClaim, Trust, similarity
from autoresearch_jax.types import Budget, ImportedClaim

SETTING = FindingSetting('digits', 'val_loss', 'minimize', Budget(5.0), 'cpu', 'a cpu', data='d')


def claim(source='ann', change='a', gain=1.0, error=0.1, **fields):
  return ImportedClaim(f'{source} {change}', source, change, gain, error, **fields)


def tried(source, *outcomes, error=0.1):
  """Claims of a gain of 1, with what was measured here; None for a failure."""
  return [
    TriedClaim(claim(source, f'{source}{i}'), gain, error, failed=gain is None)
    for i, gain in enumerate(outcomes)
  ]


def trust(*groups, own_gain=0.0):
  return Trust(tuple(t for group in groups for t in group), scale=1.0, own_gain=own_gain)


def reliability(made, source):
  return made.sources()[source].reliability


def test_claim_shrinks_by_its_noise_and_by_the_similarity_of_the_settings():
  exact = claim(error=0.0)
  assert trust().effect(exact, 1.0) == pytest.approx(1.0)
  assert trust().effect(dataclasses.replace(exact, similarity=0.25), 1.0) == pytest.approx(0.25)
  assert trust().effect(claim(error=1.0), 1.0) == pytest.approx(0.5)
  assert trust().effect(claim(error=None), 1.0) == pytest.approx(0.5)  # noise as large as the gain


def test_boast_is_worth_no_more_than_a_good_edit():
  assert trust().effect(claim(gain=1e9, error=0.0), 1.0) == trust().effect(
    claim(gain=2.0, error=0.0), 1.0
  )


def test_source_is_believed_as_far_as_its_claims_repeat():
  made = trust(tried('ann', 1.0, 0.9, 1.1), tried('bob', 0.0, None, -1.0))
  assert reliability(made, 'ann') > 0.75
  assert reliability(made, 'bob') < 0.25
  more = trust(tried('bob', 0.0, None, -1.0, 0.0, 0.0))
  assert reliability(more, 'bob') < reliability(made, 'bob')


def test_measurement_that_decides_nothing_and_a_running_trial_leave_a_source_as_it_is():
  noisy = trust(tried('ann', 0.5, error=10.0))
  assert reliability(noisy, 'ann') == pytest.approx(0.5, abs=0.01)
  running = trust([TriedClaim(claim(), pending=True)])
  assert reliability(running, 'ann') == 0.5
  assert running.sources()['ann'].imports == 1


def test_failure_in_another_setting_says_less_about_its_source():
  near, far = (
    trust([TriedClaim(claim(similarity=similar), failed=True)]) for similar in (1.0, 0.25)
  )
  assert reliability(near, 'ann') < reliability(far, 'ann') < 0.5


def test_new_names_share_one_turn_and_the_record_of_new_names():
  liars = [tried(f'liar{i}', None) for i in range(10)]
  made = trust(tried('ann', 1.0, 1.0), *liars)
  assert reliability(made, NEWCOMERS) < 0.2
  claims = [claim(f'new{i}', f'n{i}', gain=2.0, error=0.0) for i in range(100)]
  ranked = made.ranked([*claims, claim('ann', 'next', gain=0.5)])
  assert ranked[0].source == 'ann'
  assert all(c.source != 'ann' for c in ranked[1:])


def test_flood_of_findings_gets_the_turns_of_one_source():
  honest = [claim('ann', f'h{i}', gain=0.5) for i in range(20)]
  flood = [claim('bob', f'f{i}', gain=1.5) for i in range(1000)]
  done, turns = [], []
  for _ in range(20):
    first = trust(done).ranked([*flood, *honest])[0]
    turns.append(first.source)
    done.append(TriedClaim(first, first.gain, 0.1))  # both tell the truth
  assert 8 <= turns.count('ann') <= 12


def test_source_that_lies_gets_few_turns():
  honest = [claim('ann', f'h{i}', gain=0.5) for i in range(30)]
  lies = [claim('bob', f'f{i}', gain=1.5) for i in range(1000)]
  done, turns = [], []
  for _ in range(20):
    first = trust(done).ranked([*lies, *honest])[0]
    turns.append(first.source)
    done.append(TriedClaim(first, 0.5 if first.source == 'ann' else 0.0, 0.1))
  assert turns.count('bob') <= 6


def test_claim_that_others_contradict_is_worth_less():
  claims = [claim('ann', 'x'), claim('ann', 'y'), claim('bob', 'y', gain=0.0)]
  made = trust(tried('ann', 1.0), tried('bob', 1.0))
  assert [c.change for c in made.ranked(claims)] == ['x', 'y']


def test_edit_that_was_tried_or_promises_less_than_an_own_one_is_left_out():
  made = trust(tried('ann', 1.0), own_gain=0.3)
  claims = [claim('ann', 'ann0'), claim('ann', 'small', gain=0.2), claim('ann', 'large')]
  assert [c.change for c in made.ranked(claims)] == ['large']


def test_similarity_of_settings():
  assert similarity(SETTING, SETTING) == 1.0
  assert similarity(SETTING, dataclasses.replace(SETTING, metric='accuracy')) == 0.0
  target = dataclasses.replace(SETTING, budget=Budget(5.0, target_loss=3.0))
  assert similarity(SETTING, target) == 0.0
  others = [
    dataclasses.replace(SETTING, device='another'),
    dataclasses.replace(SETTING, data='other'),
    dataclasses.replace(SETTING, budget=Budget(20.0)),
  ]
  for other in others:
    assert 0.0 < similarity(SETTING, other) == similarity(other, SETTING) < 1.0


def test_extreme_claims_are_ranked_without_an_error():
  for gain, error in ((1e-200, 0.0), (1e30, 0.0), (1.0, 1e30), (5e-324, 1e30), (1e30, None)):
    Trust().ranked([claim(gain=gain, error=error), claim('bob', 'b')])
