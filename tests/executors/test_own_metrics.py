"""Metrics of the user's own: computed by the runner, and tried before they are believed."""

import concurrent.futures
import dataclasses
import importlib.metadata
import pathlib
import types

import numpy as np
import pytest
from helpers.example_files import NUMBERS, SAMPLE

from autoresearch_jax import ConfigError, run
from autoresearch_jax import __main__ as front
from autoresearch_jax.config import Limits, load
from autoresearch_jax.executors import own_metrics
from autoresearch_jax.problems.arrays import Arrays
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.runner.own_metrics import OwnMetricError, OwnMetrics, require_sensible
from autoresearch_jax.runner.server import handle
from autoresearch_jax.types import Budget, Cost, Measurement, Objective, Spec, Status

RIGHT, RANDOM = np.ones(4), [np.arange(4.0), -np.arange(4.0)]
FILE = """
import jax.numpy as jnp


def wrong(outputs, targets):
  return (outputs.argmax(axis=1) != targets).mean()


def right(outputs, targets):
  return (outputs.argmax(axis=1) == targets).mean()


def gap(outputs, targets):
  return jnp.abs(outputs - targets).mean()


def rows(outputs, targets):
  return outputs.sum(axis=1)
"""


def tried(function, direction='minimize'):
  require_sensible(
    [('val_x', direction)], lambda outputs: {'val_x': function(outputs)}, RIGHT, RANDOM
  )


def test_a_metric_that_tells_right_from_random_is_accepted():
  tried(lambda outputs: float(np.abs(outputs - 1).sum()))
  tried(lambda outputs: -float(np.abs(outputs - 1).sum()), 'maximize')


@pytest.mark.parametrize(
  ('function', 'direction', 'words'),
  [
    (lambda outputs: 1.0, 'minimize', 'alike'),
    (lambda outputs: float('nan'), 'minimize', 'finite'),
    (lambda outputs: float(np.random.default_rng().random()), 'minimize', 'pure function'),
    (lambda outputs: float(np.abs(outputs - 1).sum()), 'maximize', "to 'minimize'"),
    (lambda outputs: -float(np.abs(outputs - 1).sum()), 'minimize', "to 'maximize'"),
  ],
)
def test_others_are_refused(function, direction, words):
  with pytest.raises(OwnMetricError, match=words):
    tried(function, direction)


@pytest.mark.parametrize(
  ('values', 'constant', 'words'),
  [
    ([0.5, 0.4], 0.9, []),
    ([0.5, 0.4], 0.3, ['learns nothing']),
    ([0.5, 0.5], 0.9, ['on all 2 seeds']),
    ([0.5, 0.5], None, ['on all 2 seeds']),
  ],
)
def test_a_baseline_that_is_not_better_than_constant_predictions_is_doubted(
  dataset, tmp_path, values, constant, words
):
  dataset = dataclasses.replace(dataset, own_metrics_folder=str(tmp_path))
  if constant is not None:
    (tmp_path / own_metrics.CONSTANT).write_text(f'{{"val_gap": {constant}}}')
  runs = [Measurement(seed, {'val_gap': value}, Cost()) for seed, value in enumerate(values)]
  found = own_metrics.doubts_about_metric(dataset, Objective('val_gap', 'minimize'), runs)
  assert len(found) == len(words)
  assert all(word in doubt for word, doubt in zip(words, found, strict=True))


@pytest.fixture
def dataset(tmp_path):
  (tmp_path / 'costs.py').write_text(FILE)
  options = {'own_metrics_file': str(tmp_path / 'costs.py'), 'own_metrics': {'val_gap': 'minimize'}}
  return Arrays(str(NUMBERS), **options).prepare(tmp_path / 'cache', lambda line: None)


def exporting(monkeypatch, error=None):
  """Replaces tracer and runner by ones that write an artifact and raise `error`; what they did."""
  done = []

  def trace(self, program, spec, evaluation_batch, out):
    done.append(spec.platform)
    out.write_text('exported')
    return types.SimpleNamespace(status=Status.OK)

  def request(self, method, seconds):
    if error:
      raise error

  def process(**methods):
    idle = dict.fromkeys(('start', 'wait_until_ready', 'close'), lambda self: None)
    return type('Process', (), {**idle, '__init__': lambda self, *arguments: None, **methods})

  monkeypatch.setattr(own_metrics, 'TracerClient', process(trace=trace))
  monkeypatch.setattr(own_metrics, 'RunnerClient', process(request=request))
  return done


