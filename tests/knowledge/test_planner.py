"""The planner's questions: what they rest on, and which come first."""

import dataclasses

from helpers import tried
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.knowledge import Memory, planner

TEXT = 'LEARNING_RATE = {rate}\nDEPTH = {depth}\n'
BASELINE = tried.trial(0, (4.0,), text=TEXT.format(rate=0.003, depth=8), decision='keep')
FIRST = ('optimizer', 'LEARNING_RATE up')


def lower(number, loss, depth, parent=0, **fields):
  text = TEXT.format(rate=0.003, depth=depth)
  return tried.trial(number, (loss,), parent, text, tags=('depth', 'DEPTH down'), **fields)


def faster(number, loss, rate, parent=0, **fields):
  text = TEXT.format(rate=rate, depth=8)
  return tried.trial(number, (loss,), parent, text, tags=FIRST, **fields)


def memory(*trials):
  return Memory(tried.history(BASELINE, *trials), tried.OBJECTIVE)


HELPED = [lower(n, 3.8 - 0.01 * n, 8 - n) for n in (1, 2, 3)]
HARMED = [faster(n, 4.5 + 0.01 * n, 0.003 * n) for n in (4, 5, 6)]


def test_what_helped_comes_before_what_harmed():
  found = planner.rank_questions(memory(*HELPED, *HARMED), 0, limit=20, areas=())
  helped, harmed = (next(q for q in found if tag in q.tags) for tag in ('depth', 'optimizer'))
  assert helped.expected_gain > harmed.expected_gain
  assert helped.trials == (1, 2, 3)
  assert "'depth' change the score by +0.2" in helped.text
  assert 'from 3 trials (1, 2, 3)' in helped.text


def test_what_is_never_moved_or_one_way_only_is_a_question():
  more = 'WIDTH = 4\n'
  start = dataclasses.replace(
    BASELINE,
    edit=dataclasses.replace(
      BASELINE.edit, program=tried.program(more + BASELINE.edit.program.text())
    ),
  )
  trials = [
    dataclasses.replace(
      t, edit=dataclasses.replace(t.edit, program=tried.program(more + t.edit.program.text()))
    )
    for t in (*HELPED, *HARMED)
  ]
  found = planner.rank_questions(
    Memory(tried.history(start, *trials), tried.OBJECTIVE), 0, 20, areas=()
  )
  never = next(q for q in found if q.tags == ('WIDTH up', 'WIDTH down'))
  assert never.text.startswith('No trial has changed WIDTH (now 4)') and not never.trials
  one_way = next(q for q in found if q.tags == ('DEPTH up',))
  assert "Nobody has tried 'DEPTH up'" in one_way.text and one_way.trials == (1, 2, 3)
  known = next(q for q in found if q.tags == ('depth',))
  assert never.uncertainty_reduction > known.uncertainty_reduction > 0


def test_two_edits_that_helped_apart_are_to_be_tried_together():
  trials = [*HELPED, *HARMED[:2], faster(6, 3.5, 0.006)]
  text = TEXT.format(rate=0.006, depth=7)
  apart = planner.rank_questions(memory(*trials), 1, 20, areas=())
  both = [q for q in apart if q.trials == (1, 6)]
  assert len(both) == 1 and 'no program has both: add that of trial 6' in both[0].text
  assert both[0].tags == FIRST  # the parent has the other one
  assert next(
    q for q in planner.rank_questions(memory(*trials), 0, 20) if q.trials == (1, 6)
  ).tags == (
    'depth',
    'DEPTH down',
    *FIRST,
  )
  together = tried.trial(7, (3.4,), 1, text, tags=FIRST)
  merged = dataclasses.replace(together, proposal=types.Proposal(types.Operation.MERGE, (1, 6)))
  assert not [
    q for q in planner.rank_questions(memory(*trials, merged), 1, 20) if q.trials == (1, 6)
  ]
  # Edits of the same constant take each other's place.
  assert not [q for q in apart if q.trials == (1, 2)]


def test_areas_nobody_touched():
  (question,) = [
    q
    for q in planner.rank_questions(memory(*HELPED, *HARMED), 0, 20)
    if 'was about any of' in q.text
  ]
  assert set(question.tags) <= set(planner.AREAS) - {'depth', 'optimizer'}
  assert not planner.rank_questions(memory(*HELPED, *HARMED), 0, 20, areas=('depth',))[
    -1
  ].text.count('about')


def test_failures_make_a_factor_promise_less():
  broken = [lower(n, 0.0, 1, status='oom') for n in range(7, 12)]
  broken = [
    dataclasses.replace(t, result=dataclasses.replace(t.result, measurements=())) for t in broken
  ]

  def gain(*trials):
    found = planner.rank_questions(memory(*HELPED, *HARMED, *trials), 0, 20)
    return next(q for q in found if 'depth' in q.tags)

  assert gain(*broken).expected_gain < gain().expected_gain
  assert '5 more failed' in gain(*broken).text


def test_little_known_is_no_plan():
  assert planner.rank_questions(memory(*HELPED), 0) == ()
  assert planner.rank_questions(memory(), 0) == ()
  assert planner.rank_questions(memory(*HELPED, *HARMED), 99) == ()


def test_a_replicate_is_planned_for_as_its_original():
  trials = [*HELPED, *HARMED[:2], faster(6, 3.5, 0.006)]
  again = lower(7, 3.79, 7, parent=1, operation='replicate')
  again = dataclasses.replace(again, proposal=dataclasses.replace(again.proposal, seeds=(1,)))
  found = planner.rank_questions(memory(*trials, again), 7, 20)
  assert next(q for q in found if q.trials == (1, 6)).tags == FIRST


def test_text_of_candidates_stays_on_one_line():
  bad = tried.trial(7, (3.0,), tags=('a\nb\x1b[2J' + 'x' * 300,), description='line\nbreak')
  ranked = planner.rank_questions(memory(*HELPED, *HARMED, bad), 0, 20)
  assert ranked
  for question in ranked:
    assert question.text.isprintable() and len(question.text) < 500
    assert all(tag.isprintable() and len(tag) <= planner.MAX_TAG for tag in question.tags)


@settings(max_examples=40, deadline=None)
@given(
  st.lists(st.tuples(st.integers(1, 9), st.floats(1, 9), st.booleans()), max_size=14),
  st.integers(0, 6),
)
def test_any_run_gives_a_ranking_that_is_the_same_again(outcomes, limit):
  trials = [
    lower(n, loss, depth, status='ok' if ok else 'crash')
    for n, (depth, loss, ok) in enumerate(outcomes, start=1)
  ]
  found = planner.rank_questions(memory(*trials), 0, limit)
  assert found == planner.rank_questions(memory(*trials), 0, limit)
  assert len(found) <= limit
  worths = [q.expected_gain + q.uncertainty_reduction for q in found]
  assert worths == sorted(worths, reverse=True) and all(w >= 0 for w in worths)
  for question in found:
    assert set(question.trials) <= {t.id for t in trials}
    assert question.tags and question.text
