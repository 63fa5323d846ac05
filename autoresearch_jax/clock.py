"""Clocks that a suspended process or a changed system time cannot mislead.

SIGSTOP, a debugger, a sleeping laptop or a paused virtual machine stop controller, tracer and
runner alike. Time that a process spent suspended must not count towards a timeout for another, nor,
like a change of the system time, as time of research.
"""

import time

POLL_SECONDS = 1.0  # longest time between two readings of an `ActiveTimer`
_STARTED = time.time() - time.monotonic()


class ActiveTimer:
  """Measures seconds since it was made, except those in which this process was suspended.

  The time between two readings counts as at most 2 * POLL_SECONDS, so read it that often.
  """

  def __init__(self) -> None:
    self._seconds = 0.0
    self._last_reading = time.monotonic()

  def seconds(self) -> float:
    now = time.monotonic()
    self._seconds += min(now - self._last_reading, 2 * POLL_SECONDS)
    self._last_reading = now
    return self._seconds


def monotonic_time() -> float:
  """Returns Unix seconds that never go back: the time at import plus a monotonic clock.

  On Linux it stands still while the machine is suspended.
  """
  return _STARTED + time.monotonic()
