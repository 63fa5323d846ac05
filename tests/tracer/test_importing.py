"""Files of a program import each other, absolutely and relatively, as one module each."""

import pytest

from autoresearch_jax.types import Program

pytestmark = pytest.mark.slow

LAYERS = 'SCALE = 2.0\ndef dense(x, w):\n  return SCALE * (x @ w)\n'


@pytest.fixture
def traced(trace, edit, spec, tmp_path):
  """Traces the small program with lines at its top, next to other files; its status and reason."""

  def run(lines, entry='model.py', **others):
    text = edit(('import jax.numpy as jnp\n', f'import jax.numpy as jnp\n{lines}\n'))
    files = {entry: text, **{name.replace('__', '/') + '.py': t for name, t in others.items()}}
    out = tmp_path / 'artifact'
    return trace.tracer.trace(Program(tuple(files.items()), entry), spec, 5, out)

  return run


@pytest.mark.parametrize(
  'lines',
  [
    'import layers\nlayers.dense',
    'from layers import dense',
    'from .layers import dense',
    'from . import layers\nlayers.dense',
    'import importlib\nimportlib.import_module("layers").dense',
    'import layers\nfrom . import layers as other\nassert layers is other',
  ],
)
def test_a_file_next_to_the_entry_is_imported(traced, lines):
  result = traced(lines, layers=LAYERS)
  assert result.status == 'ok', result.reason


def test_packages_and_files_that_import_each_other(traced):
  lines = 'from .parts.layers import dense\nimport parts.layers as same\nassert same.dense is dense'
  result = traced(lines, parts__layers=f'from ..sizes import WIDTH\n{LAYERS}', sizes='WIDTH = 3\n')
  assert result.status == 'ok', result.reason
  assert traced('import layers', layers=f'import model\n{LAYERS}').status == 'ok'


def test_an_entry_in_a_folder_imports_its_neighbours_and_what_is_above(traced):
  lines = 'import layers\nfrom .layers import dense\nfrom ..sizes import WIDTH\nimport sizes'
  result = traced(lines, 'src/model.py', src__layers=LAYERS, sizes='WIDTH = 3\n')
  assert result.status == 'ok', result.reason


def test_a_mistake_in_another_file_has_its_place(traced):
  result = traced('import layers', layers=f'{LAYERS}WIDTH = 1 / 0\n')
  assert result.reason.startswith('layers.py:4: ZeroDivisionError'), result.reason
