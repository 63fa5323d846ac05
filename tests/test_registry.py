"""A registry finds what its package holds, checks options, and lists what exists."""

import dataclasses
import sys

import pytest

from autoresearch_jax import types
from autoresearch_jax.registry import Registry
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing.strategies import play


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


def test_one_word_is_a_list_of_words():
  assert registry().make('plain', {'names': 'abc'}) == Plain(names=('abc',))


def test_a_name_is_taken_once():
  with pytest.raises(ValueError, match="already is a thing named 'plain'"):
    registry().register('plain')(Plain)


def test_an_unknown_name_lists_those_that_exist():
  with pytest.raises(ValueError, match="no thing 'other'; there are: plain"):
    registry().get('other')


def test_a_former_option_name_is_refused_with_the_present_one():
  made = Registry('thing')
  made.register('plain', renamed_options={'extent': 'size'}, formerly=('simple',))(Plain)
  with pytest.raises(ValueError, match=r"option 'extent' .* is now called 'size'"):
    made.make('plain', {'extent': 2})
  with pytest.raises(ValueError, match="thing 'simple' is now called 'plain'"):
    made.get('simple')


MODULE = """
import dataclasses
from package_under_test import THINGS


@THINGS.register({name!r})
@dataclasses.dataclass(frozen=True)
class Made:
  pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
  folder = tmp_path / 'package_under_test'
  folder.mkdir()
  (folder / '__init__.py').write_text(
    "from autoresearch_jax.registry import Registry\nTHINGS = Registry('thing', __name__)\n"
  )
  (folder / 'quick.py').write_text(MODULE.format(name='quick'))
  (folder / 'module.py').write_text(MODULE.format(name='cousin'))
  monkeypatch.syspath_prepend(tmp_path)
  yield __import__('package_under_test')
  for name in [name for name in sys.modules if name.startswith('package_under_test')]:
    del sys.modules[name]


def test_one_file_with_one_line_is_found(package):
  assert package.THINGS.get('quick').__module__ == 'package_under_test.quick'
  assert 'package_under_test.module' not in sys.modules
  assert package.THINGS.get('cousin').__module__ == 'package_under_test.module'
  assert package.THINGS.names() == ['cousin', 'quick']


def test_an_unknown_name_lists_the_whole_package(package):
  with pytest.raises(ValueError, match="no thing 'other'; there are: cousin, quick"):
    package.THINGS.get('other')


STRATEGY = """
import dataclasses
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Operation, Proposal

{decorator}
@dataclasses.dataclass(frozen=True)
class Last(Strategy):
  context: int = 3

  def init(self, objective):
    return ()

  def ask(self, state, rng):
    return Proposal(Operation.IMPROVE, state[-1:], context=state[-self.context :]), state

  def tell(self, state, trial):
    return (*state, trial.id)
"""


@pytest.mark.parametrize('decorator', ['', '@STRATEGIES.register("last")'])
def test_a_strategy_of_an_installed_package_is_found_by_its_entry_point(
  tmp_path, monkeypatch, decorator
):
  """An installed package is a folder on the path with its dist-info; this is a real one."""
  (tmp_path / 'package_of_test.py').write_text(STRATEGY.format(decorator=decorator))
  info = tmp_path / 'package_of_test-1.0.dist-info'
  info.mkdir()
  (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: package-of-test\nVersion: 1.0\n')
  (info / 'entry_points.txt').write_text(
    '[autoresearch_jax.strategy]\nlast = package_of_test:Last\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  try:
    assert 'last' in STRATEGIES.names()
    made = STRATEGIES.make('last', {'context': 2})
    assert type(made).__module__ == 'package_of_test'
    assert made == STRATEGIES.make('last', {'context': 2})
    proposals, state = play(made, [(types.Status.OK, True, 1.0)] * 5)
    assert proposals[-1].context == state[-3:-1]
    with pytest.raises(ValueError, match="strategy 'last' has no option 'size'; it has: context"):
      STRATEGIES.make('last', {'size': 2})
  finally:
    sys.modules.pop('package_of_test', None)
    STRATEGIES._classes.pop('last', None)
  monkeypatch.undo()
  assert 'last' not in STRATEGIES.names()


def test_a_broken_entry_point_is_a_sentence(tmp_path, monkeypatch):
  info = tmp_path / 'broken-1.0.dist-info'
  info.mkdir()
  (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n')
  (info / 'entry_points.txt').write_text('[autoresearch_jax.thing]\nbroken = not_there:Thing\n')
  monkeypatch.syspath_prepend(str(tmp_path))
  with pytest.raises(ValueError, match="thing 'broken' of another package cannot be loaded"):
    registry().get('broken')
