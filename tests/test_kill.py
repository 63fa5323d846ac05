"""kill -9 of the controller at random moments, then the same command: none lost, none doubled."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import msgspec
import pygit2
import pytest

from autoresearch_jax.history import History, rows
from autoresearch_jax.ledger import Decided, Edited, Finished, Ledger

HERE = pathlib.Path(__file__).parent
SYNTHETIC = HERE / 'synthetic_command.py'


def start(command, workdir, environment):
  """The controller in a session of its own, so that what it leaves behind can be found."""
  return subprocess.Popen(
    [sys.executable, *command, f'--workdir={workdir}'],
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=HERE.parent,
    env={**os.environ, **environment},
  )  # fmt: skip


def left_behind(mark):
  """Processes that carry `mark` in their environment: the controller's, and all it started."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/environ'):
    try:
      environment = path.read_bytes()
      dead = b') Z ' in (path.parent / 'stat').read_bytes()
    except OSError:
      continue
    if mark.encode() in environment and not dead:
      found.append(int(path.parent.name))
  return found


def nothing_left_behind(mark, seconds):
  deadline = time.monotonic() + seconds
  while left := left_behind(mark):
    assert time.monotonic() < deadline, f'{left} outlived the controller'
    time.sleep(0.05)


def require_consistent(workdir, trials):
  """Ledger, repository and results.tsv tell the same story of `trials` trials."""
  with Ledger.read(workdir / 'ledger.db') as ledger:
    records = list(ledger.records())
  history = History.of(records)
  made = [record.event.trial for record in records if isinstance(record.event, Edited)]
  assert made == list(range(trials))
  for kind in (Finished, Decided):
    found = [record.event.trial for record in records if isinstance(record.event, kind)]
    assert sorted(found) == list(range(trials))
  repository = pygit2.Repository(str(workdir / 'repo'))
  commits = [repository.references[f'refs/trials/{trial}'].target for trial in range(trials)]
  branch = repository.references['refs/heads/autoresearch/' + history.started.tag]
  first_parents, commit = [], branch.peel(pygit2.Commit)
  while commit is not None:
    first_parents.append(commit.id)
    commit = commit.parents[0] if commit.parents else None
  assert first_parents[::-1] == [commits[trial] for trial in history.kept]
  _, *lines = (workdir / 'results.tsv').read_text().splitlines()
  expected = [
    (str(commits[row.trial])[:7], f'{row.value:.6f}', row.status) for row in rows(history)
  ]
  assert [(c, v, s) for c, v, _, s, _ in (line.split('\t') for line in lines)] == expected
  return history


def kill_again_and_again(command, workdir, times, longest, left_for):
  """Starts and kills the command `times` times after up to `longest` seconds each."""
  drawn = random.Random(0)
  for number in range(times):
    mark = f'{workdir.name}-{number}'
    process = start(command, workdir, {'KILL_TEST': mark})
    time.sleep(drawn.uniform(0, longest))
    process.kill()
    _, error = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), error
    nothing_left_behind(f'KILL_TEST={mark}', left_for)


def last_start(command, workdir):
  with start(command, workdir, {}) as process:
    _, error = process.communicate(timeout=120)
  assert process.returncode == 0, error


@pytest.mark.slow
def test_killed_twenty_times_a_synthetic_run_ends_as_if_undisturbed(tmp_path):
  flags = ['--config.search.max_trials=60', '--config.executor_options.delay=0.02']
  command = [str(SYNTHETIC), f'--config={SYNTHETIC}', *flags]
  kill_again_and_again(command, tmp_path / 'killed', 20, 1.6, 5)
  last_start(command, tmp_path / 'killed')
  last_start(command, tmp_path / 'whole')
  killed = require_consistent(tmp_path / 'killed', 60)
  whole = require_consistent(tmp_path / 'whole', 60)
  assert msgspec.json.encode(killed.trials) == msgspec.json.encode(whole.trials)


@pytest.mark.slow
def test_killed_side_by_side_trials_are_neither_lost_nor_doubled(tmp_path):
  flags = [
    '--config.search.max_trials=40',
    '--config.executor_options.delay=0.02',
    '--config.executor_options.slots=3',
  ]
  command = [str(SYNTHETIC), f'--config={SYNTHETIC}', *flags]
  kill_again_and_again(command, tmp_path / 'run', 5, 1.6, 5)
  last_start(command, tmp_path / 'run')
  with Ledger.read(tmp_path / 'run' / 'ledger.db') as ledger:
    records = list(ledger.records())
  for kind in (Edited, Finished, Decided):
    found = [record.event.trial for record in records if isinstance(record.event, kind)]
    assert sorted(found) == list(range(40))
