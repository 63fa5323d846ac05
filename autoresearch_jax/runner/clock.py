"""The trial's clock: what counts against the budget, and how many steps still fit.

Compilation is over before the clock starts, so nothing has to be left out: the clock runs from
the first counted step to the last, and every second in between counts.

A machine that sleeps stops the clock too: Linux's monotonic seconds do not go on meanwhile. But
while the process alone is stopped (SIGSTOP, a debugger, a paused virtual machine) they do, and a
program would lose steps for nothing. A `Heartbeat` finds that; where seconds are the budget, such
a training does not count and is done again, since no number is better than the seconds behind it.
"""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Iterator

from autoresearch_jax.types import Budget

BEAT_SECONDS = 0.1
STOP_SECONDS = 0.5  # a thread is not so late by itself
OVERRUN = 0.1  # share of a step by which the last one may be expected to pass the budget


class Clock:
  """Monotonic seconds since `start`."""

  def __init__(self) -> None:
    self._start = time.monotonic()

  def seconds(self) -> float:
    return time.monotonic() - self._start

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """What the runner does inside is not the program's to pay for. The device must be idle."""
    began = time.monotonic()
    yield
    self._start += time.monotonic() - began


class Heartbeat:
  """A thread that finds out when this process stood still, by being late itself."""

  def __init__(self) -> None:
    self._beat = time.monotonic()
    self._stops: list[tuple[float, float]] = []  # when each ended, and for how long it was
    threading.Thread(target=self._run, name='heartbeat', daemon=True).start()

  def stopped(self, since: float) -> float:
    """Seconds that the process stood still since a moment of `time.monotonic`."""
    now = time.monotonic()
    stops = [*self._stops, (now, now - self._beat)]
    return sum(min(long, max(0.0, end - since)) for end, long in stops if long > STOP_SECONDS)

  def _run(self) -> None:
    while True:
      time.sleep(BEAT_SECONDS)
      now = time.monotonic()
      if now - self._beat > STOP_SECONDS:
        self._stops.append((now, now - self._beat))
      self._beat = now


@dataclasses.dataclass(frozen=True)
class Rate:
  """What one train step costs in each unit; `seconds` is an estimate that improves."""

  tokens: int
  flops: float
  seconds: float

  def per_step(self, budget: Budget) -> float:
    """One step's share of the budget, in the budget's unit. Raises ValueError when it is 0."""
    cost = {'seconds': self.seconds, 'steps': 1.0, 'tokens': self.tokens, 'flops': self.flops}
    if cost[budget.unit] <= 0:
      raise ValueError(f'One step costs no {budget.unit}, so a budget in {budget.unit} never ends.')
    return cost[budget.unit]


def steps_that_fit(budget: Budget, spent: float, per_step: float, at_most: int) -> int:
  """How many more steps the budget pays for, between 0 and `at_most`.

  In seconds no step starts that would end after the budget, so that long steps win no training
  time (OVERRUN of a step forgives an estimate that is a little off). The other units are counted
  exactly: the first step that reaches the budget is the last.
  """
  remaining = budget.amount - spent
  if remaining <= 0:
    return 0
  exact = remaining / per_step
  steps = int(exact + OVERRUN) if budget.unit == 'seconds' else math.ceil(exact)
  return min(at_most, steps)
