"""A training run that is lost continues from its checkpoint as if nothing had happened."""

import pathlib
import shutil

import jax
import numpy as np
import pytest
from helpers.tiny_language import SPEC, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner import train as training
from autoresearch_jax.runner.checkpoint import Checkpointer, restored_leaves
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import Budget, CheckpointPlan, PruningRung

pytestmark = pytest.mark.slow

STEPS = Budget(40, 'steps')
RUNGS = (PruningRung(0.1), PruningRung(0.5), PruningRung(0.9))
SLOW = 'gradient = jax.lax.fori_loop(0, 4000, lambda i, g: g + 1e-9 * jnp.sin(g @ g), gradient)'


class Lost(Exception):
  """The process of the run is gone."""


@pytest.fixture(scope='module')
def setup(tmp_path_factory):
  dataset = make_dataset(tmp_path_factory.mktemp('data'))
  return RunnerSetup('cpu', dataset, Limits(step_seconds=60), str(tmp_path_factory.mktemp('cache')))


@pytest.fixture(scope='module')
def runner(setup):
  return TrainingRunner(setup)


@pytest.fixture
def one_step_a_call(monkeypatch):
  monkeypatch.setattr(training, 'CALL_SECONDS', 1e-9)


def export(text, folder):
  (folder / 'program').mkdir()
  (folder / 'program' / 'model.py').write_text(text)
  artifact = export_program(folder / 'program', 'model.py', SPEC, evaluation_batch=16)
  artifact.write(folder / 'program.artifact')
  return str(folder / 'program.artifact')


def plan(folder, seconds=0.0):
  return CheckpointPlan(str(folder / 'checkpoints'), seconds)


def lost_at(step):
  def on_progress(fraction, at, loss, phase='train'):
    if at >= step and phase == 'train':
      raise Lost

  return on_progress


@pytest.mark.parametrize('budget', [STEPS, Budget(40 * 8 * 32, 'tokens')])
def test_a_lost_run_goes_on_to_the_bit(runner, tmp_path, one_step_a_call, budget):
  runner.load(export(program(), tmp_path))
  runner.compile()
  whole = runner.run(5, budget, lambda *news: None, rungs=RUNGS)
  for step in (13, 27):  # twice, before and after a rung
    with pytest.raises(Lost):
      runner.run(5, budget, lost_at(step), rungs=RUNGS, checkpoint=plan(tmp_path))
  steps = []
  resumed = runner.run(
    5, budget, lambda _, step, *rest: steps.append(step), rungs=RUNGS, checkpoint=plan(tmp_path)
  )
  assert min(steps) > 13
  assert resumed['measurement'].metrics == whole['measurement'].metrics
  cost, before = resumed['measurement'].cost, whole['measurement'].cost
  assert (cost.steps, cost.tokens, cost.flops) == (before.steps, before.tokens, before.flops)
  assert resumed['curve'] == whole['curve'] and len(whole['curve']) > 10
  assert [list(look) for look in resumed['rungs']] == [list(look) for look in whole['rungs']]
  assert cost.compilations_in_clock == 0


def test_training_time_before_the_loss_counts(runner, tmp_path, one_step_a_call):
  runner.load(export(program(step=SLOW), tmp_path))
  runner.compile()
  with pytest.raises(Lost):
    runner.run(0, STEPS, lost_at(30), checkpoint=plan(tmp_path))
  before = Checkpointer(plan(tmp_path)).resumed.clock['wall_seconds']
  resumed = runner.run(0, STEPS, lambda *news: None, checkpoint=plan(tmp_path))
  assert resumed['measurement'].cost.training_seconds > before > 0


def test_a_budget_in_seconds_is_used_up_in_all(runner, tmp_path, one_step_a_call):
  runner.load(export(program(step=SLOW), tmp_path))
  runner.compile()
  budget, steps = Budget(1.0, 'seconds'), []

  def lose(fraction, *rest):
    if fraction > 0.5:
      raise Lost

  with pytest.raises(Lost):
    runner.run(0, budget, lose, checkpoint=plan(tmp_path))
  saved = Checkpointer(plan(tmp_path)).resumed
  assert 0 < saved.clock['seconds'] < 1.0
  for _ in range(9):
    try:
      done = runner.run(
        0, budget, lambda _, step, *rest: steps.append(step), checkpoint=plan(tmp_path)
      )
      break
    except RunnerError as error:  # a busy machine's stop is no fault of the program
      assert error.retryable
  assert steps[0] > saved.steps
  assert done['measurement'].cost.training_seconds > saved.clock['seconds']


