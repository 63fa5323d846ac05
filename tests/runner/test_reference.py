"""The calibrated clock, on a simulated machine whose speed is a function of time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.runner.reference import (
  MAX_SHARE,
  MIN_SHARE,
  CalibratedClock,
  Reference,
)

TICK = 1e-3  # seconds of simulated time between two changes of speed


class Machine:
  """Simulated time. `work(seconds)` takes as long as the machine is slow meanwhile."""

  def __init__(self, speed):
    self.time, self.speed = 0.0, speed

  def now(self):
    return self.time

  def work(self, seconds):
    """Does what takes so many seconds at speed 1."""
    while seconds > 0:
      done = min(seconds, TICK * self.speed(self.time))
      self.time += done / self.speed(self.time)
      seconds -= done


def calibrated(machine, step_seconds=0.02, budget=12.0, nominal=None, tolerance=0.0):
  reference = Reference(
    lambda steps: machine.work(steps * step_seconds), 64, nominal or step_seconds, machine.now
  )
  return CalibratedClock(reference, budget, tolerance, machine.now)


def train(machine, clock, budget, step_seconds=0.05):
  """Trains as the runner does; returns the steps and the wall-clock seconds."""
  steps = 0
  while clock.seconds() + step_seconds < budget:
    machine.work(step_seconds)
    steps += 1
    if clock.is_due():
      clock.calibrate()
  return steps, clock.wall_seconds()


@pytest.mark.parametrize('speed', [0.3, 1.0, 2.0])
def test_a_trial_does_the_same_work_at_any_constant_speed(speed):
  machine = Machine(lambda now: speed)
  steps, wall = train(machine, calibrated(machine), 12.0)
  assert steps == pytest.approx(12 / 0.05, abs=2)
  assert wall == pytest.approx(12 / speed, rel=0.02)


@given(low=st.floats(0.3, 1.0), period=st.floats(8.0, 60.0), phase=st.floats(0.0, 2 * math.pi))
def test_drift_slower_than_a_few_bursts_is_corrected(low, period, phase):
  def speed(now):
    return low + (1 - low) * (1 + math.sin(2 * math.pi * now / period + phase)) / 2

  machine = Machine(speed)
  steps, _ = train(machine, calibrated(machine), 12.0)
  assert steps == pytest.approx(12 / 0.05, rel=0.06)


def test_a_step_change_of_speed_costs_at_most_one_interval_between_bursts():
  for when in (1.0, 5.0, 9.0):
    machine = Machine(lambda now, when=when: 1.0 if now < when else 0.5)
    steps, _ = train(machine, calibrated(machine), 12.0)
    assert steps == pytest.approx(12 / 0.05, rel=0.03)


@pytest.mark.parametrize('budget, share', [(12.0, MAX_SHARE), (300.0, MIN_SHARE)])
def test_bursts_take_their_share_of_the_time_and_no_more(budget, share):
  machine = Machine(lambda now: 1.0)
  clock = calibrated(machine, budget=budget)
  train(machine, clock, budget)
  spent = clock.calibration_seconds / (clock.calibration_seconds + clock.wall_seconds())
  assert 0.7 * share < spent <= share + 0.02 / budget


def test_the_reference_second_is_that_of_the_run_not_of_the_runner():
  machine = Machine(lambda now: 0.5)  # a later runner, on a machine that is slower by now
  _, wall = train(machine, calibrated(machine, nominal=0.02), 6.0)
  assert wall == pytest.approx(12.0, rel=0.02)
  fresh = Reference(lambda steps: machine.work(steps * 0.02), 64, now=machine.now)
  assert fresh.step_seconds == pytest.approx(0.04)


@pytest.mark.parametrize('speed, expected', [(0.99, 1.0), (0.9, 0.9)])
def test_small_changes_within_the_tolerance_are_not_corrected(speed, expected):
  machine = Machine(lambda now: speed)
  clock = calibrated(machine, tolerance=0.02)
  machine.work(4 * speed)
  assert clock.seconds() == pytest.approx(4 * expected, rel=1e-3)


def test_short_steps_are_timed_many_at_a_time():
  machine, calls = Machine(lambda now: 1.0), []

  def run(steps):
    calls.append(steps)
    machine.work(steps * 1e-3)

  reference = Reference(run, 64, now=machine.now)
  assert reference.step_seconds == pytest.approx(1e-3)
  assert reference.burst_seconds == pytest.approx(0.01)
  assert max(calls) == 10
