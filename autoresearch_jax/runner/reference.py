"""The reference: a fixed train step whose duration measures how fast the machine is right now.

The seconds of one moment are not those of another: other processes, thermal limits and shared hosts
change how much work fits into them. A reference second is the time in which the machine does what
it did in one second when the run began. The runner times the reference in short bursts before and
between the calls of a trial, outside of the trial's clock, and `CalibratedClock` integrates the
speed that it observes.

The reference is the baseline's own train step where the runner is on a CPU: contention slows down
what uses the machine in the same way. On an accelerator it is `accelerator_reference`, a program of
a few MiB, since the baseline's state may not fit beside that of a candidate.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoresearch_jax.runner.clock import Clock
from autoresearch_jax.runner.compile import CompiledProgram, prng_key_data

MIN_BURST_SECONDS = 0.01  # of the timed steps in a burst
NOMINAL_SECONDS, MIN_NOMINAL_BURSTS = 1.5, 9  # of the first measurement
# The share of the training time that bursts may take: this many seconds of each training, within
# these bounds. 4.5 % of a training of 12 s, 0.9 % of one of 300 s.
BURSTS_SECONDS, MIN_SHARE, MAX_SHARE = 0.54, 0.009, 0.045


class Reference:
  """A compiled train step with its inputs on the device, ready to be timed.

  Attributes:
    step_seconds: Duration of a step when the run began, in wall-clock seconds. It defines the
      reference second.
  """

  def __init__(
    self,
    run: Callable[[int], None],
    max_steps: int,
    step_seconds: float = 0.0,
    now: Callable[[], float] = time.monotonic,
  ):
    """Times one step to find how many a burst needs, and measures `step_seconds` if it is 0.

    Args:
      run: Runs so many steps and waits for them; called with 0 it prepares the next call.
      max_steps: The most that one call can run.
      step_seconds: From an earlier runner of the same run.
      now: Returns the time, in seconds from any origin.
    """
    self._run, self._now = run, now
    self._steps = 1
    self.burst()  # the first call has to allocate buffers
    once = self.burst()
    wanted = math.ceil(MIN_BURST_SECONDS / max(step_seconds or once, 1e-9))
    self._steps = max(1, min(max_steps, wanted))
    self.step_seconds = step_seconds or self._nominal()

  @property
  def burst_seconds(self) -> float:
    """Nominal duration of a burst."""
    return self._steps * self.step_seconds

  def burst(self) -> float:
    """Runs a burst and returns the seconds of each step in it. The device must be idle."""
    self._run(0)
    start = self._now()
    self._run(self._steps)
    return (self._now() - start) / self._steps

  def _nominal(self) -> float:
    """The mean over NOMINAL_SECONDS of bursts."""
    start, bursts = self._now(), list[float]()
    while len(bursts) < MIN_NOMINAL_BURSTS or self._now() - start < NOMINAL_SECONDS:
      bursts.append(self.burst())
    return float(np.mean(bursts))


def program_reference(
  compiled: CompiledProgram, batch: dict[str, np.ndarray], step_seconds: float = 0.0
) -> Reference:
  """The train step of a program's first phase as the reference.

  Every burst starts from the same state and reads the same batch, so that it always does the same
  arithmetic.

  Args:
    compiled: The program, with its constants bound.
    batch: `inputs` and `targets` of one step.
    step_seconds: See `Reference`.
  """
  phase = compiled.phases[0]
  inputs, targets = (
    compiled.device_put(np.repeat(batch[name][None], phase.steps_per_call, axis=0), 1)
    for name in ('inputs', 'targets')
  )
  progress = np.full((phase.steps_per_call,), 0.5, np.float32)
  state = jax.block_until_ready(compiled.init(prng_key_data(0)))
  copy = jax.jit(lambda leaves: jax.tree.map(jnp.copy, leaves)).lower(state).compile()
  pending: list[Any] = []  # a copy of the state, which the train step may overwrite

  def run(steps: int) -> None:
    if not steps:
      pending[:] = [jax.block_until_ready(copy(state))]
      return
    leaves = pending.pop() if pending else copy(state)
    jax.block_until_ready(phase.run(leaves, inputs, targets, progress, np.int32(steps)))

  return Reference(run, phase.steps_per_call, step_seconds)


def accelerator_reference(devices: Sequence[Any], step_seconds: float = 0.0) -> Reference:
  """A fixed program as the reference: matrix products, and passes over memory as long as they.

  It runs on the first device alone.

  Args:
    devices: The runner's devices.
    step_seconds: See `Reference`.
  """
  big = devices[0].platform != 'cpu'
  width, length, dtype = (4096, 2**24, jnp.bfloat16) if big else (256, 2**18, jnp.float32)

  def steps(matrix: jax.Array, vector: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    def step(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      product, passed = carry
      product = (product @ matrix) * jnp.asarray(1 / width, dtype)
      return product, passed * 0.5 + vector

    return jax.lax.fori_loop(0, count, step, (matrix, vector))

  with jax.default_device(devices[0]):
    matrix, vector = jnp.ones((width, width), dtype), jnp.ones((length,), jnp.float32)
    count = jnp.int32(1)
    compiled = jax.jit(steps).lower(matrix, vector, count).compile()

  def run(steps: int) -> None:
    if steps:
      jax.block_until_ready(compiled(matrix, vector, jax.device_put(np.int32(steps), devices[0])))

  return Reference(run, 64, step_seconds)


class CalibratedClock(Clock):
  """A clock that counts reference seconds.

  Between two bursts the machine's speed is taken to be the reference's nominal duration over the
  mean of both bursts; since the last burst, over the mean of the last few. So the clock may be set
  back or forward a little by a burst, when it learns how fast the machine really was.

  Attributes:
    reference: The reference.
    bursts: (wall-clock seconds since the start, seconds of a reference step) of each burst.
  """

  RECENT = 3  # bursts that the present speed is estimated from

  def __init__(
    self,
    reference: Reference,
    budget_seconds: float,
    tolerance: float = 0.0,
    now: Callable[[], float] = time.monotonic,
  ):
    """Runs the first burst.

    Args:
      reference: The reference.
      budget_seconds: The trial's budget, in reference seconds.
      tolerance: Speeds this close to 1 count as 1, for machines whose speed seldom changes.
      now: Returns the time, in seconds from any origin.
    """
    super().__init__(now)
    self._tolerance = tolerance
    self.reference = reference
    self.bursts: list[tuple[float, float]] = []
    self._share = min(MAX_SHARE, max(MIN_SHARE, BURSTS_SECONDS / max(budget_seconds, 1e-9)))
    self._settled = 0.0  # reference seconds up to the last burst
    self.calibrate()

  @property
  def speed(self) -> float:
    """The present speed, 1 being that when the run began."""
    return self._speed(*(seconds for _, seconds in self.bursts[-self.RECENT :]))

  def seconds(self) -> float:
    wall, _ = self.bursts[-1]
    return self._settled + (self.wall_seconds() - wall) * self.speed

  def is_due(self) -> bool:
    """Whether bursts took less than their share of the time, the next one included."""
    allowed = self._share * (self.wall_seconds() + self.calibration_seconds)
    return self.calibration_seconds + self.reference.burst_seconds / self.speed <= allowed

  def calibrate(self) -> None:
    """Runs a burst with the clock paused. The device must be idle."""
    with self.paused():
      start = self._now()
      seconds = self.reference.burst()
      self.calibration_seconds += self._now() - start
    wall = self.wall_seconds()
    if self.bursts:
      before, previous = self.bursts[-1]
      self._settled += (wall - before) * self._speed(previous, seconds)
    self.bursts.append((wall, seconds))

  def _speed(self, *bursts: float) -> float:
    """The mean speed over bursts, from the seconds of a reference step in each."""
    speed = self.reference.step_seconds * len(bursts) / sum(bursts)
    return 1.0 if abs(speed - 1) <= self._tolerance else speed
