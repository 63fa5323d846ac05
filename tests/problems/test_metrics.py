"""Metrics by name: the values of scikit-learn's, on scores with and without ties."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from autoresearch_jax.problems import metrics
from autoresearch_jax.types import Dataset


def measured(outputs, targets, **options):
  names = (
    metrics.regression_metrics()
    if targets.dtype.kind == 'f'
    else metrics.classification_metrics(outputs.shape[1], (2, 5))
  )
  return metrics.measure(Dataset('supervised', metrics=tuple(names), **options), outputs, targets)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('classes', [2, 3, 7])
def test_classification(classes, ties):
  rng = np.random.default_rng(classes)
  targets = rng.integers(0, classes, 200).astype(np.int32)
  logits = rng.normal(size=(200, classes)) + 2 * np.eye(classes)[targets]
  logits = (np.round(logits) if ties else logits).astype(np.float32)
  found = measured(logits, targets)
  shares = np.exp(logits.astype(float))
  shares /= shares.sum(axis=1, keepdims=True)
  predicted = logits.argmax(axis=1)
  one_hot = np.eye(classes)[targets]
  expected = {
    'val_loss': reference.log_loss(targets, shares),
    'val_accuracy': reference.accuracy_score(targets, predicted),
    'val_error': 1 - reference.accuracy_score(targets, predicted),
    'val_brier': ((shares - one_hot) ** 2).sum(axis=1).mean(),
    'val_auroc': reference.roc_auc_score(targets, logits[:, 1] - logits[:, 0])
    if classes == 2
    else reference.roc_auc_score(one_hot, np.log(shares).round(9), average='macro'),
    'val_f1': reference.f1_score(targets, predicted, average='binary' if classes == 2 else 'macro'),
  }
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, rel=1e-6), name
  for k in (2, 5):
    name = f'val_top{k}_accuracy'
    assert (name in found) == (k < classes)
    if k < classes and not ties:
      value = reference.top_k_accuracy_score(targets, logits, k=k)
      assert found[name] == pytest.approx(value)


def test_constant_scores_are_worth_nothing():
  targets = np.arange(30, dtype=np.int32) % 6
  found = measured(np.zeros((30, 6), np.float32), targets)
  assert found['val_auroc'] == 0.5 and found['val_top5_accuracy'] == 0
  assert found['val_loss'] == pytest.approx(math.log(6))


def test_regression_in_the_unit_of_the_targets():
  rng = np.random.default_rng(0)
  targets = rng.normal(100, [5, 20], (50, 2))
  outputs = targets + rng.normal(size=(50, 2))
  mean, std = targets.mean(0), targets.std(0)
  found = measured(
    ((outputs - mean) / std).astype(np.float32),
    ((targets - mean) / std).astype(np.float32),
    target_mean=tuple(mean),
    target_std=tuple(std),
  )
  expected = {
    'val_mse': reference.mean_squared_error(targets, outputs),
    'val_rmse': math.sqrt(reference.mean_squared_error(targets, outputs)),
    'val_mae': reference.mean_absolute_error(targets, outputs),
    'val_r2': reference.r2_score(targets, outputs),
  }
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, rel=1e-4), name
  assert found['val_loss'] == found['val_mse']


def test_an_output_that_is_no_number_makes_every_metric_one():
  logits = np.zeros((4, 3), np.float32)
  logits[2, 1] = np.nan
  assert all(map(math.isnan, measured(logits, np.zeros(4, np.int32)).values()))


def test_classes_that_are_absent_are_left_out():
  targets = np.array([0, 1, 0, 1], np.int32)
  logits = np.eye(4, dtype=np.float32)[targets]
  assert measured(logits, targets)['val_auroc'] == 1.0
  assert math.isnan(measured(logits, np.zeros(4, np.int32))['val_auroc'])
