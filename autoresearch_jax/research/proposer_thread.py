"""A proposal on its way to a program, in a thread of its own, so that trials go on meanwhile.

The thread writes nothing: what it wants on record goes to the loop, which appends it and lets the
thread go on. So the ledger has one writer, and nothing is sent to a model that is not on record.
"""

import queue
import threading
import time
from collections.abc import Callable

from autoresearch_jax.ledger.events import Consulted, Learned
from autoresearch_jax.types import Edit

Note = Consulted | Learned


class Abandoned(BaseException):
  """Nobody listens any more: whoever still thinks ends here. No Exception, so nobody goes on."""


class _Request:
  """Something to be put on record, and what became of that."""

  def __init__(self, note: Note):
    self.note = note
    self.done = threading.Event()
    self.error: Exception | None = None


class Thinking:
  """work: what gives the edit; it is called in the thread, with this, and may raise."""

  def __init__(self, work: Callable[['Thinking'], Edit]):
    self._work = work
    self._outbox: queue.SimpleQueue[_Request | Edit | BaseException] = queue.SimpleQueue()
    self._abandoned = threading.Event()
    self._thread = threading.Thread(target=self._run, name='proposer', daemon=True)
    self._thread.start()

  def note(self, note: Note) -> None:
    """Has something put on record, and returns when it is. Called in the thread.

    Raises ValueError or TypeError when it cannot be recorded, Abandoned when the run stopped
    or the edit was given already.
    """
    if self._abandoned.is_set():
      raise Abandoned
    request = _Request(note)
    self._outbox.put(request)
    while not request.done.wait(0.2):
      if self._abandoned.is_set():
        raise Abandoned
    if request.error is not None:
      raise request.error

  def hear(self, seconds: float, append: Callable[[Note], None]) -> Edit | BaseException | None:
    """What came of it: the edit, or what was raised; None when it is not over in `seconds`.

    append: puts on record what the thread wants there.
    """
    until = time.monotonic() + seconds
    try:
      while (left := until - time.monotonic()) > 0:
        message = self._outbox.get(timeout=left)
        if not isinstance(message, _Request):
          self._thread.join()
          self.abandon()  # threads that the proposer left behind record nothing more
          return message
        try:
          append(message.note)
        except (ValueError, TypeError) as error:  # msgspec's are among them
          message.error = error
        message.done.set()
    except queue.Empty:
      pass
    return None

  def abandon(self) -> None:
    """Lets go of the thread, which ends when it next wants something on record."""
    self._abandoned.set()

  def _run(self) -> None:
    try:
      self._outbox.put(self._work(self))
    except BaseException as error:
      self._outbox.put(error)
