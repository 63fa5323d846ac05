"""Reading and rewriting one file: constants found, every other byte kept."""

from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.programs.source import Source, assignment, pattern, statements

TEXT = '''"""A file."""
import jax


RATE = 0.5   # why
SIZE = 2**7  # a power
NEGATIVE: float = -1.5
PAIR = (
  0.9,  # first
  0.99,
)
NOBODY_READS = 1
TWICE = 1
TWICE = 2
lower = 3
COMPUTED = jax.numpy.pi
BATCH_SIZE = 4


class A:
  INNER = 7

  def f(self, x):
    if x:
      y = (x +
           RATE)  # layout is free
    return [SIZE, NEGATIVE, PAIR, TWICE, lower, COMPUTED]
'''


def test_constants_are_literals_set_once_at_the_top_and_read():
  assert Source(TEXT).constants == {
    'RATE': 0.5,
    'SIZE': 128,
    'NEGATIVE': -1.5,
    'PAIR': (0.9, 0.99),
    'BATCH_SIZE': 4,  # read by the trial engine
  }


def test_a_new_value_keeps_every_other_byte():
  changed = Source(TEXT).with_constants({'RATE': 0.25, 'SIZE': 256, 'NEGATIVE': -3.0})
  expected = (
    TEXT.replace('RATE = 0.5 ', 'RATE = 0.25 ')
    .replace('2**7', '2**8')
    .replace('float = -1.5', 'float = -3.0')
  )
  assert changed == expected


def test_what_is_no_power_of_two_is_written_out():
  assert 'SIZE = 100  # a power' in Source(TEXT).with_constants({'SIZE': 100})


def test_a_shortened_tuple_keeps_its_layout():
  text = 'T = (\n  1,  # one\n  2,  # two\n  3,  # three\n)\nprint(T)\n'
  assert Source(text).with_constants({'T': (1, 2)}).startswith('T = (\n  1,  # one\n  2,')


def test_scopes_are_found_by_path_and_only_when_unambiguous():
  source = Source(TEXT + '\ndef twice():\n  pass\n\ndef twice():\n  pass\n')
  found = source.scope('A.f')
  assert found is not None and found.name.value == 'f'
  assert [assignment(s)[0] for s in statements(found) if assignment(s)] == ['y']
  assert source.scope('A.g') is source.scope('f') is source.scope('twice') is None


def test_patterns_see_through_layout():
  function = Source(TEXT).scope('A.f')
  assert function is not None
  value = next(assignment(s)[1] for s in statements(function) if assignment(s))
  assert pattern('x + RATE').matches(value)
  assert not pattern('RATE + x').matches(value)


@given(
  st.dictionaries(
    st.sampled_from(['RATE', 'SIZE', 'NEGATIVE', 'BATCH_SIZE']),
    st.one_of(
      st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
  )
)
def test_what_is_written_is_read_back(values):
  changed = Source(Source(TEXT).with_constants(values))
  assert {name: changed.constants[name] for name in values} == values
