"""Training ends when the validation loss reaches the budget's target, and what it took counts."""

import math

import pytest
from helpers.tiny_language import SPEC, TIME, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.target import MARGIN, NUM_CHECKS, TargetMonitor
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import Budget

BATCH, LIMIT = 8, 200
TARGET = 1.4  # nats per token; 2.77 before training, 0.94 after 200 steps


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
  folder = tmp_path_factory.mktemp('target')
  (folder / 'model.py').write_text(program(batch=BATCH, step='gradient = gradient / 4'))
  export_program(folder, 'model.py', SPEC, evaluation_batch=16).write(folder / 'artifact')
  (folder / 'data').mkdir()
  dataset = make_dataset(folder / 'data')
  made = TrainingRunner(RunnerSetup('cpu', dataset, Limits(), str(folder / 'cache')))
  made.load(str(folder / 'artifact'))
  made.compile()
  return made


def metrics(runner, target_loss, **options):
  budget = Budget(LIMIT, 'steps', target_loss=target_loss)
  return runner.run(0, budget, lambda *news: None, **options)['measurement'].metrics


def test_training_ends_at_the_first_check_that_has_the_target(runner):
  found = metrics(runner, TARGET)
  assert found['val_loss'] <= TARGET
  assert 0 < found['steps'] < LIMIT and found['steps'] % (LIMIT / NUM_CHECKS) == 0
  assert found['tokens'] == found['steps'] * BATCH * TIME
  assert found['training_seconds'] > 0 and found['flops'] > 0
  assert found['steps'] < metrics(runner, TARGET - 0.1)['steps']


def test_a_run_that_misses_the_target_has_failed(runner):
  with pytest.raises(RunnerError, match=r'val_loss was 0\.\d+ .* 200 steps, .* target is 0\.5'):
    metrics(runner, 0.5)


def test_the_test_split_is_scored_where_the_validation_split_reached_it(runner):
  found, before = metrics(runner, TARGET, on_test=True), metrics(runner, TARGET)
  assert found['test_steps'] == before['steps'] and 'test_loss' in found
  assert not any(name.startswith('val_') for name in found)


def test_a_budget_without_a_target_is_trained_as_a_whole(runner):
  assert 'steps' not in metrics(runner, None)


def test_the_whole_split_is_scored_where_half_of_the_way_is_done_and_near_the_target():
  scored = []

  def validation_loss(loss):
    scored.append(loss)
    return loss + 0.5  # the fixed batch is easier than the rest

  monitor = TargetMonitor(2.0, lambda loss: loss, validation_loss)
  fixed = [4.0, 3.0, 2.7, 2.2, 1.53, 1.6, 1.5 + MARGIN, 1.5]
  assert [monitor.check(loss) for loss in fixed] == [False] * 7 + [True]
  assert scored == [4.0, 2.7, 1.53, 1.5 + MARGIN, 1.5]
  assert monitor.check_end(1.0) and scored[-1] == 1.0
  never = TargetMonitor(2.0, lambda loss: loss, lambda loss: loss)
  assert not never.check(math.nan) and not never.check_end(math.nan)
