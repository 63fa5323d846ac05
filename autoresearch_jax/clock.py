"""Time as this process lives it: neither a stop of the process nor a set clock counts.

A laptop that sleeps, SIGSTOP, a debugger or a paused virtual machine stop controller, tracer and
runner alike. Who waits for another must not take its own sleep for the other's silence; and hours
that nobody worked, or that somebody set the clock forward, are no hours of research.
"""

import time

STRIDE = 1.0  # seconds; who waits looks at least this often
_STARTED = time.time() - time.monotonic()


class Awake:
  """Seconds since it was made, without those in which this process stood still.

  What lies between two looks counts as twice a STRIDE at most, so look once in a STRIDE.
  """

  def __init__(self) -> None:
    self._seconds = 0.0
    self._looked = time.monotonic()

  def seconds(self) -> float:
    now = time.monotonic()
    self._seconds += min(now - self._looked, 2 * STRIDE)
    self._looked = now
    return self._seconds


def steady() -> float:
  """Unix seconds that only move forward, as the clock stood when this process began.

  On Linux they stand still while the machine is suspended.
  """
  return _STARTED + time.monotonic()
