"""The engine trains as a plain JAX loop does: CNNs one step a call, all others in a loop."""

import subprocess
import sys

import pytest
from helpers import ROOT

from autoresearch_jax.config import ConfigError, from_config_dict, load
from autoresearch_jax.measure.plain_sides import PlainSides, compare, sign_interval
from autoresearch_jax.programs.start import read_program, starting_program

STUDIES = ROOT / 'scripts' / 'studies' / 'step'


@pytest.fixture(scope='module')
def sides():
  with PlainSides(from_config_dict(load('digits'))) as sides:
    yield sides


@pytest.mark.slow
@pytest.mark.parametrize(
  ('folder', 'dispatch'), [('cnn', 'single'), ('muon', 'loop'), ('logistic', 'loop')]
)
def test_the_engine_trains_as_a_plain_loop_does(sides, folder, dispatch):
  program = read_program(sides.config, STUDIES / 'programs' / folder, '--program')
  found = compare(sides, program, pairs=1, steps=20)
  assert found.dispatch == [dispatch]
  assert found.losses[0] == pytest.approx(found.losses[1], rel=1e-4)
  assert found.ratio > 0 and f'{found.ratio:.3f}' in str(found)


@pytest.mark.slow
def test_large_batches_are_not_stacked(sides):
  text = starting_program(sides.config).text().replace('BATCH_SIZE = 32', 'BATCH_SIZE = 4096')
  found = compare(sides, starting_program(sides.config).with_text(text), pairs=1, steps=3)
  assert found.dispatch == ['single']
  assert found.losses[0] == pytest.approx(found.losses[1], rel=1e-5)


@pytest.mark.slow
def test_styles_of_states_optimizers_and_operations_train_alike():
  command = (STUDIES / 'styles.py', '--only=lbfgs,eigh,static_field,bfloat16', '--steps=5')
  ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stdout + ended.stderr
  assert '5 of 5 train on both sides' in ended.stdout


@pytest.mark.slow
def test_what_fails_on_either_side_is_a_sentence(sides):
  start = starting_program(sides.config)
  broken = start.with_text(
    start.text().replace('return State(model,', 'return 1 / 0, State(model,')
  )
  with pytest.raises(ConfigError, match='division'):
    compare(sides, broken, pairs=1, steps=2)


def test_the_interval_of_a_median_has_its_coverage():
  values = list(range(9))
  assert sign_interval(values) == (1, 7)  # outside: 2 * 10 / 512 = 0.039; (2, 6) has 0.18
  assert sign_interval(values[:6]) == (0, 5)
  assert sign_interval([3.0]) == (3.0, 3.0)
