"""The files of a program are those that it names, imports or opens, and no others."""

import pytest

from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.programs.siblings import with_siblings
from autoresearch_jax.programs.start import PROGRAMS, read_program


@pytest.fixture
def folder(tmp_path):
  def make(**files):
    for name, text in files.items():
      path = tmp_path / name.replace('__', '/').replace('_dot_', '.')
      path = path if path.suffix else path.with_suffix('.py')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text)
    return tmp_path

  return make


@pytest.mark.parametrize(
  ('line', 'found'),
  [
    ('import layers', {'layers.py'}),
    ('import parts.blocks', {'parts/__init__.py', 'parts/blocks.py', 'layers.py'}),
    ('from parts import blocks', {'parts/__init__.py', 'parts/blocks.py', 'layers.py'}),
    ('from .parts.blocks import x', {'parts/__init__.py', 'parts/blocks.py', 'layers.py'}),
    ('from . import layers', {'layers.py'}),
    ('def f():\n  from .layers import x', {'layers.py'}),
    ('import importlib\nimportlib.import_module("layers")', {'layers.py'}),
    ('import importlib\nimportlib.import_module(".layers", __package__)', {'layers.py'}),
    ('open("notes.txt")', {'notes.txt'}),
    ('import jax, layers as l', {'layers.py'}),
    ('import jax', set()),
    ('from .. import layers', set()),
    ('import (', set()),
    ('open("../secret.txt")', set()),
  ],
)
def test_what_is_imported_belongs_to_the_program(folder, line, found):
  directory = folder(
    model=line,
    layers='WIDTH = 3',
    unused='x = 1',
    notes_dot_txt='1 2 3',
    parts__blocks='from ..layers import WIDTH',
  )
  (directory / 'parts' / '__init__.py').write_text('')
  assert set(with_siblings(directory, ('model.py',))) == {'model.py'} | found


def test_they_are_in_the_snapshot_and_its_digest(folder):
  config = from_config_dict(load('digits'))
  directory = folder(model='from .layers import dense\n', layers='WIDTH = 3\n')
  first = read_program(config, directory, '--program')
  assert dict(first.files)['layers.py'] == 'WIDTH = 3\n'
  assert 'layers.py' not in config.editable
  folder(layers='WIDTH = 4\n')
  assert read_program(config, directory, '--program').digest != first.digest


@pytest.mark.parametrize('name', ['gpt', 'mlp', 'packing'])
def test_the_shipped_programs_are_one_file(name):
  assert with_siblings(PROGRAMS / name, ('model.py',)) == ('model.py',)
