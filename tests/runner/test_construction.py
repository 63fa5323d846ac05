"""Constructions in the runner: no data, and a verifier where others have a validation split."""

import dataclasses
import pathlib

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.problems.packing import Packing
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import Budget, Measurement, Spec, Status

pytestmark = pytest.mark.slow

STEPS = Budget(10, 'steps')
SPEC = Spec('construction', 'cpu', 1, STEPS, output_shape=(2, 3))
# Two circles side by side whose radii grow by a hundredth each step, until they touch and beyond.
GROWING = """
import jax.numpy as jnp
BATCH_SIZE = 3

def init(key, spec):
  return {'radius': jnp.float32(0.2), 'count': spec.output_shape[0]}

def train_step(state, batch, progress):
  assert batch['inputs'].shape == batch['targets'].shape == (0,)
  radius = state['radius'] + 0.01
  return {**state, 'radius': radius}, {'loss': -radius}

def predict(state, inputs):
  x = jnp.array([0.25, 0.75])
  return jnp.stack([x, jnp.full(2, 0.5), jnp.full(2, state['radius'])], axis=1)
"""


@pytest.fixture(scope='module')
def setup(tmp_path_factory) -> RunnerSetup:
  dataset = Packing(circles=2).prepare(pathlib.Path(), lambda text: None)
  return RunnerSetup('cpu', dataset, Limits(step_seconds=20), str(tmp_path_factory.mktemp('cache')))


@pytest.fixture(scope='module')
def runner(setup) -> TrainingRunner:
  return TrainingRunner(setup)


def export(text: str, folder: pathlib.Path) -> str:
  (folder / 'model.py').write_text(text)
  export_program(folder, 'model.py', SPEC, evaluation_batch=0).write(folder / 'artifact')
  return str(folder / 'artifact')


def run(runner: TrainingRunner, text: str, folder: pathlib.Path, budget=STEPS) -> Measurement:
  runner.load(export(text, folder))
  runner.compile()
  return runner.run(0, budget, lambda *news: None)['measurement']


def test_what_predict_builds_is_what_is_scored(runner, tmp_path):
  before = run(runner, GROWING, tmp_path, Budget(1, 'steps'))
  assert before.metrics['sum_of_radii'] == pytest.approx(0.42)
  after = runner.run(0, STEPS, lambda *news: None)['measurement']
  assert after.metrics['sum_of_radii'] == pytest.approx(0.5)
  assert after.metrics['sum_of_radii'] < 0.5
  assert after.metrics['largest_cut'] == pytest.approx(1 / 6)
  assert after.metrics['train_loss'] == pytest.approx(-0.3)
  assert (after.cost.steps, after.cost.tokens) == (10, 30)
  assert after.cost.compilations_in_clock == 0


def test_a_budget_in_seconds_and_phases_work_without_data(runner, tmp_path):
  phases = """
from autoresearch_jax.programs.contract import Phase
def phases(spec):
  return [Phase(0.5, 3), Phase(1.0, 5)]
"""
  cost = run(runner, GROWING + phases, tmp_path, STEPS).cost
  assert cost.tokens == 5 * 3 + 5 * 5
  timed = runner.run(0, Budget(0.1, 'seconds'), lambda *news: None)['measurement'].cost
  assert 0.1 <= timed.training_seconds < 0.2 and timed.steps > 10


@pytest.mark.parametrize(
  ('edit', 'sentence'),
  [
    ("  state = {**state, 'radius': jnp.nan * state['radius']}\n", 'Circle 0 .* not finite'),
    ("  state = {**state, 'radius': -state['radius']}\n", 'Circle 0 .* negative radius'),
  ],
)
def test_what_is_no_packing_is_invalid(runner, tmp_path, edit, sentence):
  start, end = GROWING.split('  x = jnp.array')
  with pytest.raises(RunnerError, match=sentence) as failed:
    run(runner, f'{start}{edit}  x = jnp.array{end}', tmp_path)
  assert failed.value.status == Status.INVALID


def test_predict_shows_the_construction_and_does_not_go_on_with_it(runner, tmp_path):
  """Here it would grow the circles in millions of small steps, after the clock has stopped."""
  more = "  state = {'radius': jax.lax.fori_loop(0, 3_000_000, grown, state['radius'])}\n"
  start, end = GROWING.split('  x = jnp.array')
  grown = 'jnp.minimum(radius + 1e-6 * jnp.sin(radius), 0.25)'
  with pytest.raises(RunnerError, match=r'`predict` takes .* the limit is .*train_step') as failed:
    run(
      runner,
      f'{start}{more}  x = jnp.array{end}\nimport jax\ngrown = lambda i, radius: {grown}',
      tmp_path,
    )
  assert failed.value.status == Status.INVALID


def test_another_shape_is_refused_when_it_is_traced(tmp_path):
  text = GROWING.replace('axis=1)', 'axis=0)')
  sentence = r'model\.py:13: predict returns shape \[3, 2\].*return spec\.output_shape = \[2, 3\]'
  with pytest.raises(ContractError, match=sentence):
    export(text, tmp_path)


def test_an_unknown_verifier_is_named(setup, tmp_path):
  dataset = dataclasses.replace(setup.dataset, verifier='cubes')
  with pytest.raises(ValueError, match=r"no verifier 'cubes'; there are: .*packing"):
    run(TrainingRunner(dataclasses.replace(setup, dataset=dataset)), GROWING, tmp_path)


def test_two_devices_need_no_batch_that_divides(setup, runner, tmp_path, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  both = RunnerClient(setup, tmp_path / 'log')
  both.start()
  try:
    assert both.wait_until_ready()['num_devices'] == 2
    both.request('load', 60, artifact=export(GROWING, tmp_path))
    both.request('compile', 60)
    on_two = both.request('run', 60, seed=0, budget=STEPS)['measurement']['metrics']
  finally:
    both.close()
  assert on_two == run(runner, GROWING, tmp_path).metrics
