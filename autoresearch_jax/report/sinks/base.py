"""The interface of a sink, and the thread in which it works, so that the run never waits for it.

A sink may be slow, hang or fail. The run puts events into a bounded queue and goes on. What is
wrong with a sink is said once.
"""

import abc
import contextlib
import pathlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Self

from autoresearch_jax.ledger.events import Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.base import ForwardingView, View
from autoresearch_jax.report.sinks.events import RunInfo, SinkEvent
from autoresearch_jax.types import to_builtins

MAX_QUEUED = 1000  # events that wait for a slow sink
CLOSE_SECONDS = 30.0  # that the end of a session waits for a sink


class Sink(abc.ABC):
  """Gets the events of a run, in a thread of its own. Whatever it raises is said once."""

  title: str = 'sink'

  def warnings(self) -> list[str]:
    """Returns sentences about what will probably fail. Called before the session begins."""
    return []

  @abc.abstractmethod
  def open(self, run: RunInfo) -> None:
    """Called once, before the first event."""

  @abc.abstractmethod
  def take(self, event: SinkEvent) -> None:
    """Called with each event."""

  def close(self) -> None:  # noqa: B027 - many have nothing to end
    """Called after the last event."""

  def abort(self) -> None:  # noqa: B027 - many cannot be ended
    """Ends what `take` waits for. Called from another thread, at the end of a session."""


class SinkThread:
  """Passes events to a sink in the background. It starts immediately."""

  def __init__(self, sink: Sink, run: RunInfo, say: Callable[[str], None]):
    """Starts the thread.

    Args:
      sink: The sink.
      run: The run.
      say: Receives a line if the sink fails.
    """
    self._sink, self._info, self._say = sink, run, say
    self._queue: queue.Queue[SinkEvent | None] = queue.Queue(MAX_QUEUED)
    self._said = self._abandoned = False
    self._thread = threading.Thread(target=self._run, name=f'sink {sink.title}', daemon=True)
    self._thread.start()

  def put(self, event: SinkEvent) -> None:
    """Passes an event on; drops it if the sink is far behind. Never waits."""
    try:
      self._queue.put_nowait(event)
    except queue.Full:
      self._complain(f'is {MAX_QUEUED} events behind, so some are left out')

  def close(self, seconds: float = CLOSE_SECONDS) -> None:
    """Waits until all events are passed on, at most so many seconds."""
    with contextlib.suppress(queue.Full):
      self._queue.put_nowait(None)
    self._thread.join(seconds)
    if self._thread.is_alive():
      self._abandoned = True
      self._complain(f'did not end within {seconds:g} seconds')
      self._sink.abort()

  def _run(self) -> None:
    try:
      self._sink.open(self._info)
    except Exception as error:
      self._complain(f'cannot be used: {_reason(error)}')
      return
    while (event := self._queue.get()) is not None and not self._abandoned:
      try:
        self._sink.take(event)
      except Exception as error:
        self._complain(f'failed: {_reason(error)}')
    try:
      self._sink.close()
    except Exception as error:
      self._complain(f'failed at its end: {_reason(error)}')

  def _complain(self, what: str) -> None:
    if not self._said:
      self._said = True
      with contextlib.suppress(OSError):  # nobody reads the output
        self._say(f'{self._sink.title} {what}. The run goes on; this is said once.')


def _reason(error: Exception) -> str:
  return one_line(str(error), 300).rstrip('.') or type(error).__name__


class SinkView(ForwardingView):
  """Passes everything on to another view, and events to sinks."""

  def __init__(self, view: View, threads: list[SinkThread], history: History):
    """Makes the view of a session of the run in `history`."""
    super().__init__(view)
    self._threads, self._history = threads, history

  def __enter__(self) -> Self:
    super().__enter__()
    self._put(SinkEvent.started(self._history))
    return self

  def record(self, record: Record, history: History) -> None:
    super().record(record, history)
    if self._threads:
      for event in SinkEvent.of(record, history):
        self._put(event)

  def _put(self, event: SinkEvent) -> None:
    for thread in self._threads:
      thread.put(event)


@contextlib.contextmanager
def opened(
  sinks: list[Sink], directory: pathlib.Path, history: History, say: Callable[[str], None]
) -> Iterator[list[SinkThread]]:
  """Starts the sinks, and ends them at the end of the context.

  Args:
    sinks: From `sinks_of`.
    directory: The run's folder.
    history: The run so far.
    say: Receives a line for each sink that fails.
  """
  if not sinks:
    yield []
    return
  assert history.started is not None
  for warning in (warning for sink in sinks for warning in sink.warnings()):
    say(warning)
  info = RunInfo(
    history.config.name,
    directory.absolute(),
    to_builtins(history.config.shareable()),
    history.objective,
    history.began,
    SinkEvent.earlier(history),
  )
  threads = [SinkThread(sink, info, say) for sink in sinks]
  try:
    yield threads
  finally:
    for thread in threads:
      thread.close()
