"""The space of a program's constants: what is found, which range it gets, what is rewritten."""

import ast

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoresearch_jax.programs.constants import constants, skeleton, with_values
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.search.samplers.space import Range, derived, describe, space_of

TEXT = '''"""A model."""
import math

DEPTH = 8  # é, ü: more bytes than letters
RATE: float = 1e-3; DECAY = (0.5)
SHIFT = -1.5
BETAS = (0.9, 0.95)
CLIP = True
KIND = 'adam'
SIZE = 2**7
TWICE = 1
TWICE = 2
ADDED = 1
ADDED += 1
ONE = ANOTHER = 3
LEFT, RIGHT = 1, 2
TYPED: int
HUGE = 1e999
lower = 4
if DEPTH:
  INNER = 5


def f(x):
  LOCAL = 6
  return x * RATE + LOCAL
'''


def test_constants_are_literals_assigned_once_at_the_top():
  found = {c.name: c.value for c in constants(TEXT)}
  assert found == {
    'DEPTH': 8,
    'RATE': 1e-3,
    'DECAY': 0.5,
    'SHIFT': -1.5,
    'BETAS': (0.9, 0.95),
    'CLIP': True,
    'KIND': 'adam',
    'HUGE': float('inf'),
  }
  assert [d.name for d in space_of(TEXT, {})] == ['DEPTH', 'RATE', 'DECAY', 'SHIFT']


def test_only_the_literals_change():
  new = with_values(TEXT, {'DEPTH': 12, 'RATE': 0.25, 'DECAY': 2.0, 'SHIFT': 3.5, 'KIND': "it's"})
  expected = (
    TEXT.replace('DEPTH = 8', 'DEPTH = 12')
    .replace('1e-3', '0.25')
    .replace('(0.5)', '(2.0)')
    .replace('-1.5', '3.5')
    .replace("'adam'", '"it\'s"')
  )
  assert new == expected
  assert with_values(TEXT, {'RATE': 0.001}) == TEXT  # the same number stays as it is written
  with pytest.raises(KeyError, match='TWICE'):
    with_values(TEXT, {'TWICE': 3})


LINE = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\x00'), max_size=12)
NUMBERS = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))


@given(
  st.lists(st.tuples(LINE, NUMBERS, NUMBERS), min_size=1, max_size=5),
  st.sampled_from(['\n', '\r\n', '\r']),
  st.sampled_from(['', '\ufeff']),
)
def test_any_text_around_the_literals_survives(lines, end, mark):
  def write(values):
    rows = [f'X{i} = {value!r}  # {line}' for i, (value, line) in enumerate(values)]
    return mark + ''.join(row + end for row in rows)

  old = write([(before, line) for line, before, _ in lines])
  new = write([(after, line) for line, _, after in lines])
  try:
    ast.parse(old)
  except SyntaxError:
    assume(False)  # a line end inside the comment made something else of the text
  assume(len(constants(old)) == len(lines))
  values = {f'X{i}': after for i, (_, _, after) in enumerate(lines)}
  assert with_values(old, values) == new
  assert skeleton(old, values) == skeleton(new, values)
  assert {c.name: repr(c.value) for c in constants(new)} == {n: repr(v) for n, v in values.items()}


@pytest.mark.parametrize(
  ('name', 'value', 'low', 'high', 'log'),
  [
    ('DEPTH', 8, 2, 32, True),
    ('DEPTH', 1, 1, 4, True),
    ('COUNT', 0, 0, 1, False),
    ('RATE', 0.04, 0.004, 0.4, True),
    ('WARMDOWN_RATIO', 0.5, 0, 1, False),
    ('DROPOUT_RATE', 0.0, 0, 1, False),
    ('LR_FRAC', 4.0, 0.4, 40.0, True),  # above 1, so no share
    ('LR_FRAC', 0.01, 0.001, 0.1, True),  # nobody looks for 0.01 between 0 and 1
    ('BETA2', 0.95, 0.5, 0.995, False),
    ('BETA1', 0.8, 0, 0.98, False),
    ('SHIFT', -1.5, -3.0, 3.0, False),
  ],
)
def test_a_range_is_derived_from_the_value(name, value, low, high, log):
  assert derived(name, value) == (pytest.approx(low), pytest.approx(high), log, False)


def test_sizes_stay_powers_of_two():
  (size,) = space_of('BATCH_SIZE = 64\n', {})
  assert (size.low, size.high, size.powers) == (16, 256, True)
  assert [v for v in range(300) if size.contains(v)] == [16, 32, 64, 128, 256]
  assert describe([size]) == 'BATCH_SIZE = 64: 16 to 256, powers of two (derived)'
  (depth,) = space_of('DEPTH = 8\n', {})
  assert not depth.powers
  (depth,) = space_of('DEPTH = 8\n', {'DEPTH': Range(2, 16, powers=True)})
  assert [v for v in range(30) if depth.contains(v)] == [2, 4, 8, 16]


