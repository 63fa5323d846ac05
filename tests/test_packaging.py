"""What is installed: the package alone, with its configs and data files, and the command."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT

SOURCES = ('autoresearch_jax', 'configs', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """A wheel of this checkout, opened; built from a copy, since a build leaves files behind."""
  source = tmp_path_factory.mktemp('source')
  for name in SOURCES:
    path = ROOT / name
    if path.is_dir():
      shutil.copytree(path, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    else:
      shutil.copy2(path, source / name)
  command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
  subprocess.run([*command, f'--wheel-dir={source}/out', str(source)], check=True)
  (made,) = (source / 'out').glob('autoresearch_jax-*.whl')
  with zipfile.ZipFile(made) as opened:
    yield opened


@pytest.mark.slow
def test_one_package_is_installed_and_no_other(wheel):
  tops = {name.partition('/')[0] for name in wheel.namelist()}
  assert {top for top in tops if not top.endswith('.dist-info')} == {'autoresearch_jax'}


@pytest.mark.slow
def test_configs_and_data_files_are_inside(wheel):
  names = set(wheel.namelist())
  for path in (ROOT / 'configs').glob('*.py'):
    assert f'autoresearch_jax/configs/{path.name}' in names
  assert 'autoresearch_jax/py.typed' in names
  kept = [
    *(ROOT / 'autoresearch_jax').rglob('role_files/*.md'),
    *(ROOT / 'autoresearch_jax').rglob('templates/*.md'),
    *(ROOT / 'autoresearch_jax/benchmark/simulations').rglob('*.csv'),
    *(ROOT / 'autoresearch_jax/benchmark/simulations').rglob('*.npz'),
    *(ROOT / 'autoresearch_jax').rglob('*.py'),
  ]
  assert {path.relative_to(ROOT).as_posix() for path in kept} <= names


@pytest.mark.slow
def test_the_console_script_is_declared(wheel):
  (entry,) = (name for name in wheel.namelist() if name.endswith('entry_points.txt'))
  assert 'autoresearch = autoresearch_jax.__main__:main' in wheel.read(entry).decode()
