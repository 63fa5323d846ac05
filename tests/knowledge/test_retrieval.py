"""Any text may be asked, and what has its words is found."""

import pytest
from helpers import tried
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.knowledge import Memory

TRIALS = tried.history(
  tried.trial(0, (4.0, 4.1), decision='keep'),
  tried.trial(1, (3.9,), text='LEARNING_RATE = 0.006\n', claim='Larger steps get farther.'),
  tried.trial(2, (4.5,), description='gate the attention', tags=('attention',)),
  tried.trial(3, status='oom', description='double the width', reason='Out of memory.'),
  tried.trial(4, (1.0,), description='gate the values', predicted=0.0, sd=0.1),
  tried.trial(5, (4.0,), description='gate the values', predicted=0.05, sd=0.1),
)


def search(query, limit=5):
  return [e.trial for e in Memory(TRIALS, tried.OBJECTIVE).search(query, limit)]


@pytest.mark.parametrize(
  ('query', 'trials'),
  [
    ('LEARNING_RATE', [1]),
    ('what about the learning rate?', [1]),
    ('attentions', [2]),
    ('memory', [3]),
    ('step', [1]),
    ('0.006', [1]),
    ('nothing of this kind', []),
    ('', []),
  ],
)
def test_words_are_found_in_every_field(query, trials):
  found = search(query)
  assert found[: len(trials)] == trials
  assert bool(found) == bool(trials)


def test_of_equals_the_more_surprising_comes_first():
  assert search('values') == [4, 5]


def test_no_more_than_asked_for():
  assert len(search('edit gate double', 2)) == 2
  assert search('gate', 0) == []


def test_a_new_reason_replaces_the_old_one():
  trials = dict(TRIALS)
  memory = Memory(trials, tried.OBJECTIVE)
  assert memory.search('zebra') == ()
  trials[6] = tried.trial(
    6, (1.2,), parent=4, operation='replicate', seeds=(8,), decision='keep', reason='A zebra.'
  )
  assert [e.trial for e in memory.search('zebra')] == [4]


OPERATORS = ['"', "'", '*', '^', ':', '(', ')', '-', '+', 'NEAR', 'AND', 'OR', 'NOT', '{', '\0']


@given(
  st.text()
  | st.lists(st.sampled_from([*OPERATORS, ' ', 'gate', 'tags', '\ud800', '_', '́'])).map(''.join),
  st.integers(-1, 9),
)
def test_no_query_raises_or_finds_what_is_not_there(query, limit):
  found = search(query, limit)
  assert set(found) <= set(TRIALS) - {0}
  assert len(found) == len(set(found)) <= max(limit, 0)


def test_a_query_as_long_as_a_book_is_answered():
  assert search(' '.join(f'word{i}' for i in range(50_000)) + ' gate') == []
  assert search('gate ' * 50_000)
