"""The memory says what was measured, and the same whenever it is asked."""

import dataclasses
import math
import time

import pytest
from helpers import tried
from helpers.synthetic_run import run
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.knowledge import Memory
from autoresearch_jax.report.summary import scores_by_trial

BASELINE = tried.trial(0, (4.0, 4.2), decision='keep')  # mean 4.1, squares 0.02


def memory(*trials, kept=frozenset()):
  return Memory(tried.history(*trials), tried.OBJECTIVE, kept)


def test_an_effect_is_the_gain_of_the_score_with_the_noise_of_both():
  entry = memory(BASELINE, tried.trial(1, (3.8,), predicted=0.1, sd=0.2)).hypotheses[1]
  assert (entry.score, entry.runs, entry.parent) == (-3.8, 1, 0)
  assert entry.effect == pytest.approx(0.3)
  assert entry.effect_sd == pytest.approx(math.sqrt(0.02 / 1) * math.sqrt(1 / 2 + 1))
  assert entry.surprise == pytest.approx(0.2 / math.hypot(0.2, entry.effect_sd))


def test_scores_rise_where_the_metric_is_maximised():
  rising = Memory(
    tried.history(BASELINE, tried.trial(1, (3.8,))), types.Objective('loss', 'maximize')
  )
  assert rising.hypotheses[1].effect == pytest.approx(-0.3)


def test_noise_is_pooled_over_programs_with_several_runs():
  found = memory(BASELINE, tried.trial(1, (3.0, 3.4, 3.2)), tried.trial(2, (1.0,)))
  assert found.noise == pytest.approx(math.sqrt((0.02 + 0.08) / (1 + 2)))


def test_noise_is_unknown_before_a_program_has_two_runs():
  found = memory(tried.trial(0, (4.0,)), tried.trial(1, (3.8,), predicted=0.1, sd=0.1))
  assert found.noise is None
  assert found.hypotheses[1].effect_sd is None
  assert found.hypotheses[1].surprise == pytest.approx(1.0)


def test_repeats_add_runs_to_the_first_trial_and_seeds_count_once():
  again = tried.trial(3, (3.6, 9.0), parent=1, operation='replicate', seeds=(5, 0))
  found = memory(BASELINE, tried.trial(1, (3.8,)), again)
  assert list(found.hypotheses) == [1]
  assert (found.hypotheses[1].runs, found.hypotheses[1].effect) == (2, pytest.approx(0.4))
  parent = memory(BASELINE, tried.trial(3, (4.4,), operation='replicate', seeds=(9,)))
  assert not parent.hypotheses


def test_runs_of_the_parent_change_the_effects_of_its_children():
  trials = tried.history(BASELINE, tried.trial(1, (3.8,)))
  found = Memory(trials, tried.OBJECTIVE)
  assert found.hypotheses[1].effect == pytest.approx(0.3)
  trials[2] = tried.trial(2, (4.7,), operation='replicate', seeds=(9,))
  assert found.hypotheses[1].effect == pytest.approx(0.5)


def test_only_the_whole_budget_counts_and_a_promotion_brings_the_effect():
  early = tried.trial(1, (9.0,), fidelity=0.1)
  assert memory(BASELINE, early).hypotheses[1].effect is None
  promoted = tried.trial(2, (3.9,), parent=1, operation='promote')
  found = memory(BASELINE, early, promoted).hypotheses
  assert list(found) == [1]
  assert found[1].effect == pytest.approx(0.2)


@pytest.mark.parametrize(
  ('second', 'status', 'kept'),
  [
    (dict(losses=(3.0,), seeds=(4,), decision='keep'), 'ok', True),
    (dict(status='crash'), 'ok', False),  # of the machine, perhaps: the score stays
  ],
)
def test_what_became_of_a_program_is_told_by_its_most_telling_trial(second, status, kept):
  repeat = tried.trial(2, parent=1, operation='replicate', reason='Again.', **second)
  entry = memory(BASELINE, tried.trial(1, (3.8,)), repeat, kept={1} if kept else set()).hypotheses[
    1
  ]
  assert (entry.status, entry.kept) == (status, kept)
  assert entry.reason == ('Again.' if kept else 'It is so.')


def test_a_promotion_that_failed_is_a_failure():
  early = tried.trial(1, (3.0,), fidelity=0.1)
  promoted = tried.trial(2, parent=1, operation='promote', status='oom', reason='Too large.')
  entry = memory(BASELINE, early, promoted).hypotheses[1]
  assert entry.failed
  assert entry.reason == 'Too large.'


@pytest.mark.parametrize(('predicted', 'surprise'), [(0.4, 2.0), (-0.4, 0.0), (None, None)])
def test_a_failure_surprises_as_firmly_as_it_was_predicted_to_help(predicted, surprise):
  entry = memory(BASELINE, tried.trial(1, status='oom', predicted=predicted, sd=0.2)).hypotheses[1]
  assert entry.failed
  assert entry.surprise == surprise


@pytest.mark.parametrize('status', ['duplicate', 'cancelled', 'crash'])
def test_what_says_nothing_of_the_program_surprises_nobody(status):
  entry = memory(BASELINE, tried.trial(1, status=status, predicted=0.4, sd=0.2)).hypotheses[1]
  assert not entry.failed
  assert entry.surprise is None


