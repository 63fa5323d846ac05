"""Handling of Ctrl-C, SIGTERM and SIGHUP: the first stops the run gracefully, the second at once.

A terminal that closes sends SIGHUP more than once, so a second SIGHUP is ignored.

The ledger is intact in either case; a graceful stop also closes the executor and prints where the
results are. After a graceful stop of the search, `rearm` allows the final evaluation to run until
the next signal.

After SIGTERM and SIGHUP, and a notice of preemption, the machine may be gone within 30 s. What has
not ended by itself until then is ended, so that the last uploads and the end of the session come
before it.
"""

import os
import signal
import threading
import types
from collections.abc import Callable
from typing import Self

END_SECONDS = 19.0  # from SIGTERM to the end of the process


class StopSignals:
  """A context manager in which SIGINT, SIGTERM and SIGHUP set `reason` instead of raising.

  Outside the main thread it has no effect, since Python only handles signals there.

  Attributes:
    reason: Why to stop, a sentence; '' before the first signal.
    exit_code: 128 + the signal's number, as shells report it; 0 without a signal.
  """

  def __init__(
    self,
    interactive: bool = False,
    notice: Callable[[], str] | None = None,
    end_seconds: float = 0.0,
  ) -> None:
    """Makes the context.

    Args:
      interactive: Whether a second SIGINT raises KeyboardInterrupt instead of ending the process.
      notice: Returns why the machine will be taken away, which counts as SIGTERM; '' if it is not.
      end_seconds: Time after SIGTERM or SIGHUP at which the process is ended; 0 for never.
    """
    self._notice, self._end_seconds = notice, end_seconds
    self._second = signal.default_int_handler if interactive else signal.SIG_DFL
    self.reason = ''
    self.exit_code = 0
    self._before: dict[int, signal._HANDLER] = {}

  def __call__(self) -> str:
    if self._notice is not None and not self.reason and (reason := self._notice()):
      self.reason, self.exit_code = reason, 128 + signal.SIGTERM
      self._end_soon()
    return self.reason

  def __enter__(self) -> Self:
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # by nohup
          continue
        self._before[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def rearm(self) -> bool:
    """Clears the stop request until the next signal.

    Returns False after SIGTERM and SIGHUP, since the machine will then be taken away soon.
    """
    if self.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGHUP):
      return False
    self.reason = ''
    for number in self._before:
      signal.signal(number, self._handle)
    return True

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    self.exit_code = 128 + number
    self.reason = f'Received {signal.Signals(number).name}; the same command resumes the run.'
    # The second signal ends the process at once.
    second = {signal.SIGINT: self._second, signal.SIGHUP: signal.SIG_IGN}
    signal.signal(number, second.get(signal.Signals(number), signal.SIG_DFL))
    if number != signal.SIGINT:
      self._end_soon()

  def _end_soon(self) -> None:
    if self._end_seconds:
      timer = threading.Timer(self._end_seconds, os._exit, [self.exit_code])
      timer.daemon = True
      timer.start()
