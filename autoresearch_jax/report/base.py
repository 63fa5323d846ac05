"""The interface of a live view, which shows a run in progress."""

import abc
from typing import Self

from autoresearch_jax.ledger.events import Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.types import Progress


class View(abc.ABC):
  """Shows the events of a run. The session enters it as a context manager when trials begin.

  Example: a view that prints the kinds of events.

    >>> class Kinds(View):
    ...   def record(self, record, history):
    ...     print(type(record.event).__name__)
    >>> from autoresearch_jax.ledger.events import Stopped
    >>> with Kinds() as view:
    ...   view.record(Record(0, 1.7e9, Stopped('All trials are done.')), History())
    Stopped
  """

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:  # noqa: B027 - most views hold nothing
    """Releases the view's resources, such as the terminal."""

  @abc.abstractmethod
  def record(self, record: Record, history: History) -> None:
    """Shows an event. `history` includes it."""

  def progress(self, progress: Progress) -> None:  # noqa: B027 - not every view shows it
    """Shows the progress of a running trial. By default nothing is shown."""

  def tick(self) -> None:  # noqa: B027 - not every view has a clock
    """Called several times a second, to update clocks. By default nothing is shown."""


class ForwardingView(View):
  """Passes everything on to another view. A subclass does more at some of the calls."""

  def __init__(self, view: View):
    self._view = view

  def __enter__(self) -> Self:
    self._view.__enter__()
    return self

  def __exit__(self, *error: object) -> None:
    self._view.__exit__(*error)

  def record(self, record: Record, history: History) -> None:
    self._view.record(record, history)

  def progress(self, progress: Progress) -> None:
    self._view.progress(progress)

  def tick(self) -> None:
    self._view.tick()