@given(st.one_of(st.integers(-(2**40), 2**40), st.floats(-1e280, 1e280)))
def test_a_derived_range_holds_the_value(value):
  assume(not 0 < abs(value) < 1e-280)
  (dimension,) = space_of(f'X = {value!r}\n', {})
  assert dimension.contains(value)
  assert dimension.low > 0 or not dimension.log


def test_a_comment_states_a_range_and_the_option_goes_first():
  text = 'A = 0.5  # the first, in [-5, 5]\nB = 2  # in [1e0, 64], log\nC = 3.0  # in [0, 1)\n'
  a, b, c = space_of(text, {})
  assert (a.low, a.high, a.log, a.origin) == (-5.0, 5.0, False, 'comment')
  assert (b.low, b.high, b.log, b.integer) == (1, 64, True, True)
  assert c.origin == 'derived'
  (a,) = space_of(text, {'A': Range(0, 2)})
  assert (a.low, a.high, a.origin) == (0.0, 2.0, 'option')
  (a,) = space_of(text, {'A': Range()})
  assert a.origin == 'comment'


def test_choices_take_in_bools_and_strings():
  space = space_of(
    TEXT, {'KIND': Range(choices=('adam', 'sgd')), 'CLIP': Range(choices=(True, False))}
  )
  assert [d.choices for d in space] == [(True, False), ('adam', 'sgd')]
  assert space[0].contains(False) and not space[0].contains(0)
  assert space[1].contains('sgd') and not space[1].contains('lion')


def test_a_whole_number_stays_one():
  whole, free = space_of('A = 4\nB = 4\n', {'A': Range(1, 9), 'B': Range(1, 9, int=False)})
  assert whole.contains(5) and not whole.contains(5.0)
  assert free.contains(5.0) and not free.contains(9.5) and not free.contains(True)


def test_it_is_described_a_line_a_constant():
  ranges = {
    'DEPTH': Range(),
    'RATE': Range(1e-4, 1.0, log=True),
    'CLIP': Range(choices=(True, False)),
  }
  assert describe(space_of(TEXT, ranges)) == (
    'DEPTH = 8: 2 to 32, log, whole (derived)\n'
    'RATE = 0.001: 0.0001 to 1, log (option)\n'
    'CLIP = True: one of True, False (option)'
  )


@pytest.mark.parametrize(
  ('ranges', 'sentence'),
  [
    (
      {'WIDTH': Range()},
      'names WIDTH, which is not a constant of m.py; it has: BETAS, CLIP, DECAY',
    ),
    ({'BETAS': Range(0, 1)}, r'names BETAS, which is \(0.9, 0.95\) in m.py: only numbers'),
    ({'KIND': Range()}, "names KIND, which is 'adam' in m.py"),
    ({'DEPTH': Range(0.2, 0.8)}, 'low is 1 and high is 0'),
  ],
)
def test_what_cannot_be_searched_over_is_named(ranges, sentence):
  with pytest.raises(ValueError, match=sentence):
    space_of(TEXT, ranges, 'm.py')


def test_a_file_without_numbers_and_a_comment_that_makes_no_range_are_named():
  assert constants("A = 1\nDOC = '\\d'\n")  # Python's warning of the escape is not ours
  for text in ('NAME = "x"\n', 'A = (\n', ''):
    with pytest.raises(ValueError, match=r'm\.py has no constant to search over'):
      space_of(text, {}, 'm.py')
  with pytest.raises(ValueError, match='comment of A: low is 5 and high is 1'):
    space_of('A = 1  # in [5, 1]\n', {})


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'low': 1}, 'low and high must be given'),
    ({'low': 2, 'high': 1}, 'low must not exceed high'),
    ({'low': 0, 'high': 1, 'log': True}, 'with log it must be greater than 0'),
    ({'choices': [1], 'low': 0, 'high': 1}, 'choices cannot be combined'),
    ({'choices': [1, 1]}, 'must be distinct'),
    ({'low': 3, 'high': 8, 'powers': True}, 'low is 3 and high is 8; with powers'),
    ({'lowest': 1}, 'unknown field `lowest`'),
  ],
)
def test_a_range_that_is_none_is_refused(options, sentence):
  with pytest.raises(msgspec.ValidationError, match=sentence):
    msgspec.convert(options, Range)


@pytest.mark.parametrize('program', ['gpt', 'mlp'])
def test_our_programs_have_a_space_and_survive_a_rewrite(program):
  text = (PROGRAMS / program / 'model.py').read_text()
  space = space_of(text, {})
  assert {d.name for d in space} >= {'DEPTH', 'BATCH_SIZE'}
  assert all(d.contains(d.value) for d in space)
  assert with_values(text, {d.name: d.value for d in space}) == text
