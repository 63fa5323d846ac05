"""By which metrics trials are compared in several ways."""

import dataclasses

from autoresearch_jax import types
from autoresearch_jax.search.instance_scores import instance_scores
from autoresearch_jax.testing.strategies import baseline


def measured(*runs):
  trial = baseline()
  measurements = tuple(types.Measurement(n, run, types.Cost()) for n, run in enumerate(runs))
  return dataclasses.replace(
    trial, result=dataclasses.replace(trial.result, measurements=measurements)
  )


def test_the_objective_and_its_parts_by_default_larger_is_better():
  trial = measured({'loss': 1.0, 'part_b': 2.0, 'part_a': 3.0, 'speed': 9.0})
  parts = instance_scores(types.Objective('loss', 'minimize'), trial)
  assert parts == {'loss': -1.0, 'part_a': -3.0, 'part_b': -2.0}
  assert list(parts) == ['loss', 'part_a', 'part_b']


def test_named_metrics_have_their_own_directions_and_the_mean_over_seeds_counts():
  trial = measured({'loss': 1.0, 'speed': 9.0}, {'loss': 2.0, 'speed': 11.0})
  named = {'speed': 'maximize', 'loss': 'minimize', 'absent': 'minimize'}
  assert instance_scores(types.Objective('loss', 'minimize'), trial, named) == {
    'speed': 10,
    'loss': -1.5,
  }


def test_what_is_not_finite_is_left_out():
  trial = measured({'loss': 1.0, 'part_a': float('inf'), 'part_b': float('nan')})
  assert instance_scores(types.Objective('loss', 'minimize'), trial) == {'loss': -1.0}
