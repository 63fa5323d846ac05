"""Lessons say what groups of trials have in common, and name them."""

import pytest
from helpers import tried

from autoresearch_jax import types
from autoresearch_jax.knowledge import Memory

BASELINE = tried.trial(0, (4.0, 4.02), decision='keep')  # mean 4.01


def text(rate=0.003, depth=8, more=''):
  return f'LEARNING_RATE = {rate}\nDEPTH = {depth}\n{more}'


def lessons(*trials, told=()):
  return Memory(tried.history(BASELINE, *trials), tried.OBJECTIVE, model_lessons=told).lessons()


def about(found, *tags):
  return [lesson for lesson in found if lesson.tags[: len(tags)] == tags]


def test_one_group_by_hand():
  (lesson,) = lessons(
    tried.trial(1, (3.91,), text=text(rate=0.004)), tried.trial(2, (3.93,), text=text(rate=0.006))
  )
  assert lesson.tags == ('LEARNING_RATE up',)
  assert lesson.trials == (1, 2)
  assert lesson.effect == pytest.approx(0.09)
  # √0.0003, an effect's deviation by the seeds, is less than s0 = 1.4826·√2·0.01.
  usual = (1.4826 * 0.01) ** 2 * 2
  assert lesson.uncertainty == pytest.approx(((4 * usual + 0.0002) / 5 / 2) ** 0.5)
  assert (
    lesson.text == 'Raising LEARNING_RATE helped: +0.09 ± 0.014 (2 trials: 1, 2), 2 of 2 better.'
  )


def test_directions_are_apart_and_what_is_not_clear_is_said_to_be():
  found = lessons(
    tried.trial(1, (3.8,), text=text(depth=9)),
    tried.trial(2, (4.4,), text=text(depth=12)),
    tried.trial(3, (6.0,), text=text(depth=7)),
    tried.trial(4, (6.1,), text=text(depth=4)),
  )
  (up,), (down,) = about(found, 'DEPTH up'), about(found, 'DEPTH down')
  assert up.text.startswith('Raising DEPTH had no clear effect: ')
  assert up.text.endswith(' (2 trials: 1, 2), 1 of 2 better.')
  assert down.text.startswith('Lowering DEPTH hurt: -')
  assert found.index(down) < found.index(up)


def test_one_trial_teaches_nothing():
  assert lessons(tried.trial(1, (3.8,), text=text(depth=9), tags=('depth',))) == ()


def test_an_edit_of_structure_is_no_evidence_on_a_constant():
  found = lessons(
    tried.trial(1, (3.8,), text=text(depth=9, more='def f(): pass\n')),
    tried.trial(2, (3.8,), text=text(depth=9, more='def g(): pass\n')),
    tried.trial(3, (3.8,), text=text(depth=9, more='# a comment\n')),
  )
  assert found == ()


def test_tags_are_groups_and_those_with_the_same_trials_are_one():
  found = lessons(
    tried.trial(1, (3.8,), text=text(depth=9), tags=('depth', 'DEPTH up')),
    tried.trial(2, (3.7,), text=text(depth=10), tags=('Depth', 'DEPTH up')),
    tried.trial(3, (3.9,), text=text(more='a()'), tags=('attention', 'window')),
    tried.trial(4, (3.9,), text=text(more='b()'), tags=('attention',)),
  )
  (depth,), (attention,) = about(found, 'DEPTH up'), about(found, 'attention')
  assert depth.tags == ('DEPTH up', 'depth')
  assert attention.text.startswith("Edits tagged 'attention' ")
  assert len(found) == 2


def test_constants_that_moved_together_are_compared_with_each_alone():
  singles = [
    tried.trial(i, (3.9 + i / 100,), text=t)
    for i, t in enumerate([text(depth=9), text(depth=10), text(rate=0.004), text(rate=0.005)], 1)
  ]
  both = [tried.trial(i, (3.0,), text=text(0.006, 16)) for i in (5, 6)]
  (joint,) = about(lessons(*singles, *both), 'DEPTH up; LEARNING_RATE up')
  assert joint.text.startswith('Raising DEPTH and raising LEARNING_RATE helped: ')
  assert 'add up to +0.' in joint.text
  assert joint.trials == (5, 6)


def test_groups_that_mostly_fail_are_named_with_how():
  found = lessons(
    tried.trial(1, text=text(depth=9), status='diverged'),
    tried.trial(2, text=text(depth=9), status='invalid'),
    tried.trial(3, text=text(depth=9), status='diverged'),
    tried.trial(4, (4.0,), text=text(depth=9)),
    tried.trial(5, text=text(depth=9), status='crash'),
    tried.trial(6, (4.0,), text=text(rate=1.0)),
  )
  (failing,) = about(found, 'DEPTH up')
  assert failing.text == (
    'Raising DEPTH failed in 3 of 4 trials: 2 diverged, 1 invalid (3 trials: 1, 2, 3).'
  )
  assert failing.effect is None


def test_a_size_beyond_which_every_program_failed_is_a_limit():
  found = lessons(
    tried.trial(1, text=text(depth=16), status='oom'),
    tried.trial(2, text=text(depth=32), status='oom'),
    tried.trial(3, text=text(depth=9), status='diverged'),  # it fitted
  )
  (limit,) = about(found, 'DEPTH')
  assert limit.text == (
    'Every program with DEPTH >= 16 ran out of memory (2 trials: 1, 2); the largest that did not '
    'had 9.'
  )


def test_one_that_ran_beyond_refutes_a_limit():
  oom = [tried.trial(i, text=text(depth=16 * i), status='oom') for i in (1, 2)]
  assert about(lessons(*oom), 'DEPTH')
  assert not about(lessons(*oom, tried.trial(3, (4.0,), text=text(depth=64))), 'DEPTH')


def test_limits_below_are_seen_too():
  low = [tried.trial(i, text=text(rate=i / 1e6), status='timeout') for i in (1, 2)]
  (limit,) = about(lessons(*low), 'LEARNING_RATE')
  assert limit.text.startswith('Every program with LEARNING_RATE <= 2e-06 ran out of time (2 ')


def test_lessons_that_were_told_stand_among_them_by_their_certainty():
  told = (
    types.Lesson('Sure.', (1,), effect=1.0, uncertainty=0.001, author='m'),
    types.Lesson('No number.', (2,), author='m'),
  )
  found = lessons(
    tried.trial(1, (3.8,), text=text(depth=9)),
    tried.trial(2, (3.7,), text=text(depth=10)),
    told=told,
  )
  assert [lesson.author for lesson in found] == ['m', '', 'm']


def test_text_of_candidates_stays_on_one_line():
  tags = ('look\n\x1b[2Jhere' + 'x' * 99,)
  found = lessons(*(tried.trial(i, (3.0,), text=text(more='a()'), tags=tags) for i in (1, 2)))
  assert found[0].text.isprintable()
  assert len(found[0].text) < 200
