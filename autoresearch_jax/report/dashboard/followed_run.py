"""`FollowedRun`: a run whose ledger is read as it grows, and what changed on its page since."""

import contextlib
import dataclasses
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.follower import LEDGER, LedgerFollower
from autoresearch_jax.ledger.mailbox import waiting
from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.ledger.steering import described
from autoresearch_jax.ledger.store import Position
from autoresearch_jax.report.page import RunProjection
from autoresearch_jax.report.page.view import RunView, TrialView
from autoresearch_jax.report.samples import read_samples
from autoresearch_jax.report.shared_progress import (
  TrialProgress,
  announce_viewer,
  read_progress,
)
from autoresearch_jax.report.summary import run_statistics

MIN_SECONDS = 0.5  # between two looks at the files
MAX_SHARE = 0.01  # of a processor that following a run may take, as far as
MAX_SECONDS = 30.0  # between two looks allow it
RARE = ('lessons', 'story', 'samples', 'near_misses', 'protectable')  # long, and seldom changed
ANNOUNCE_SECONDS = 3.0  # between two signs to the run that somebody looks
REST_SECONDS = 60.0  # after the last look, until an ended run is dropped from memory


@dataclasses.dataclass(frozen=True)
class RunSummary:
  """A run in the list of runs.

  Attributes:
    key: Its folder, relative to the folder of all runs.
    name: Its name; '' if its ledger cannot be read.
    state: running, ended, or interrupted: it was killed.
    problem: What is wrong with its ledger, a sentence; '' if nothing is.
    stopped: Why the last session ended.
    trials: Decided trials.
    metric: The metric.
    best: Its mean over the runs of the best program.
    gain: Improvement over the baseline.
    standard_errors: That gain in standard errors.
    updated: Time of the last event, in Unix seconds.
  """

  key: str
  name: str = ''
  state: str = ''
  problem: str = ''
  stopped: str = ''
  trials: int = 0
  metric: str = ''
  best: float | None = None
  gain: float | None = None
  standard_errors: float | None = None
  updated: float = 0.0


@dataclasses.dataclass(frozen=True)
class Update:
  """What changed on a run's page.

  Attributes:
    version: Of the page after it.
    whole: Whether it has all trials, and replaces what was known.
    run: Fields of RunView without `trials`, and without those of `RARE` that are the same.
    trials: New and changed trials, without details.
  """

  version: int
  whole: bool
  run: dict[str, Any]
  trials: tuple[TrialView, ...]


@dataclasses.dataclass(frozen=True)
class Activity:
  """What happens between two events of a run.

  Attributes:
    state: As in RunSummary.
    problem: As in RunSummary.
    running: Progress of running trials.
    waiting: Requests that the run has not taken up, in words.
  """

  state: str
  problem: str
  running: tuple[TrialProgress, ...]
  waiting: tuple[str, ...]


