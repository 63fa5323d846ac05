"""The trial's clock, how many steps still fit into the budget, and detection of stalls.

Everything is compiled before the clock starts, so nothing has to be subtracted: the clock runs from
`init` to the last step, paused only while the runner itself works: for pruning rungs and bursts of
the reference (`reference.py`, where the calibrated clock is).

When the machine sleeps, the clock stops too: Linux's monotonic clock does not advance. When only
the process is stopped (SIGSTOP, a debugger, a paused virtual machine) it does advance, and a
program would lose steps through no fault of its own. `Heartbeat` detects that. With a budget in
seconds such a training is discarded and repeated.
"""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator

from autoresearch_jax.types import Budget

BEAT_SECONDS = 0.1
MIN_STALL_SECONDS = 0.5  # shorter delays are normal for a thread
OVERRUN_TOLERANCE = 0.1  # fraction of a step by which the last one may be expected to overrun


class Clock:
  """Seconds since its creation as they count against the budget: here, by the wall clock.

  Args:
    now: Returns the time, in seconds from any origin.

  Attributes:
    calibration_seconds: Wall-clock seconds that `calibrate` took.
  """

  def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
    self.calibration_seconds = 0.0
    self._now = now
    self._start = now()

  def seconds(self) -> float:
    """Seconds that count against the budget."""
    return self.wall_seconds()

  def wall_seconds(self) -> float:
    """Wall-clock seconds without those while it was paused."""
    return self._now() - self._start

  def state(self) -> dict[str, float]:
    """What `restore` continues from."""
    return {
      'wall_seconds': self.wall_seconds(),
      'seconds': self.seconds(),
      'calibration_seconds': self.calibration_seconds,
    }

  def restore(self, state: dict[str, float]) -> None:
    """Continues from the state of another process's clock."""
    self._start = self._now() - state['wall_seconds']
    self.calibration_seconds = state['calibration_seconds']

  def is_due(self) -> bool:
    """Whether it wants to be calibrated now."""
    return False

  def calibrate(self) -> None:
    """Measures the machine's speed. The device must be idle."""

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Stops the clock for work of the runner itself. The device must be idle."""
    began = self._now()
    yield
    self._start += self._now() - began


class Heartbeat:
  """A thread that wakes up regularly and detects, by waking up late, that the process stalled."""

  def __init__(self) -> None:
    self._last_beat = time.monotonic()
    self._stalls: list[tuple[float, float]] = []  # (end, duration) in seconds
    threading.Thread(target=self._run, name='heartbeat', daemon=True).start()

  def stalled_seconds(self, since: float) -> float:
    """How long the process has stalled since a time of `time.monotonic`."""
    now = time.monotonic()
    stalls = [*self._stalls, (now, now - self._last_beat)]
    return sum(
      min(duration, max(0.0, end - since))
      for end, duration in stalls
      if duration > MIN_STALL_SECONDS
    )

  def _run(self) -> None:
    while True:
      time.sleep(BEAT_SECONDS)
      now = time.monotonic()
      if now - self._last_beat > MIN_STALL_SECONDS:
        self._stalls.append((now, now - self._last_beat))
      self._last_beat = now


@dataclasses.dataclass(frozen=True)
class StepCost:
  """What one train step costs in each unit of a budget.

  Attributes:
    tokens: Tokens (examples) of a step.
    flops: FLOPs of a step, all devices together.
    seconds: Estimated duration of a step.
  """

  tokens: int
  flops: float
  seconds: float

  def in_unit_of(self, budget: Budget) -> float:
    """The cost in the unit of `budget`.

    Raises:
      ValueError: it is 0, so the budget would never be used up.
    """
    cost = {'seconds': self.seconds, 'steps': 1.0, 'tokens': self.tokens, 'flops': self.flops}
    if cost[budget.unit] <= 0:
      raise ValueError(f'One step costs no {budget.unit}, so a budget in {budget.unit} never ends.')
    return cost[budget.unit]


def steps_that_fit(budget: Budget, spent: float, cost_per_step: float, max_steps: int) -> int:
  """How many more steps the budget pays for, between 0 and `max_steps`.

  With a budget in seconds, no step starts that is expected to end after the budget, so that long
  steps gain no training time; OVERRUN_TOLERANCE forgives small errors of the estimate. Other units
  are exact: the first step that reaches the budget is the last one.

  Args:
    budget: The budget.
    spent: What is spent so far, in the unit of the budget.
    cost_per_step: Cost of a step, in the unit of the budget.
    max_steps: Upper bound.
  """
  remaining = budget.amount - spent
  if remaining <= 0:
    return 0
  exact = remaining / cost_per_step
  in_seconds = budget.unit == 'seconds'
  steps = int(exact + OVERRUN_TOLERANCE) if in_seconds else math.ceil(exact)
  return min(max_steps, steps)
