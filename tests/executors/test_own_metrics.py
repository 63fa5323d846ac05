"""Metrics of the user's own: computed by the runner, and tried before they are believed."""

import numpy as np
import pytest
from helpers.example_files import NUMBERS, SAMPLE

from autoresearch_jax import ConfigError, run
from autoresearch_jax import __main__ as front
from autoresearch_jax.config import load
from autoresearch_jax.runner.own_metrics import OwnMetricError, require_sensible

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
