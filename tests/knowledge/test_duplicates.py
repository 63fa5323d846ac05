"""Duplicates are found whatever their layout, and nothing else is taken for one."""

import time

import pytest
from helpers import tried
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.knowledge import Memory
from autoresearch_jax.knowledge.duplicates import Duplicate, DuplicateIndex, explain

TEXT = '''"""A program."""

LEARNING_RATE = 3e-4  # of all parameters
DEPTH = 8

def init(key, spec):
  """Zeros."""
  return {'depth': DEPTH, 'rate': LEARNING_RATE}
'''


def index(*texts, tolerance=0.02):
  found = DuplicateIndex(tolerance)
  for number, text in enumerate(texts):
    found.add(number, tried.program(text))
  return found


def found(text, *texts):
  return index(*texts).find(tried.program(text))


@pytest.mark.parametrize(
  'text',
  [
    TEXT,
    TEXT.replace('# of all parameters', '# of some'),
    TEXT.replace('"""A program."""', ''),
    TEXT.replace('  """Zeros."""\n', '').replace('DEPTH = 8', '\n\nDEPTH=(8)'),
    TEXT.replace('3e-4', '0.000_3'),
    TEXT.replace("'depth'", '"depth"').replace("'rate'", "u'rate'"),
    TEXT.replace('\n', '\r\n'),
  ],
)
def test_looks_do_not_count(text):
  assert found(text, 'DEPTH = 1\n', TEXT) == (1, True)


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    ('DEPTH = 8', 'DEPTH = 9'),
    ('DEPTH = 8', 'DEPTH = 8.0'),
    ('3e-4', '-3e-4'),
    ('3e-4', '3.1e-4'),
    ("'rate'", "'rates'"),
    ('def init', 'def init2'),
    ('DEPTH = 8', 'DEPTH = True'),
  ],
)
def test_a_real_change_is_no_duplicate(old, new):
  assert found(TEXT.replace(old, new), TEXT) is None


def test_floats_that_hardly_differ_are_nearly_the_same_and_the_nearest_is_named():
  tries = [TEXT.replace('3e-4', rate) for rate in ('2.96e-4', '3e-4', '3.02e-4')]
  assert found(TEXT.replace('3e-4', '3.005e-4'), *tries) == (1, False)
  assert found(TEXT.replace('3e-4', '2.94e-4'), *tries) == (0, False)
  assert found(TEXT.replace('3e-4', '2.8e-4'), *tries) is None


def test_of_a_share_what_is_left_to_one_counts_too():
  assert found('BETA = 0.9975\n', 'BETA = 0.999\n') is None
  assert found('BETA = 0.99901\n', 'BETA = 0.999\n') == (0, False)
  assert found('BETA = 1.01\n', 'BETA = 1.0\n') == (0, False)


def test_every_number_must_be_near():
  two = 'A = 1.0\nB = 2.0\n'
  assert found('A = 1.001\nB = 2.001\n', two) == (0, False)
  assert found('A = 1.001\nB = 3.0\n', two) is None


def test_numbers_that_are_zero_or_endless_compare():
  assert found('A = 0.0\nB = 1.001\n', 'A = 0.0\nB = 1.0\n') == (0, False)
  assert found('A = 1e999\nB = 1.001\n', 'A = 1e999\nB = 1.0\n') == (0, False)
  assert found('A = 1e-9\n', 'A = 0.0\n') is None
  assert found('A = 1e999\n', 'A = 1.0\n') is None


def test_a_docstring_alone_leaves_a_function_that_does_nothing():
  assert found('def f():\n  "words"\n', 'def f():\n  pass\n') == (0, True)
  assert found('def f():\n  return "words"\n', 'def f():\n  pass\n') is None


def test_what_does_not_parse_is_compared_as_text():
  assert found('A = = 1', 'A = = 1') == (0, True)
  assert found('A = = 1 #', 'A = = 1') is None
  assert found('\ud800', '\ud800') == (0, True)
  huge = f'A = 0x{"f" * 9000}\n'  # more digits than Python writes
  assert found(huge, huge) == (0, True)
  assert found(huge, huge.replace('f', 'e')) is None


def test_other_files_count_as_they_are():
  def program(notes):
    return types.Program((('model.py', 'A = 1\n'), ('notes.txt', notes)), 'model.py')

  known = DuplicateIndex()
  known.add(4, program('# one'))
  assert known.find(program('# one')) == (4, True)
  assert known.find(program('# two')) is None


def test_the_first_trial_keeps_the_program():
  assert found(TEXT, TEXT, TEXT) == (0, True)


@given(
  st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3),
  st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3),
)
def test_nearly_the_same_goes_both_ways(one, other):
  texts = ['\n'.join(f'X{i} = {v!r}' for i, v in enumerate(values)) for values in (one, other)]
  there, back = found(texts[0], texts[1]), found(texts[1], texts[0])
  assert there == back
  assert found(texts[0], texts[0]) == (0, True)


def test_ten_thousand_with_one_shape_are_searched_in_milliseconds():
  known = DuplicateIndex()
  for number in range(10_000):
    known.add(
      number, tried.program(f'A = {1.1 ** (number % 3000 / 10)!r}\nB = {number / 7 + 0.1!r}\n')
    )
  took = []
  for number in range(5):
    start = time.process_time()
    assert known.find(tried.program(f'A = 1e200\nB = 0.{number}5\n')) is None
    took.append(time.process_time() - start)
  assert min(took) < 0.05  # 0.0015 where it was written


def test_the_sentence_names_the_trial_and_what_became_of_it():
  text = 'LEARNING_RATE = 0.006\nDEPTH = 8\n'
  trials = tried.history(
    tried.trial(0, (4.0,), decision='keep'),
    tried.trial(1, (4.1,), text=text, reason='It is\nworse.'),
    tried.trial(2, text=text, status='oom', reason='Too large.'),
    tried.trial(3, (3.9,), decision='keep', reason='', description='a\tb'),
  )
  entries = Memory(trials, tried.OBJECTIVE).hypotheses
  assert explain(Duplicate(1, False), entries[1]) == (
    'Nearly the same as trial 1 (LEARNING_RATE 0.006), which was discarded: It is worse; '
    'try something else.'
  )
  assert explain(Duplicate(2, True), entries[2]) == (
    'The same program as trial 2 (LEARNING_RATE 0.006), which got no score (oom): Too large; '
    'try something else.'
  )
  assert explain(Duplicate(3, True), entries[3]) == (
    'The same program as trial 3 (a b), which was kept; try something else.'
  )
  assert (
    explain(Duplicate(0, True)) == 'The same program as the unmodified program; try something else.'
  )
  assert explain(Duplicate(7, False)) == 'Nearly the same as trial 7; try something else.'
