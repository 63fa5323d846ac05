"""The CUSUM over the incumbent's runs: it signals shifts, and seldom without one."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.acceptance.drift import DriftMonitor
from autoresearch_jax.acceptance.noise import NoiseState

NOISE = NoiseState(
  types.Objective('val_loss', 'minimize'), sum_of_squares=20.0, degrees_of_freedom=20
)


def runs_until_signal(values):
  """How many runs it takes; None if it never signals."""
  monitor = DriftMonitor()
  for number, value in enumerate(values, start=1):
    monitor = monitor.add(value, NOISE)
    if monitor.signals:
      return number
  return None


@pytest.mark.parametrize('sign', [1, -1])
def test_a_shift_of_three_deviations_is_found_within_a_few_runs(sign):
  rng, found = np.random.default_rng(0), []
  for _ in range(200):
    shifted = [*rng.normal(size=8), *(rng.normal(size=30) + 3 * sign)]
    found.append(runs_until_signal(shifted))
  delays = [number - 8 for number in found if number and number > 8]
  assert len(delays) > 190
  assert np.median(delays) <= 4


def test_without_a_shift_signals_are_rare():
  rng = np.random.default_rng(1)
  signals = [runs_until_signal(rng.normal(size=50)) is not None for _ in range(300)]
  assert np.mean(signals) < 0.25


def test_nothing_is_said_while_the_noise_is_unknown():
  monitor = DriftMonitor()
  for value in (1.0, 100.0, 1.0):
    monitor = monitor.add(value, NoiseState(NOISE.objective))
  assert not monitor.signals


@pytest.mark.parametrize('sign', [1, -1])
def test_the_time_of_the_change_is_estimated(sign):
  monitor = DriftMonitor()
  for value in (0.1, -0.2, 0.0, 0.1, *(5.0 * sign for _ in range(2))):
    assert not monitor.signals
    monitor = monitor.add(value, NOISE)
  assert monitor.warns and monitor.signals and monitor.excursion == 2
