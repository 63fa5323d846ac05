"""`autoresearch measure`: the help text of each measurement, and unknown names."""

import pathlib
import subprocess
import sys

import pytest

from autoresearch_jax import measure
from autoresearch_jax.cli.measure import MEASUREMENTS, main


@pytest.mark.parametrize('name', ['overhead', 'profile', 'slots', 'steps', 'utilization'])
def test_each_measurement_explains_its_options(name):
  command = [sys.executable, '-m', 'autoresearch_jax', 'measure', name, '--help']
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.startswith(f'Usage: autoresearch measure {name} [OPTIONS]\n')
  options = done.stdout.partition('\nOptions:\n')[2].splitlines()
  assert all(len(line) <= 100 for line in options)
  assert options[0].startswith('  --') and options[-1].split()[0] == '--help'
  for raw in ('(default:', '--[no]', 'autoresearch_jax.measure.', '<cpu|gpu|tpu>'):
    assert raw not in done.stdout


def test_every_listed_measurement_is_a_module():
  folder = pathlib.Path(measure.__file__).parent
  assert all((folder / f'{name}.py').is_file() for name in MEASUREMENTS)


def test_an_unknown_measurement_is_refused_with_the_nearest_name(capsys):
  assert main(['overhed']) == 2
  assert 'did you mean overhead?' in capsys.readouterr().err
