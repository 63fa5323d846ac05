"""Attach shows a run of another process, and progress is shared only while somebody looks."""

import io
import itertools
import os
import re
import time

import pytest
from helpers.synthetic_run import Blind, run, ticking
from rich.console import Console

from autoresearch_jax.cli import attach as command
from autoresearch_jax.ledger.events import Edited, LedgerError
from autoresearch_jax.ledger.follower import LedgerFollower
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_records
from autoresearch_jax.report.attach import attach
from autoresearch_jax.report.shared_progress import (
  SharedProgress,
  announce_viewer,
  read_progress,
)
from autoresearch_jax.types import Progress


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  run(directory, 12, clock=ticking())
  return read_records(directory)


class Played:
  """A run of another process: each time the viewer sleeps, it appends its next event."""

  def __init__(self, directory, records, first):
    self.workspace = Workspace.open(directory)
    self.ledger = Ledger.open(self.workspace.ledger_path)
    self.rest = list(records)
    for _ in range(first):
      self.append()

  def append(self):
    self.ledger.append(self.rest.pop(0).event)

  def sleep(self, seconds):
    del seconds
    if self.rest:
      self.append()
    else:
      self.close()

  def close(self):
    self.ledger.close()
    self.workspace.close()


def test_lines_are_printed_where_there_is_no_terminal(records, tmp_path):
  played, lines = Played(tmp_path, records, 10), []
  console = Console(file=io.StringIO())
  history = attach(tmp_path, console, lines.append, played.sleep)
  assert len(history.trials) == 12
  later = sum(isinstance(record.event, Edited) for record in records[10:])
  assert sum('trial' in line for line in lines) >= later
  assert (tmp_path / 'scratch' / 'watched').exists()


@pytest.mark.parametrize('width', [80, 200])
def test_a_terminal_of_any_width(records, tmp_path, width):
  played = Played(tmp_path, records, 10)
  console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24, no_color=True)
  attach(tmp_path, console, sleep=played.sleep)
  shown = console.file.getvalue()
  lines = re.split(r'\n|\r', re.sub(r'\x1b\[[?\d;]*[A-Za-z]', '', shown))
  assert max(map(len, lines)) <= width
  assert 'Ctrl-C detaches' in shown
  assert '\x1b[3' not in shown  # no colour
  assert 'best val_loss' in shown


def test_the_run_is_not_written_to(records, tmp_path):
  played = Played(tmp_path, records, 10)

  def interrupted(seconds):
    del seconds
    raise KeyboardInterrupt

  before = (tmp_path / 'ledger.db-wal').read_bytes()
  with pytest.raises(KeyboardInterrupt):
    attach(tmp_path, Console(file=io.StringIO()), lambda line: None, interrupted)
  assert (tmp_path / 'ledger.db-wal').read_bytes() == before
  played.close()


def test_a_ledger_that_cannot_be_read_for_a_moment_ends_nothing(records, tmp_path, monkeypatch):
  played, calls, read = Played(tmp_path, records, 10), itertools.count(), LedgerFollower.new_records

  def sometimes(follower):
    if next(calls) == 3:
      raise LedgerError('The ledger is locked.')
    return read(follower)

  monkeypatch.setattr(LedgerFollower, 'new_records', sometimes)
  console = Console(file=io.StringIO())
  history = attach(tmp_path, console, lambda line: None, played.sleep)
  assert len(history.trials) == 12 and next(calls) > 4


def test_a_run_that_has_ended(records, tmp_path, capsys):
  played = Played(tmp_path, records, len(records))
  played.close()
  assert command.main([str(tmp_path)]) == 0
  shown = capsys.readouterr().out
  assert 'No process' in shown
  assert '12 trials' in shown


def test_no_run_is_a_sentence(tmp_path, capsys):
  assert command.main([str(tmp_path)]) == 2
  assert str(tmp_path) in capsys.readouterr().err
  with Ledger.open(tmp_path / 'ledger.db'):
    pass
  with pytest.raises(LedgerError, match='has not started'):
    attach(tmp_path)


class Clock:
  def __init__(self):
    self.now = time.time()

  def __call__(self):
    return self.now


@pytest.fixture
def shared(tmp_path):
  (tmp_path / 'scratch').mkdir()
  clock = Clock()
  return SharedProgress(Blind(), tmp_path, clock), clock


def report(view, clock, count=300):
  for step in range(count):
    view.progress(Progress(3, 'train', 0, step / count, step, 5.0 - step / count))
  clock.now += 2.0
  view.tick()


def test_nothing_is_written_when_nobody_looks(shared, tmp_path):
  view, clock = shared
  report(view, clock)
  assert list((tmp_path / 'scratch').iterdir()) == []
  announce_viewer(tmp_path)
  old = clock.now - 60
  os.utime(tmp_path / 'scratch' / 'watched', (old, old))
  report(view, clock)
  assert read_progress(tmp_path) == []


def test_a_viewer_gets_the_learning_curve(shared, tmp_path):
  view, clock = shared
  announce_viewer(tmp_path)
  report(view, clock)
  (found,) = read_progress(tmp_path)
  assert found.progress.step == 299
  assert 100 <= len(found.curve) <= 200
  assert found.curve[0] == (0.0, 5.0)
  assert found.curve[-1][0] == pytest.approx(299 / 300)


def test_a_finished_trial_is_no_longer_reported(shared, tmp_path, records):
  view, clock = shared
  announce_viewer(tmp_path)
  report(view, clock)
  history = History()
  for record in records:
    history.apply(record)
    view.record(record, history)
  clock.now += 2.0
  view.tick()
  assert read_progress(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
  announce_viewer(tmp_path / 'gone')
  assert read_progress(tmp_path / 'gone') == []
