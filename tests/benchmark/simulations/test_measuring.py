"""Deviates and fidelity: the documented amounts."""

import numpy as np
import pytest

from autoresearch_jax.benchmark.simulations.measuring import (
  BIAS,
  SHIFT,
  Evaluation,
  MeasurementModel,
  deviates,
)
from autoresearch_jax.types import Budget, Objective, Program, TrialRequest

PROGRAM = Program((('model.py', ''),), 'model.py')


def metrics(meter, fingerprint, budget, made):
  request = TrialRequest(0, PROGRAM, (0,), Budget(budget))
  return meter.result(request, made, fingerprint).measurements[0].metrics


def test_deviates_are_standard_normal_and_independent():
  drawn = np.array([deviates(str(i), 4) for i in range(4000)])
  assert drawn.mean() == pytest.approx(0, abs=0.03)
  assert drawn.std() == pytest.approx(1, abs=0.02)
  assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
  assert deviates('a', 1) == deviates('a', 1) != deviates('b', 1)


@pytest.mark.parametrize('direction', ['minimize', 'maximize'])
@pytest.mark.parametrize(('budget', 'misled'), [(0.25, 1.0), (1 / 9, 2.0), (0.01, 9.0)])
def test_a_cut_budget_shifts_for_the_worse_and_misleads(direction, budget, misled):
  meter = MeasurementModel('x/0', Objective('m', direction), scale=2.0)
  made = Evaluation(5.0, (1.0, 4.0))
  values = [metrics(meter, str(i), budget, made)['m'] for i in range(2000)]
  worse = np.array(values) - 5 if direction == 'minimize' else 5 - np.array(values)
  assert worse.mean() == pytest.approx(2 * (1 - budget) * SHIFT, abs=0.02 * misled)
  assert worse.std() == pytest.approx(2 * misled * BIAS, rel=0.05)
  assert metrics(meter, 'a', 1.0, made) == {'m': 5.0, 'part_0': 1.0, 'part_1': 4.0}


def test_noise_has_the_deviation_that_was_given_however_many_parts():
  meter = MeasurementModel('x/0', Objective('m', 'minimize'), scale=1.0)
  for parts in ((), (1.0, 1.0, 1.0, 1.0)):
    made = Evaluation(4.0, parts, deviation=0.5)
    values = [metrics(meter, str(i), 1.0, made)['m'] for i in range(3000)]
    assert np.mean(values) == pytest.approx(4, abs=0.03)
    assert np.std(values) == pytest.approx(0.5, rel=0.05)
