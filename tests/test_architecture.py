"""The shape of the package: no import circles, no class name twice, documented folders.

Which folder may import which is import-linter's to check, see pyproject.toml.
"""

import ast
import collections
import graphlib
import pathlib

import grimp
import pytest
from helpers import ROOT

PACKAGE = ROOT / 'autoresearch_jax'
ROOT_MODULES = {'__main__', 'clock', 'main', 'messages'}


def files() -> list[pathlib.Path]:
  return sorted(PACKAGE.rglob('*.py'))


def test_no_two_modules_import_each_other_directly_or_around_a_corner():
  graph = grimp.build_graph('autoresearch_jax', cache_dir=None)
  imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
  graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_no_class_name_stands_for_two_things():
  places = collections.defaultdict(list)
  for path in files():
    if path.match('programs/*/model.py'):  # what gets rewritten, no part of the library
      continue
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.ClassDef):
        places[node.name].append(path.relative_to(PACKAGE).as_posix())
  assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_root_has_the_shared_modules_and_the_entry_points_alone():
  assert {path.stem for path in PACKAGE.glob('*.py')} - {'__init__'} == ROOT_MODULES


@pytest.mark.parametrize(
  'folder', sorted({path.parent for path in files()}), ids=lambda path: path.name
)
def test_every_folder_says_what_lives_there(folder):
  if folder == PACKAGE:
    return
  module = folder / '__init__.py'
  assert module.is_file(), f'{folder} has no __init__.py'
  assert len(ast.get_docstring(ast.parse(module.read_text())) or '') > 20


def test_former_names_of_options_stand_in_one_table():
  """`registry/renamed.py`: messages and old ledgers both go by it."""
  decorated = [path.name for path in files() if 'renamed_options=' in path.read_text()]
  assert decorated == []


@pytest.mark.parametrize('folder', ['autoresearch_jax', 'configs'])
def test_bounds_are_called_minimum_and_maximum(folder):
  words = ('MOST_', 'most_', 'LEAST_', 'least_')
  found = [
    f'{path}:{node.lineno}: {name}'
    for path in (ROOT / folder).rglob('*.py')
    for node in ast.walk(ast.parse(path.read_text()))
    for name in [getattr(node, 'id', None) or getattr(node, 'arg', None) or '']
    if isinstance(name, str) and name.lstrip('_').startswith(words)
  ]
  assert found == []
