"""The reference: a fixed train step whose duration measures how fast the machine is right now.

The seconds of one moment are not those of another: other processes, thermal limits and shared hosts
change how much work fits into them. A reference second is the time in which the machine does what
it did in one second when the run began. `CalibratedClock` counts them from two measurements:

- The share of the CPU time that XLA's threads got (`cpu_time`). It shows at once what other
  processes take, but not how fast a core is. How much a program suffers from a smaller share
  depends on the program: one of large operations fully, one of tiny operations hardly, since the
  other threads only wait for work. So the first measurement is made beside busy processes too.
- The reference, timed in short bursts before and between the calls of a trial, outside of the
  trial's clock. A burst is a small sample of a machine that fluctuates, so that the speed is a
  moving average over the bursts of several trials.

The reference is the baseline's own train step where the runner is on a CPU: contention slows down
what uses the machine in the same way. On an accelerator it is `accelerator_reference`, a program of
a few MiB, since the baseline's state may not fit beside that of a candidate.
"""

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoresearch_jax.runner.clock import Clock
from autoresearch_jax.runner.compile import CompiledProgram, prng_key_data
from autoresearch_jax.runner.contention import busy_cpus
from autoresearch_jax.runner.cpu_time import CpuTime

MIN_BURST_SECONDS = 0.04  # of the timed steps in a burst: a few time slices of the scheduler
FIRST_SECONDS, MIN_FIRST_BURSTS = 1.0, 4  # of each part of the first measurement
CONTRASTS = 3  # between the reference alone and beside busy processes
CONTRAST_NOISE = 0.15  # standard deviation of the logarithm of one contrast
PRIOR_SENSITIVITY, PRIOR_STD = 0.8, 0.3  # that of a GPT is 0.9 to 1, of an MLP on digits 0.4 to 0.9
AVERAGED_SECONDS = 2.0  # of steps in bursts, over which the speed is averaged
# A burst counts by its share of the CPU time to this power: 0.43 with a share of 0.9, 0.02 with one
# of 0.6. Beside a busy process it is slower than its share explains (by 7 % on two cores, where a
# training is not), and it fluctuates by 15 %.
CONTENDED_POWER = 8
MIN_READ_SECONDS = 0.2  # between two readings of the CPU time
# The share of the training time that bursts may take: this many seconds of each training, within
# these bounds. 4.5 % of a training of 12 s, 0.9 % of one of 300 s.
BURSTS_SECONDS, MIN_SHARE, MAX_SHARE = 0.54, 0.009, 0.045


@dataclasses.dataclass(frozen=True)
class _StepTime:
  """Wall-clock seconds of a reference step, and the share of CPU time its threads got meanwhile."""

  seconds: float
  cpu_share: float | None