class FollowedRun:
  """A run whose ledger is read as it grows. Safe to use from several threads.

  Reading is rare enough that it takes at most a hundredth of a processor. Of a run that is not in
  progress and that nobody looks at, only the entry in the list stays in memory.

  Attributes:
    directory: The run's folder.
  """

  def __init__(self, directory: pathlib.Path, clock: Callable[[], float] = time.monotonic):
    self.directory, self._clock = directory, clock
    self._lock = threading.RLock()
    self._follower = LedgerFollower(directory)
    self._problem = ''
    self._looked_at = self._announced_at = self._shown_at = float('-inf')
    self._resting = False  # whether all but the summary is dropped
    self._spent = 0.0  # CPU seconds since the last look
    self._version = time.time_ns() // 1_000_000  # above those of an earlier server
    self._begin_again()

  def _begin_again(self) -> None:
    self._projection = RunProjection()
    # The page as it was last computed, the place for which it holds, and the version since which
    # each of its parts has been like that.
    self._rows: dict[int, TrialView] = {}
    self._row_versions: dict[int, int] = {}
    self._view: RunView | None = None
    self._viewed_at = Position()
    self._summary: RunSummary | None = None
    self._summarized_at = Position()
    self._field_versions = dict.fromkeys(RARE, 0)
    self._version += 1
    self._first_version = self._version

  def refresh(self) -> None:
    """Reads what is new in the ledger, unless that was done a moment ago."""
    with self._lock:
      pause = min(MAX_SECONDS, max(MIN_SECONDS, self._spent / MAX_SHARE))
      if (now := self._clock()) - self._looked_at < pause:
        return
      self._looked_at, self._spent = now, 0.0
      if self._resting and self._follower.is_current():
        return
      self._wake()
      with self._measured(counts=self._follower.place.index > 0):
        self._read()

  def rest(self) -> None:
    """Drops all but the summary if the run is not in progress and nobody looks at it."""
    with self._lock:
      summarized = self._summary is not None and self._summarized_at == self._follower.place
      if self._resting or not summarized or self._problem or is_in_use(self.directory):
        return
      if self._clock() - self._shown_at >= REST_SECONDS:
        summary = self._summary
        self._begin_again()
        self._resting, self._summary = True, summary

  def _wake(self) -> None:
    """Begins to read a resting run anew."""
    if self._resting:
      self._resting, self._follower = False, LedgerFollower(self.directory)
      self._begin_again()

  def _show(self) -> None:
    """Notes that somebody looks, and reads a resting run."""
    self._shown_at = self._clock()
    if self._resting:
      self._wake()
      self._read()

  def summary(self, key: str) -> RunSummary:
    """Returns the run's entry in the list of runs."""
    with self._lock:
      if self._resting and self._summary is not None:
        return dataclasses.replace(self._summary, key=key, state=self._state())
      problem = self._problem or ('' if self._started else _not_started(self.directory))
      if problem:
        return RunSummary(key, problem=problem, updated=self._projection.history.last_time)
      if self._summary is None or self._summarized_at != self._follower.place:
        self._summary, self._summarized_at = self._summarized(), self._follower.place
      return dataclasses.replace(self._summary, key=key, state=self._state())

  def _summarized(self) -> RunSummary:
    """Computes the run's entry, apart from its key and state, which the ledger does not have."""
    history = self._projection.history
    f = run_statistics(history)
    return RunSummary(
      key='',
      name=history.config.name,
      stopped=self._projection.stopped,
      trials=f.trials,
      metric=history.objective.metric,
      best=f.value,
      gain=f.gain,
      standard_errors=f.standard_errors,
      updated=history.last_time,
    )

  def view(self) -> tuple[int, RunView]:
    """Returns the version of the page, and the run without details of its trials.

    Raises:
      LedgerError: The ledger cannot be read, or the run has not started.
    """
    with self._lock:
      view = self._up_to_date()
      return self._version, view

  def update(self, version: int) -> Update | None:
    """Returns what changed since a version; None if nothing did. Raises as `view` does.

    A version of before the ledger was replaced gives everything.
    """
    with self._lock:
      view = self._up_to_date()
      if version == self._version:
        return None
      whole = not self._first_version <= version <= self._version
      fields = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
      del fields['trials']
      for name, since in self._field_versions.items():
        if not whole and since <= version:
          del fields[name]
      changed = (n for n, since in self._row_versions.items() if whole or since > version)
      return Update(self._version, whole, fields, tuple(self._rows[n] for n in changed))

  def trial(self, number: int) -> TrialView:
    """Returns one trial with all details. Raises KeyError, and as `view` does."""
    with self._lock:
      self._up_to_date()
      return self._projection.trial(number)

  def activity(self) -> Activity:
    """Returns what happens between two events, and tells the run that somebody looks."""
    with self._lock:
      self._show()
      if (now := self._clock()) - self._announced_at >= ANNOUNCE_SECONDS:
        self._announced_at = now
        announce_viewer(self.directory)
      state, history = self._state(), self._projection.history
      found = read_progress(self.directory) if state == 'running' else []
      running = set(history.running)
      shown = tuple(r for r in found if r.progress.trial in running)
      problem = self._problem or ('' if self._started else _not_started(self.directory))
      taken = history.steering.taken
      waits = (described(r) for _, r in waiting(self.directory) if r.id not in taken)
      return Activity(state, problem, shown, tuple(waits))

  @contextlib.contextmanager
  def _measured(self, counts: bool) -> Iterator[None]:
    """Counts the CPU time of what happens inside, unless it is done for the first time."""
    began = time.thread_time()
    yield
    if counts:
      self._spent += time.thread_time() - began

  @property
  def _started(self) -> bool:
    return self._projection.history.started is not None

  def _state(self) -> str:
    if is_in_use(self.directory):
      return 'running'
    resting = self._summary if self._resting else None
    stopped = self._projection.stopped if resting is None else resting.stopped
    return 'ended' if stopped else 'interrupted'

  def _read(self) -> None:
    try:
      replaced, records = self._follower.new_records()
      self._problem = ''
    except LedgerError as error:  # it may be whole again at the next look
      self._problem = str(error)
      return
    if replaced:
      self._begin_again()
    for record in records:
      self._projection.apply(record)

  def _up_to_date(self) -> RunView:
    """Computes the page again if there were new events."""
    self._show()
    if not self._started:
      raise LedgerError(self._problem or _not_started(self.directory))
    if self._view is not None and self._viewed_at == self._follower.place:
      return self._view
    with self._measured(counts=self._view is not None):
      view = self._projection.view(details=False)
      view = dataclasses.replace(view, samples=read_samples(self.directory))
    self._version += 1
    for name in RARE:
      if self._view is None or getattr(view, name) != getattr(self._view, name):
        self._field_versions[name] = self._version
    for row in view.trials:
      before = self._rows.get(row.id)
      if before is None or not _same(before, row):
        self._row_versions[row.id] = self._version
        self._rows[row.id] = row
    self._view, self._viewed_at = view, self._follower.place
    return view


def find_runs(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
  """Yields (key, folder) of the runs in a folder and in its subfolders, two levels down.

  The key of a folder that is a run itself is ''.
  """
  if (folder / LEDGER).exists():
    yield '', folder
    return
  for pattern in ('*', '*/*'):
    for path in sorted(folder.glob(f'{pattern}/{LEDGER}')):
      key = path.parent.relative_to(folder).as_posix()
      if not any(part.startswith('.') for part in path.parent.parts[len(folder.parts) :]):
        yield key, path.parent


def _same(before: TrialView, after: TrialView) -> bool:
  """Whether two rows look the same: the page computes the standard error of an effect itself."""
  return dataclasses.replace(before, effect_sd=after.effect_sd) == after


def _not_started(directory: pathlib.Path) -> str:
  return f'The run in {directory} has not started: its ledger is empty.'