def required(dataset, platform='cpu'):
  spec = Spec('supervised', platform, 1, Budget(1, 'steps'), input_shape=(3,), output_shape=())
  return own_metrics.require_own_metrics(dataset, spec, Limits(), (), lambda line: None)


def test_each_platform_and_version_of_jax_has_its_own_export(dataset, monkeypatch):
  done = exporting(monkeypatch)
  first = required(dataset)
  assert required(dataset) == first and done == ['cpu', 'cpu']  # validation and test
  assert pathlib.Path(first.own_metrics_artifact(True)).read_text() == 'exported'
  assert required(dataset, 'gpu').own_metrics_folder != first.own_metrics_folder
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: '99.0')
  assert required(dataset).own_metrics_folder != first.own_metrics_folder
  assert done == ['cpu', 'cpu', 'gpu', 'gpu', 'cpu', 'cpu']
  assert required(dataset).fingerprint == first.fingerprint


def test_runs_that_start_together_export_once(dataset, monkeypatch):
  done = exporting(monkeypatch)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert len(set(pool.map(required, [dataset] * 4))) == 1
  assert done == ['cpu', 'cpu']


def test_a_refused_metric_leaves_no_export(dataset, monkeypatch):
  exporting(monkeypatch, RunnerError(Status.INVALID, 'It is constant.'))
  with pytest.raises(ConfigError, match='constant'):
    required(dataset)
  done = exporting(monkeypatch)
  required(dataset)
  assert done == ['cpu', 'cpu']


def test_a_lost_export_ends_the_run_and_blames_no_program(dataset):
  runner = types.SimpleNamespace(compile=OwnMetrics(dataset, Limits()).compile)
  reply = handle(runner, {'method': 'compile'}, lambda message: None)
  assert reply['ends_run'] and 'start a run with their config' in reply['reason']


@pytest.fixture
def config(tmp_path):
  assert front.main(['new', str(tmp_path / 'mine'), f'--data={SAMPLE}']) == 0
  (tmp_path / 'costs.py').write_text(FILE)
  config = load(str(tmp_path / 'mine' / 'config.py')).unlock()
  config.data.own_metrics_file = str(tmp_path / 'costs.py')
  config.constants = {'BLOCKS': 1, 'WIDTH': 8, 'HIDDEN': 8, 'BATCH_SIZE': 8}
  config.acceptance_options.baseline_seeds = 2
  return config


@pytest.mark.slow
def test_a_run_optimises_it_and_scores_it_on_both_splits(config, tmp_path):
  config.data.own_metrics = {'val_wrong': 'minimize', 'val_right': 'maximize'}
  config.metric = 'val_wrong'
  result = run(config, tmp_path / 'run', max_trials=1, budget__amount=20, say=lambda line: None)
  for measurement in result.baseline.result.measurements:
    metrics = measurement.metrics
    assert metrics['val_wrong'] == pytest.approx(metrics['val_error'])
    assert metrics['val_right'] == pytest.approx(metrics['val_accuracy'])


@pytest.mark.slow
def test_in_a_regression_it_sees_the_unit_of_the_targets(config, tmp_path):
  config.data.path = str(NUMBERS)
  config.data.own_metrics = {'val_gap': 'minimize'}
  config.metric = 'val_gap'
  result = run(config, tmp_path / 'run', max_trials=1, budget__amount=20, say=lambda line: None)
  metrics = result.baseline.result.measurements[0].metrics
  assert metrics['val_gap'] == pytest.approx(metrics['val_mae'], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('metrics', 'words'),
  [
    ({'val_right': 'minimize'}, 'would reward errors'),
    ({'val_rows': 'minimize'}, 'return a scalar'),
    ({'val_absent': 'minimize'}, 'absent'),
  ],
)
def test_a_metric_that_cannot_be_used_is_refused_before_the_run(config, metrics, words, tmp_path):
  config.data.own_metrics = metrics
  with pytest.raises(ConfigError, match=words):
    run(config, tmp_path / 'run', say=lambda line: None)
  assert not (tmp_path / 'run' / 'ledger.db').exists()