class Reference:
  """A compiled train step with its inputs on the device, ready to be timed.

  Attributes:
    step_seconds: Duration of a step when the run began, in seconds in which the CPUs were free for
      it. It defines the reference second.
    speed: The machine's present speed while the CPUs are free, 1 being that when the run began:
      a moving average over AVERAGED_SECONDS of bursts.
    sensitivity: The exponent s in: with a share of CPU time, a step lasts 1 / share ** s times as
      long.
    cpu_time: Returns the CPU time of the threads that run it.
  """

  def __init__(
    self,
    run: Callable[[int], None],
    max_steps: int,
    step_seconds: float = 0.0,
    now: Callable[[], float] = time.monotonic,
    cpu_time: Callable[[], CpuTime] = CpuTime.now,
    contention: Callable[[], contextlib.AbstractContextManager[None]] = busy_cpus,
  ):
    """Times one step to find how many a burst needs, and measures speed and sensitivity.

    Args:
      run: Runs so many steps and waits for them; called with 0 it prepares the next call.
      max_steps: The most that one call can run.
      step_seconds: From an earlier runner of the same run; 0 to measure it.
      now: Returns the time, in seconds from any origin.
      cpu_time: See the attributes.
      contention: Makes other processes use the CPUs meanwhile.
    """
    self._run, self._now, self.cpu_time = run, now, cpu_time
    self._calls, self._steps = 1, 1
    self._time()  # the first call has to allocate buffers
    self._steps = min(max_steps, self._repeats(self._time().seconds))
    self._calls = self._repeats(self._time().seconds * self._steps)
    alone = [self._mean()]
    self.sensitivity = 0.0
    if alone[0].cpu_share is not None:
      self.sensitivity = self._sensitivity(contention, alone)
    free = statistics.fmean(mean.seconds * self.work_share(mean.cpu_share) for mean in alone)
    self.step_seconds = step_seconds or free
    self.speed = self.step_seconds / free

  @property
  def burst_seconds(self) -> float:
    """Expected duration of a burst while the CPUs are free."""
    return self._calls * self._steps * self.step_seconds / self.speed

  def work_share(self, share: float | None) -> float:
    """The share of the work that is done with a share of the CPU time; None means all of it."""
    return 1.0 if share is None else share**self.sensitivity

  def burst(self) -> None:
    """Runs a burst and corrects `speed` by it. The device must be idle."""
    burst = self._time()
    step = burst.seconds * self.work_share(burst.cpu_share)
    trust = 1.0 if burst.cpu_share is None else burst.cpu_share**CONTENDED_POWER
    weight = -math.expm1(-trust * self._calls * self._steps * step / AVERAGED_SECONDS)
    self.speed = 1 / ((1 - weight) / self.speed + weight * step / self.step_seconds)

  def _repeats(self, seconds: float) -> int:
    """How often to do something of this duration so that it fills a burst."""
    return max(1, math.ceil(MIN_BURST_SECONDS / max(seconds, 1e-9)))

  def _time(self) -> _StepTime:
    """Runs a burst."""
    seconds, before = 0.0, self.cpu_time()
    for _ in range(self._calls):
      self._run(0)
      start = self._now()
      self._run(self._steps)
      seconds += self._now() - start
    seconds /= self._calls * self._steps
    return _StepTime(seconds, self.cpu_time().share_since(before))

  def _mean(self) -> _StepTime:
    """The mean over FIRST_SECONDS of bursts."""
    start, before, bursts = self._now(), self.cpu_time(), list[float]()
    while len(bursts) < MIN_FIRST_BURSTS or self._now() - start < FIRST_SECONDS:
      bursts.append(self._time().seconds)
    return _StepTime(statistics.fmean(bursts), self.cpu_time().share_since(before))

  def _sensitivity(
    self,
    contention: Callable[[], contextlib.AbstractContextManager[None]],
    alone: list[_StepTime],
  ) -> float:
    """Times the reference alone and beside busy processes in turn; `alone` gets the former.

    Where other processes keep the machine busy already, the difference is small and says little,
    so the estimate is the posterior mean under a normal prior.
    """
    slower, less = list[float](), list[float]()  # logarithms of the ratios of seconds and of shares
    for _ in range(CONTRASTS):
      with contention():
        busy = self._mean()
      alone.append(self._mean())
      slower.append(math.log(busy.seconds / alone[-1].seconds))
      less.append(math.log((alone[-1].cpu_share or 1.0) / (busy.cpu_share or 1.0)))
    precision, prior = CONTRASTS * statistics.fmean(less) ** 2 / CONTRAST_NOISE**2, PRIOR_STD**-2
    weighted = CONTRASTS * statistics.fmean(less) * statistics.fmean(slower) / CONTRAST_NOISE**2
    return min(1.0, max(0.0, (weighted + PRIOR_SENSITIVITY * prior) / (precision + prior)))


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
  inputs, targets = compiled.put_batches(phase, [batch] * phase.steps_per_call)
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

  cpu_time = CpuTime if big else CpuTime.now  # the CPU's other work does not slow it down
  return Reference(run, 64, step_seconds, cpu_time=cpu_time)


class CalibratedClock(Clock):
  """A clock that counts reference seconds.

  A second of the wall clock counts as the share of work that the CPU time of XLA's threads in it
  allowed, times the speed of the reference.

  Attributes:
    reference: The reference.
  """

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
    self.reference = reference
    self._tolerance = tolerance
    self._budget_share = min(MAX_SHARE, max(MIN_SHARE, BURSTS_SECONDS / max(budget_seconds, 1e-9)))
    self._counted = 0.0  # reference seconds until the last reading of the CPU time
    self._read_at, self._cpu_time, self._work_share = 0.0, reference.cpu_time(), 1.0
    self.calibrate()

  @property
  def speed(self) -> float:
    """Reference seconds per second of the wall clock, at present."""
    speed = self._work_share * self.reference.speed
    return 1.0 if abs(speed - 1) <= self._tolerance else speed

  def seconds(self) -> float:
    if self.wall_seconds() - self._read_at >= MIN_READ_SECONDS:
      self._read()
    return self._counted + (self.wall_seconds() - self._read_at) * self.speed

  def is_due(self) -> bool:
    """Whether bursts took less than their share of the time, the next one included."""
    allowed = self._budget_share * (self.wall_seconds() + self.calibration_seconds)
    expected = self.reference.burst_seconds / self._work_share
    return self.calibration_seconds + expected <= allowed

  def calibrate(self) -> None:
    with self.paused():
      start = self._now()
      self.reference.burst()
      self.calibration_seconds += self._now() - start

  def restore(self, state: dict[str, float]) -> None:
    super().restore(state)
    self._counted, self._read_at = state['seconds'], state['wall_seconds']
    self._cpu_time = self.reference.cpu_time()

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    self._read()
    with super().paused():
      yield
    self._cpu_time = self.reference.cpu_time()

  def _read(self) -> None:
    """Counts the seconds since the last reading by the CPU time in them."""
    wall, cpu_time = self.wall_seconds(), self.reference.cpu_time()
    self._work_share = self.reference.work_share(cpu_time.share_since(self._cpu_time))
    self._counted += (wall - self._read_at) * self.speed
    self._read_at, self._cpu_time = wall, cpu_time
