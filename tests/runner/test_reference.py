"""The calibrated clock, on a simulated machine whose speed is a function of time."""

import contextlib
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.runner.cpu_time import CpuTime
from autoresearch_jax.runner.reference import (
  MAX_SHARE,
  MIN_SHARE,
  CalibratedClock,
  Reference,
)

TICK = 1e-3  # seconds of simulated time between two changes of speed


def constant(value):
  return lambda now: value


class Machine:
  """Simulated time. Work takes longer where the machine is slow or its CPUs are shared.

  Attributes:
    time: Seconds since the start.
    speed: The speed at a time, of what the CPUs do.
    share: The share of the CPUs at a time that other processes leave.
    sensitivity: Of programs to that share.
    cpu_time: What the scheduler counted.
  """

  def __init__(self, speed=None, share=None, sensitivity=1.0):
    self.speed, self.share = speed or constant(1.0), share or constant(1.0)
    self.sensitivity, self.contention = sensitivity, 1.0
    self.time, self.cpu_time = 0.0, CpuTime()

  def now(self):
    return self.time

  def work(self, seconds):
    """Does what takes so many seconds at speed 1 on free CPUs."""
    while seconds > 0:
      share = self.share(self.time) * self.contention
      rate = self.speed(self.time) * share**self.sensitivity
      done = min(seconds, TICK * rate)
      spent = done / rate
      self.time += spent
      running, waiting = share * spent, (1 - share) * spent
      self.cpu_time = CpuTime(self.cpu_time.running + running, self.cpu_time.waiting + waiting)
      seconds -= done

  @contextlib.contextmanager
  def contended(self):
    self.contention = 0.5
    yield
    self.contention = 1.0


def reference_on(machine, step_seconds=0.02, nominal=0.0):
  return Reference(
    lambda steps: machine.work(steps * step_seconds), 64, nominal, machine.now,
    lambda: machine.cpu_time, machine.contended,
  )  # fmt: skip


def calibrated(machine, budget=12.0, nominal=0.02, tolerance=0.0):
  return CalibratedClock(reference_on(machine, 0.02, nominal), budget, tolerance, machine.now)


def train(machine, clock, budget, step_seconds=0.05):
  """Trains as the runner does; returns the steps and the wall-clock seconds."""
  steps = 0
  while clock.seconds() + step_seconds < budget:
    machine.work(step_seconds)
    steps += 1
    if clock.is_due():
      clock.calibrate()
  return steps, clock.wall_seconds()


@pytest.mark.parametrize('speed, share', [(0.3, 1.0), (1.0, 0.4), (2.0, 1.0), (0.7, 0.5)])
def test_a_trial_does_the_same_work_at_any_constant_speed(speed, share):
  machine = Machine(constant(speed), constant(share))
  steps, wall = train(machine, calibrated(machine), 12.0)
  assert steps == pytest.approx(12 / 0.05, abs=2)
  assert wall == pytest.approx(12 / speed / share, rel=0.02)


@given(
  low=st.floats(0.3, 1.0),
  period=st.floats(1.0, 60.0),
  phase=st.floats(0.0, 2 * math.pi),
  sensitivity=st.floats(0.6, 1.0),
)
def test_other_processes_that_come_and_go_do_not_change_the_work(low, period, phase, sensitivity):
  def share(now):
    return low + (1 - low) * (1 + math.sin(2 * math.pi * now / period + phase)) / 2

  machine = Machine(share=share, sensitivity=sensitivity)
  steps, _ = train(machine, calibrated(machine), 12.0)
  assert steps == pytest.approx(12 / 0.05, rel=0.05)


@pytest.mark.parametrize('when', [1.0, 5.0, 9.0])
def test_a_process_that_begins_within_a_trial_hardly_changes_the_work(when):
  machine = Machine(share=lambda now: 1.0 if now < when + 4 else 0.5)
  steps, _ = train(machine, calibrated(machine), 12.0)
  assert steps == pytest.approx(12 / 0.05, rel=0.03)


def test_slower_cores_are_corrected_once_bursts_have_seen_them():
  machine = Machine(lambda now: 1.0 if now < 20 else 0.5)
  reference = reference_on(machine)
  steps = []
  for _ in range(12):
    clock = CalibratedClock(reference, 12.0, now=machine.now)
    steps.append(train(machine, clock, 12.0)[0])
  assert steps[0] == pytest.approx(12 / 0.05, abs=2)
  assert steps[-1] == pytest.approx(12 / 0.05, rel=0.03)
  assert steps[2:] == sorted(steps[2:])


def test_noise_of_single_bursts_is_averaged():
  noise = 0.2  # of the speed in each tenth of a second
  speeds = np.exp(np.random.default_rng(0).normal(0, noise, 100_000))
  machine = Machine(lambda now: float(speeds[int(now / 0.1)]))
  reference = reference_on(machine)
  steps = [
    train(machine, CalibratedClock(reference, 12.0, now=machine.now), 12.0)[0] for _ in range(20)
  ]
  assert np.std(steps) / np.mean(steps) < noise / 4


@pytest.mark.parametrize('budget, share', [(12.0, MAX_SHARE), (300.0, MIN_SHARE)])
def test_bursts_take_their_share_of_the_time_and_no_more(budget, share):
  machine = Machine()
  clock = calibrated(machine, budget)
  train(machine, clock, budget)
  spent = clock.calibration_seconds / (clock.calibration_seconds + clock.wall_seconds())
  assert 0.7 * share < spent <= share + 0.02 / budget


def test_the_reference_second_is_that_of_the_run_not_of_the_runner():
  machine = Machine(constant(0.5))  # a later runner, on a machine that is slower by now
  _, wall = train(machine, calibrated(machine), 6.0)
  assert wall == pytest.approx(12.0, rel=0.02)
  assert reference_on(machine).step_seconds == pytest.approx(0.04)


def test_other_processes_do_not_change_the_reference_second():
  assert reference_on(Machine(share=constant(0.3))).step_seconds == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize('speed, expected', [(0.99, 1.0), (0.9, 0.9)])
def test_small_changes_within_the_tolerance_are_not_corrected(speed, expected):
  machine = Machine(constant(speed))
  clock = calibrated(machine, tolerance=0.02)
  machine.work(4 * speed)
  assert clock.seconds() == pytest.approx(4 * expected, rel=1e-3)


@pytest.mark.parametrize('step_seconds, steps', [(1e-3, 40), (1e-4, 64), (0.1, 1)])
def test_short_steps_are_timed_many_at_a_time(step_seconds, steps):
  machine, calls = Machine(), []

  def run(steps):
    calls.append(steps)
    machine.work(steps * step_seconds)

  reference = Reference(run, 64, now=machine.now, cpu_time=CpuTime)
  assert reference.step_seconds == pytest.approx(step_seconds)
  assert 0.04 <= reference.burst_seconds * (1 + 1e-9) < 0.04 + 64 * step_seconds
  assert max(calls) == steps


def test_the_kernel_counts_what_a_pool_of_xla_ran():
  before = CpuTime.now()
  product = jax.jit(lambda x: x @ x @ x)
  for _ in range(20):
    product(np.ones((256, 256), np.float32)).block_until_ready()
  after = CpuTime.now()
  if after == CpuTime():
    pytest.skip('This system does not count the waiting time of threads.')
  share = after.share_since(before)
  assert share is None or 0 < share <= 1
  assert after.running >= before.running
