"""The starting program is the folder's text with the config's constants in it."""

import subprocess
import sys

import pytest
from helpers import synthetic_run
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.config import ConfigError
from autoresearch_jax.programs import start
from autoresearch_jax.programs.start import constants_of, starting_program, with_constants
from autoresearch_jax.types import Program

TEXT = '''"""A program."""
DEPTH = 8  # layers
RATE: float = 0.5
PATTERN, OTHER = 'SSSL', 1
lower = 3


def init():
  DEPTH = 9
  return DEPTH


class Model:
  WIDTH = 4


if DEPTH > 3:
  WIDE = True
'''
PROGRAM = Program((('model.py', TEXT), ('notes.txt', 'DEPTH = 8'), ('parts.py', 'HEADS = 2\n')), 'model.py')  # fmt: skip  # noqa: E501

literals = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats(allow_nan=False, allow_infinity=False)
  | st.text(st.characters(exclude_categories=['Cs'])),
  lambda inside: st.lists(inside, max_size=3) | st.lists(inside, max_size=3).map(tuple),
  max_leaves=5,
)


def test_constants_are_set_where_they_stand_and_nothing_else_changes():
  changed = with_constants(PROGRAM, {'DEPTH': 4, 'RATE': 1e-3, 'WIDE': False, 'HEADS': 3})
  expected = (
    TEXT.replace('DEPTH = 8', 'DEPTH = 4')
    .replace('= 0.5', '= 0.001')
    .replace('WIDE = True', 'WIDE = False')
  )
  assert changed.text() == expected
  assert changed.text('parts.py') == 'HEADS = 3\n'
  assert changed.text('notes.txt') == 'DEPTH = 8'
  assert with_constants(PROGRAM, {}) == PROGRAM


@given(literals)
def test_any_literal_arrives_as_it_is(value):
  program = with_constants(Program((('model.py', 'X = None\n'),), 'model.py'), {'X': value})
  space = {}
  exec(program.text(), space)
  assert space['X'] == value
  assert type(space['X']) is type(value)


def test_an_unknown_constant_lists_those_that_exist():
  assert constants_of(PROGRAM) == {'DEPTH': 8, 'RATE': 0.5, 'WIDE': True, 'HEADS': 2}
  with pytest.raises(ConfigError, match=r'WIDTH is not a constant.*DEPTH, HEADS, RATE, WIDE'):
    with_constants(PROGRAM, {'WIDTH': 1})


@pytest.mark.parametrize('value', [object(), float('nan'), print])
def test_a_value_that_is_no_literal_is_refused(value):
  with pytest.raises(ConfigError, match=r'config\.constants\.DEPTH is .* must be a number'):
    with_constants(PROGRAM, {'DEPTH': value})


@pytest.mark.parametrize('value', ['nan', '1e-3x', ''])
def test_text_in_the_place_of_a_number_is_refused(value):
  sentence = rf"DEPTH is the text '{value}', but model.py has the number 8"
  with pytest.raises(ConfigError, match=sentence):
    with_constants(PROGRAM, {'DEPTH': value})


def test_a_program_is_a_folder_anywhere(tmp_path):
  (tmp_path / 'model.py').write_text('X = 1\n')
  config = synthetic_run.config(program=str(tmp_path), constants={'X': 2})
  assert starting_program(config) == Program((('model.py', 'X = 2\n'),), 'model.py')
  config = synthetic_run.config(program=str(tmp_path), editable=('other.py',))
  with pytest.raises(ConfigError, match=r'model\.py, other\.py\) cannot be read'):
    starting_program(config)
  with pytest.raises(ConfigError, match=r"is 'nothing', which is not a folder.*gpt"):
    starting_program(synthetic_run.config(program='nothing'))
  (tmp_path / 'model.py').write_text('X = = 1\n')
  config = synthetic_run.config(program=str(tmp_path), constants={'X': 2})
  with pytest.raises(ConfigError, match='line 1: the starting program is not valid'):
    starting_program(config)


def test_the_gpt_program_is_there():
  program = starting_program(synthetic_run.config(program='gpt', constants={'DEPTH': 2}))
  assert 'DEPTH = 2' in program.text()


def test_the_command_writes_it_where_nothing_is(tmp_path):
  command = [sys.executable, '-m', 'autoresearch_jax.problems.start', '--config=configs/digits.py']
  command += [f'--out={tmp_path}/new', '--config.constants.LEARNING_RATE=0.5']
  root = start.PROGRAMS.parent.parent

  def finish():
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

  done = finish()
  assert (done.returncode, done.stdout) == (0, f'{tmp_path}/new/model.py\n')
  assert 'LEARNING_RATE = 0.5' in (tmp_path / 'new' / 'model.py').read_text()
  again = finish()
  assert again.returncode == 2
  assert 'which is not an empty folder' in again.stderr
