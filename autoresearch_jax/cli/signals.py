"""Ctrl-C and SIGTERM: the first asks the loop to end in good order, the second ends at once.

The ledger is whole after either; ending in good order also closes the executor and prints where
the results are. Between the two, `rearm` makes room for one thing more, which the next signal
asks to end.
"""

import signal
import threading
import types
from typing import Self


class StopSignals:
  """A context in which SIGINT and SIGTERM set `reason` instead of raising.

  Outside of the main thread, where Python handles no signals, it changes nothing.

  Attributes:
    reason: Why to stop, a sentence; '' before the first signal.
    exit_code: 128 + the signal's number, as shells report it; 0 when there was none.
  """

  def __init__(self, interactive: bool = False) -> None:
    """interactive: whether a second SIGINT raises KeyboardInterrupt, and ends no process."""
    self._second = signal.default_int_handler if interactive else signal.SIG_DFL
    self.reason = ''
    self.exit_code = 0
    self._before: dict[int, signal._HANDLER] = {}

  def __call__(self) -> str:
    return self.reason

  def __enter__(self) -> Self:
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._asked)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def rearm(self) -> bool:
    """Whether something may still be done before the end, which the next signal asks to end.

    Not after SIGTERM: whoever sends that takes the machine away soon.
    """
    if self.exit_code == 128 + signal.SIGTERM:
      return False
    self.reason = ''
    for number in self._before:
      signal.signal(number, self._asked)
    return True

  def _asked(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    self.exit_code = 128 + number
    self.reason = f'{signal.Signals(number).name} was received; the same command goes on from here.'
    # A second one does not wait for anything.
    signal.signal(number, self._second if number == signal.SIGINT else signal.SIG_DFL)
