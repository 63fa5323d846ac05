"""Progress of running trials for viewers in other processes, through two files in scratch/.

A viewer touches `watched` every few seconds. While that is recent, the run writes `progress.json`
at most once a second. When nobody looks, a run only asks for the time of one file each second.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable

import msgspec

from autoresearch_jax.ledger.events import Finished, Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.report.base import ForwardingView, View
from autoresearch_jax.types import Progress

WRITE_SECONDS = 1.0  # between two writes, and two looks at `watched`
WATCHED_SECONDS = 10.0  # that a viewer counts after its last sign
MAX_POINTS = 200  # of a learning curve


@dataclasses.dataclass
class TrialProgress:
  """Progress of a running trial.

  Attributes:
    progress: The latest report.
    curve: (fraction of the budget, training loss) of this seed's run so far, thinned.
  """

  progress: Progress
  curve: list[tuple[float, float]] = dataclasses.field(default_factory=list)

  def add(self, progress: Progress) -> None:
    """Adds a report."""
    if progress.seed != self.progress.seed:
      self.curve.clear()
    self.progress = progress
    if progress.phase == 'train' and progress.loss is not None:
      self.curve.append((progress.fraction, progress.loss))
      if len(self.curve) > MAX_POINTS:
        del self.curve[1::2]


class SharedProgress(ForwardingView):
  """Passes everything on to another view, and writes progress while somebody looks."""

  def __init__(self, view: View, directory: pathlib.Path, clock: Callable[[], float] = time.time):
    """Makes the view.

    Args:
      view: The view that shows the run in this process.
      directory: The run's folder.
      clock: Returns Unix seconds.
    """
    super().__init__(view)
    self._directory, self._clock = directory, clock
    self._running: dict[int, TrialProgress] = {}
    self._looked_at = 0.0
    self._changed = False

  def record(self, record: Record, history: History) -> None:
    if isinstance(record.event, Finished):
      self._running.pop(record.event.trial, None)
      self._changed = True
    super().record(record, history)

  def progress(self, progress: Progress) -> None:
    if progress.trial not in self._running:
      self._running[progress.trial] = TrialProgress(progress)
    self._running[progress.trial].add(progress)
    self._changed = True
    super().progress(progress)

  def tick(self) -> None:
    now = self._clock()
    if self._changed and now - self._looked_at >= WRITE_SECONDS:
      self._looked_at = now
      self._write_if_watched(now)
    super().tick()

  def _write_if_watched(self, now: float) -> None:
    with contextlib.suppress(OSError):  # nobody looks, or the disk is full
      if now - _watched(self._directory).stat().st_mtime < WATCHED_SECONDS:
        path = _progress(self._directory)
        new = path.with_suffix('.new')
        new.write_bytes(msgspec.json.encode(list(self._running.values())))
        new.replace(path)
        self._changed = False


def announce_viewer(directory: pathlib.Path) -> None:
  """Tells the run in a folder that somebody looks. Does nothing where that cannot be written."""
  with contextlib.suppress(OSError):
    _watched(directory).touch()


def read_progress(directory: pathlib.Path) -> list[TrialProgress]:
  """Returns the progress that the run in a folder wrote last; [] if it wrote none."""
  try:
    found = _progress(directory).read_bytes()
    return msgspec.json.decode(found, type=list[TrialProgress])
  except (OSError, msgspec.MsgspecError):
    return []


def _watched(directory: pathlib.Path) -> pathlib.Path:
  return directory / 'scratch' / 'watched'


def _progress(directory: pathlib.Path) -> pathlib.Path:
  return directory / 'scratch' / 'progress.json'
