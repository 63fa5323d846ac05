"""Runs the proposer in a background thread while trials train.

The thread does not write to the ledger. It passes events to the loop and waits until the loop has
appended them. So the ledger has a single writer, and every request is logged before it is sent to a
model.
"""

import queue
import threading
import time
from collections.abc import Callable

from autoresearch_jax.ledger.events import Consulted, ImportRefused, Learned, StoreRead
from autoresearch_jax.types import Edit

ProposerEvent = Consulted | Learned | StoreRead | ImportRefused


class Abandoned(BaseException):
  """The loop no longer waits for the thread. No Exception, so that proposers do not catch it."""


class _LogRequest:
  """The thread's request to log an event, and its outcome."""

  def __init__(self, event: ProposerEvent):
    self.event = event
    self.done = threading.Event()
    self.error: Exception | None = None


class ProposerThread:
  """A background thread that writes one edit. It starts immediately."""

  def __init__(self, write: Callable[['ProposerThread'], Edit]):
    """Starts the thread.

    Args:
      write: Returns the edit, and may raise. It is called in the thread, with this object.
    """
    self._write = write
    self._outbox: queue.SimpleQueue[_LogRequest | Edit | BaseException] = queue.SimpleQueue()
    self._abandoned = threading.Event()
    self._thread = threading.Thread(target=self._run, name='proposer', daemon=True)
    self._thread.start()

  def log(self, event: ProposerEvent) -> None:
    """Logs an event, and returns once it is in the ledger. Called in the thread.

    Raises:
      ValueError, TypeError: The event cannot be recorded.
      Abandoned: The session has stopped, or the edit was already returned.
    """
    if self._abandoned.is_set():
      raise Abandoned
    request = _LogRequest(event)
    self._outbox.put(request)
    while not request.done.wait(0.2):
      if self._abandoned.is_set():
        raise Abandoned
    if request.error is not None:
      raise request.error

  def poll(
    self, seconds: float, append: Callable[[ProposerEvent], None]
  ) -> Edit | BaseException | None:
    """Waits for the thread to end. Called by the loop.

    Args:
      seconds: Longest wait.
      append: Appends an event to the ledger.

    Returns:
      The edit, or the exception that was raised; None if the thread still runs.
    """
    deadline = time.monotonic() + seconds
    try:
      while (left := deadline - time.monotonic()) > 0:
        message = self._outbox.get(timeout=left)
        if not isinstance(message, _LogRequest):
          self._thread.join()
          self.abandon()  # the proposer's own threads, if any, must not log from now on
          return message
        try:
          append(message.event)
        except (ValueError, TypeError) as error:  # msgspec's errors are subclasses
          message.error = error
        message.done.set()
    except queue.Empty:
      pass
    return None

  def abandon(self) -> None:
    """Stops waiting for the thread, which ends at its next call of `log`."""
    self._abandoned.set()

  def _run(self) -> None:
    try:
      self._outbox.put(self._write(self))
    except BaseException as error:
      self._outbox.put(error)