def test_a_short_run_is_not_saved(runner, tmp_path):
  runner.load(export(program(), tmp_path))
  runner.compile()
  runner.run(0, STEPS, lambda *news: None, checkpoint=plan(tmp_path, 300.0))
  assert not (tmp_path / 'checkpoints').exists()


def test_a_damaged_checkpoint_is_passed_over(runner, tmp_path, one_step_a_call):
  runner.load(export(program(), tmp_path))
  runner.compile()
  with pytest.raises(Lost):
    runner.run(0, STEPS, lost_at(20), checkpoint=plan(tmp_path))
  *_, last = sorted((tmp_path / 'checkpoints').iterdir(), key=lambda path: int(path.name))
  shutil.rmtree(last / 'leaves')
  resumed = Checkpointer(plan(tmp_path)).resumed
  assert resumed is not None and resumed.steps < int(last.name)


def test_a_run_that_cannot_be_saved_goes_on(runner, tmp_path, one_step_a_call, capsys):
  (tmp_path / 'checkpoints').write_text('a file where a folder should be')
  runner.load(export(program(), tmp_path))
  runner.compile()
  done = runner.run(0, STEPS, lambda *news: None, checkpoint=plan(tmp_path))
  assert done['measurement'].cost.steps == 40
  assert 'No checkpoint can be written' in capsys.readouterr().out


def test_saved_by_a_killed_process_on_two_devices_and_continued_on_one(
  setup, runner, tmp_path, monkeypatch
):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  both, budget = RunnerClient(setup, tmp_path / 'log'), Budget(300, 'steps')
  path = export(program(step=SLOW), tmp_path)
  folder = pathlib.Path(plan(tmp_path).folder)

  def kill_once_saved(progress):
    del progress
    if any(folder.glob('*/commit_success.txt')):
      both.kill()

  both.start()
  try:
    assert both.wait_until_ready()['num_devices'] == 2
    both.request('load', 60, artifact=path)
    both.request('compile', 60)
    with pytest.raises(RunnerError):
      both.request(
        'run', 60, kill_once_saved, seed=3, budget=budget, checkpoint=plan(tmp_path, 0.1)
      )
  finally:
    both.close()
  saved = Checkpointer(plan(tmp_path)).resumed
  assert 0 < saved.steps < 300
  runner.load(path)
  runner.compile()
  steps = []
  resumed = runner.run(
    3, budget, lambda _, step, *rest: steps.append(step), checkpoint=plan(tmp_path)
  )
  assert min(steps) > saved.steps
  whole = runner.run(3, budget, lambda *news: None)['measurement'].metrics
  assert resumed['measurement'].metrics == pytest.approx(whole, rel=1e-4)


def test_a_long_run_is_saved_when_its_process_is_asked_to_end(setup, tmp_path):
  client, path = RunnerClient(setup, tmp_path / 'log'), export(program(step=SLOW), tmp_path)
  client.soft_end_seconds = 100.0  # as on an accelerator, with patience for a busy machine
  long = plan(tmp_path, 60.0)  # so none is due by itself
  client.start()
  try:
    client.wait_until_ready()
    client.request('load', 60, artifact=path)
    client.request('compile', 60)
    process = client._process
    with pytest.raises(RunnerError):
      client.request(
        'run', 60, lambda _: client.kill(), seed=3, budget=Budget(1e6, 'steps'), checkpoint=long
      )
  finally:
    client.close()
  assert process.wait() == 0  # not a signal
  saved = Checkpointer(long).resumed
  assert saved is not None and 0 < saved.steps < 1e6


def test_leaves_of_another_program_are_refused():
  leaves = [jax.numpy.zeros((2, 3)), jax.numpy.zeros((0,))]
  (first, empty) = restored_leaves(leaves, [np.ones((2, 3), np.float32)])
  assert first.sum() == 6 and empty.size == 0
  for other in ([np.ones((3, 2), np.float32)], [], [np.ones((2, 3), np.int32)]):
    with pytest.raises(ValueError, match='checkpoint has'):
      restored_leaves(leaves, other)
