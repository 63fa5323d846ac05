"""`attach`: the live view of a run that another process carries out."""

import contextlib
import pathlib
import time
from collections.abc import Callable

from rich.console import Console

from autoresearch_jax.ledger.events import LedgerError, Record
from autoresearch_jax.ledger.follower import LedgerFollower
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.messages import say
from autoresearch_jax.report import live
from autoresearch_jax.report.base import View
from autoresearch_jax.report.shared_progress import announce_viewer, read_progress

POLL_SECONDS = 0.5
ANNOUNCE_POLLS = 6  # polls between two signs to the run that somebody looks


def attach(
  directory: pathlib.Path,
  console: Console | None = None,
  print_line: Callable[[str], None] = say,
  sleep: Callable[[float], None] = time.sleep,
) -> History:
  """Shows the run in a folder until its process ends; returns the run so far.

  The run is only read. Its process shows that somebody looks at most by writing the progress of
  running trials to a file.

  Args:
    directory: The run's folder.
    console: The terminal.
    print_line: Receives the lines that are shown where there is no terminal.
    sleep: Waits so many seconds.

  Raises:
    LedgerError: There is no run, or its ledger cannot be read.
  """
  follower = LedgerFollower(directory)
  _, records = follower.new_records()
  history = History.of(records)
  if history.started is None:
    raise LedgerError(f'The run in {directory} has not started: its ledger is empty.')
  with live.view(history, console, print_line, ending='Ctrl-C detaches, the run goes on') as view:
    polls = 0
    while is_in_use(directory):
      if polls % ANNOUNCE_POLLS == 0:
        announce_viewer(directory)
      with contextlib.suppress(LedgerError):  # it may be readable at the next look
        history = _show(follower, history, view)
      polls += 1
      sleep(POLL_SECONDS)
    return _show(follower, history, view)


def _show(follower: LedgerFollower, history: History, view: View) -> History:
  """Shows what is new; returns the history, another one if the ledger was replaced."""
  replaced, records = follower.new_records()
  if replaced:
    history = History()
  for record in records:
    _add(record, history, view)
  for running in read_progress(follower.directory):
    if running.progress.trial in history.running:
      view.progress(running.progress)
  view.tick()
  return history


def _add(record: Record, history: History, view: View) -> None:
  history.apply(record)
  view.record(record, history)
