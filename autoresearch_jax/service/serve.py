"""A session that trains what is requested, and ends by itself when nothing is.

It is a run like any other: the same ledger, results, branch and report. Only the strategy and the
proposer are not asked for trials. So a search and a person or agent can take turns in one run.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from autoresearch_jax.config import Config
from autoresearch_jax.ledger import mailbox
from autoresearch_jax.ledger.events import Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.report import View
from autoresearch_jax.report.base import ForwardingView
from autoresearch_jax.research.session import (
  SessionOutcome,
  SessionParts,
  StopRequest,
  run_session,
)
from autoresearch_jax.service.checker import Checker, in_run
from autoresearch_jax.service.sockets import answering
from autoresearch_jax.types import Program, Progress, from_builtins

IDLE_SECONDS = 15 * 60.0


class _Activity:
  """A stop request that also comes when nothing has happened for a while, or on demand.

  Args:
    signals: Stop requests of the user.
    directory: The run's folder.
    idle_seconds: Time without activity after which the session ends.
    clock: Returns seconds.

  Attributes:
    history: The run so far, once it is known.
  """

  def __init__(
    self,
    signals: StopRequest,
    directory: pathlib.Path,
    idle_seconds: float,
    clock: Callable[[], float],
  ):
    self._signals, self._directory, self._clock = signals, directory, clock
    self._idle_seconds, self._active_at = idle_seconds, clock()
    self._handed_over = self._is_over = False
    self.history: History | None = None

  def __enter__(self) -> Self:
    self._signals.__enter__()
    return self

  def __exit__(self, *error: object) -> None:
    self._signals.__exit__(*error)

  def touch(self) -> None:
    """Notes that something has happened."""
    self._active_at = self._clock()

  def hand_over(self) -> None:
    """Ends the session, so that another command can use the run's folder."""
    self._handed_over = True

  def __call__(self) -> str:
    if reason := self._signals():
      return reason
    if self._handed_over:
      return 'Another command has asked the service to end.'
    if not (self._directory / 'lock').exists():
      return f'The folder {self._directory} is gone.'
    if self._is_over:  # during the final evaluation
      return 'Another trial was requested.' if mailbox.waiting(self._directory) else ''
    if self._is_busy():
      self.touch()
    if self._clock() - self._active_at > self._idle_seconds:
      return f'Nothing was requested for {self._idle_seconds / 60:g} minutes.'
    return ''

  def _is_busy(self) -> bool:
    """Whether a trial is in progress, or the baseline is still to come."""
    return self.history is None or not self.history.edits or bool(self.history.running)

  def rearm(self) -> bool:
    self._is_over = True
    return not self._handed_over and self._signals.rearm()


class _ActiveView(ForwardingView):
  """Passes everything on to another view, and notes that something has happened."""

  def __init__(self, view: View, activity: _Activity):
    super().__init__(view)
    self._activity = activity

  def record(self, record: Record, history: History) -> None:
    self._activity.touch()
    super().record(record, history)

  def progress(self, progress: Progress) -> None:
    self._activity.touch()
    super().progress(progress)


def serve(
  config: Config,
  directory: pathlib.Path,
  *,
  say: Callable[[str], None],
  make_view: Callable[[History], View],
  stop: StopRequest,
  idle_seconds: float = IDLE_SECONDS,
  clock: Callable[[], float] = time.monotonic,
) -> SessionOutcome:
  """Runs a session of requested trials, and answers at the run's socket meanwhile.

  At the end, the best program is compared with the baseline on the test split, as after a search,
  unless another trial is requested or another command takes the run over.

  Args:
    config: The run's config.
    directory: The run's folder; created if missing.
    say: Receives lines of text.
    make_view: Makes the live view.
    stop: Stop requests of the user.
    idle_seconds: Time without any activity after which the session ends.
    clock: Returns seconds.

  Raises:
    As `run_session`.
  """
  activity = _Activity(stop, directory, idle_seconds, clock)

  @contextlib.contextmanager
  def beside(parts: SessionParts) -> Iterator[None]:
    scratch = directory / 'scratch' / 'checks'
    with _checker(parts, scratch) as checker:

      def answer(request: dict[str, Any]) -> object:
        activity.touch()
        if 'check' in request:
          program = from_builtins(request['check'], Program)
          return in_run(checker.check(program), parts.history)
        if 'stop' in request:
          activity.hand_over()
          return {}
        raise ValueError('Unknown request; the versions of this command and of the run differ.')

      with answering(directory, answer):
        yield

  def view(history: History) -> View:
    activity.history = history
    return _ActiveView(make_view(history), activity)

  return run_session(
    config,
    directory,
    say=say,
    make_view=view,
    stop=activity,
    requested_only=True,
    beside=beside,
  )


def _checker(parts: SessionParts, scratch: pathlib.Path) -> Checker:
  run, hardware = parts.run, parts.executor.hardware()
  devices = hardware.devices if hardware is not None and run.config.platform != 'cpu' else 1
  spec = dataclasses.replace(run.spec, num_devices=devices)
  hidden = run.hidden_paths(parts.dataset)
  return Checker(spec, parts.dataset.evaluation_batch, run.config.limits, scratch, hidden)
