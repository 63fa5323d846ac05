"""A registry finds what its room holds, checks options, and lists what exists."""

import dataclasses
import sys

import pytest

from autoresearch_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Plain:
  size: int = 1
  names: tuple[str, ...] = ()
  given: object = None


def registry():
  made = Registry('thing')
  made.register('plain')(Plain)
  return made


def test_options_are_checked_and_collaborators_are_not():
  made = registry().make('plain', {'size': 2, 'names': ['a']}, given=print)
  assert made == Plain(2, ('a',), print)
  with pytest.raises(ValueError, match="has no option 'sise'; it has: names, size"):
    registry().make('plain', {'sise': 2}, given=None)
  with pytest.raises(ValueError, match="Option 'size' of the thing 'plain': Expected `int`"):
    registry().make('plain', {'size': 'two'})


def test_a_name_is_taken_once():
  with pytest.raises(ValueError, match="already is a thing named 'plain'"):
    registry().register('plain')(Plain)


def test_an_unknown_name_lists_those_that_exist():
  with pytest.raises(ValueError, match="no thing 'other'; there are: plain"):
    registry().get('other')


MODULE = """
import dataclasses
from room_of_test import THINGS


@THINGS.register({name!r})
@dataclasses.dataclass(frozen=True)
class Made:
  pass
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
  package = tmp_path / 'room_of_test'
  package.mkdir()
  (package / '__init__.py').write_text(
    "from autoresearch_jax.registry import Registry\nTHINGS = Registry('thing', __name__)\n"
  )
  (package / 'quick.py').write_text(MODULE.format(name='quick'))
  (package / 'family.py').write_text(MODULE.format(name='cousin'))
  monkeypatch.syspath_prepend(tmp_path)
  yield __import__('room_of_test')
  for name in [name for name in sys.modules if name.startswith('room_of_test')]:
    del sys.modules[name]


def test_one_file_with_one_line_is_found(room):
  assert room.THINGS.get('quick').__module__ == 'room_of_test.quick'
  assert 'room_of_test.family' not in sys.modules
  assert room.THINGS.get('cousin').__module__ == 'room_of_test.family'
  assert room.THINGS.names() == ['cousin', 'quick']


def test_an_unknown_name_lists_the_whole_room(room):
  with pytest.raises(ValueError, match="no thing 'other'; there are: cousin, quick"):
    room.THINGS.get('other')