def test_changes_are_those_of_the_constants():
  text = 'LEARNING_RATE = 0.006\nDEPTH = 8\nWIDTH = 3\n'
  entry = memory(BASELINE, tried.trial(1, (3.8,), text=text)).hypotheses[1]
  assert entry.changes == (('LEARNING_RATE', 0.003, 0.006), ('WIDTH', None, 3))
  broken = memory(BASELINE, tried.trial(1, status='invalid', text='DEPTH = = 3')).hypotheses[1]
  assert broken.changes == ()


@pytest.mark.parametrize(
  'text',
  [
    f'DEPTH = 0x{"f" * 9000}\n',
    f'DEPTH = {10**400}\n',
    'DEPTH = 1e999\n',
    'DEPTH = [1, {}]\n',
    'DEPTH = "\\ud800"\n',
    'DEPTH = ' + '(' * 3000,
    '',
  ],
)
def test_no_constant_of_a_candidate_breaks_the_memory(text):
  failed = [tried.trial(i, text=text, status='oom') for i in (1, 2)]
  found = memory(BASELINE, *failed, tried.trial(3, (1.0,), text=text), tried.trial(4, (2.0,), 3))
  assert len(list(found.hypotheses.values())) == 4
  assert all(lesson.text.isprintable() for lesson in found.lessons())
  assert len(found.search('edit')) == 4


def test_entries_are_in_the_order_of_their_ids_whatever_came_first():
  late = [BASELINE, tried.trial(3, (1.0,)), tried.trial(1, (2.0,)), tried.trial(2, (3.0,))]
  entries = memory(*late).hypotheses
  assert list(entries) == [1, 2, 3] == [e.trial for e in entries.values()]
  assert 0 not in entries
  assert 4 not in entries


def test_a_repeat_that_comes_before_its_original_waits_for_it():
  again = tried.trial(2, (3.6,), parent=1, operation='replicate', seeds=(7,))
  trials = tried.history(BASELINE, again)
  found = Memory(trials, tried.OBJECTIVE)
  assert not found.hypotheses
  trials[1] = tried.trial(1, (3.8,))
  assert found.hypotheses[1].effect == pytest.approx(0.4)


def test_it_agrees_with_the_report_on_a_whole_run(tmp_path):
  history = run(tmp_path, 60, acceptance=SequentialTest()).history
  found = Memory(history.trials, history.objective, history.kept_programs)
  first = {history.original(t) for t in history.trials} - {0}
  assert set(found.hypotheses) == first
  worth = scores_by_trial(history, [0, *first])
  for trial, entry in found.hypotheses.items():
    assert entry.kept == (trial in history.kept_programs)
    assert entry.runs == len(worth[trial])
    if worth[trial] and worth[entry.parent]:
      mean, before = (sum(worth[t]) / len(worth[t]) for t in (trial, entry.parent))
      assert entry.effect == pytest.approx(before - mean)
  assert sum(entry.effect is not None for entry in found.hypotheses.values()) > 20


@st.composite
def histories(draw):
  trials = [tried.trial(0, (4.0, 4.2), decision='keep')]
  for number in range(1, draw(st.integers(1, 12))):
    operation = draw(st.sampled_from(['improve', 'improve', 'replicate', 'promote']))
    parent = draw(st.integers(0, number - 1))
    status = draw(st.sampled_from(['ok', 'ok', 'ok', 'oom', 'duplicate']))
    seeds = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    losses = [draw(st.floats(0, 9)) for _ in seeds] if status == 'ok' else []
    trials.append(
      tried.trial(
        number, losses, parent, f'DEPTH = {draw(st.integers(1, 4))}\n', status,
        draw(st.sampled_from(['keep', 'discard'])) if status == 'ok' else None, operation,
        draw(st.sampled_from([1.0, 0.5])), draw(st.none() | st.floats(-1, 1)), 0.1,
        seeds=tuple(seeds) if losses else None,
      )
    )  # fmt: skip
  return draw(st.permutations(trials))


@settings(deadline=None, max_examples=60)
@given(trials=histories(), query=st.sampled_from(['edit', 'edit 3 DEPTH', 'helps']))
def test_grown_trial_by_trial_it_equals_one_that_came_at_once(trials, query):
  growing, kept = {}, {}
  grown = Memory(growing, tried.OBJECTIVE, kept.keys())
  for trial in trials:
    growing[trial.id] = trial
    if trial.verdict.decision == 'keep':
      kept[trial.id] = None
    dict(grown.hypotheses), grown.lessons(), grown.search(query)
  whole = Memory(growing, tried.OBJECTIVE, kept.keys())
  assert dict(grown.hypotheses) == dict(whole.hypotheses)
  assert grown.noise == whole.noise
  assert grown.lessons() == whole.lessons()
  assert grown.search(query) == whole.search(query)


def test_an_access_takes_in_only_what_is_new():
  trials = {0: BASELINE}
  for number in range(1, 10_001):
    text = f'DEPTH = {number % 7}\n'
    trials[number] = tried.trial(number, (3.0 + number % 5,), text=text)
  found = Memory(trials, tried.OBJECTIVE)
  assert len(list(found.hypotheses.values())) == 10_000
  took = []
  for number in range(10_001, 10_021):
    trials[number] = dataclasses.replace(tried.trial(number, (2.5,)), id=number)
    start = time.process_time()
    assert found.hypotheses[number].effect == pytest.approx(1.6)
    took.append(time.process_time() - start)
  assert min(took) < 0.01  # all over again takes 0.25 s where it was written
