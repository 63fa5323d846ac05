"""kill -9 of a run again and again, and what must hold of its folder afterwards."""

import contextlib
import ctypes
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pygit2
import pytest

from autoresearch_jax.ledger.events import Decided, Edited, Finished
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import rows
from autoresearch_jax.ledger.store import Ledger
from helpers import HELPERS, ROOT

SYNTHETIC = HELPERS / 'synthetic_command.py'


def start(command, workdir):
  return subprocess.Popen(
    [sys.executable, *command, f'--workdir={workdir}'],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  )


@pytest.fixture
def orphans():
  """Makes this process the parent of every orphan; gives a function that waits until all ended."""
  adopt = 36  # PR_SET_CHILD_SUBREAPER
  prctl = ctypes.CDLL(None).prctl
  assert prctl(adopt, 1, 0, 0, 0) == 0
  before = children()

  def require_none(seconds):
    deadline = time.monotonic() + seconds
    while left := children() - before:
      for pid in left:
        os.waitpid(pid, os.WNOHANG)
      assert time.monotonic() < deadline, f'{left} outlived the controller'
      time.sleep(0.05)

  yield require_none
  prctl(adopt, 0, 0, 0, 0)


def children():
  found = set()
  for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
    with contextlib.suppress(OSError):  # ended meanwhile
      state_and_parent = path.read_text().rpartition(')')[2].split()[:2]
      if state_and_parent[1] == str(os.getpid()):
        found.add(int(path.parent.name))
  return found


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
    first_parents.append(commit.tree.id)
    commit = commit.parents[0] if commit.parents else None
  trees = [repository[commits[trial]].tree.id for trial in history.kept]
  assert first_parents[::-1] == trees
  _, *lines = (workdir / 'results.tsv').read_text().splitlines()
  expected = [
    (str(commits[row.trial])[:7], f'{row.value:.6f}', row.status) for row in rows(history)
  ]
  assert [(c, v, s) for c, v, _, s, _ in (line.split('\t') for line in lines)] == expected
  return history


def kill_again_and_again(command, workdir, times, longest, orphans):
  """Starts and kills the command `times` times after up to `longest` seconds each."""
  drawn = random.Random(0)
  for _ in range(times):
    process = start(command, workdir)
    time.sleep(drawn.uniform(0, longest))
    process.kill()
    _, error = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), error
    orphans(10)


def last_start(command, workdir, orphans):
  with start(command, workdir) as process:
    _, error = process.communicate(timeout=180)
  assert process.returncode == 0, error
  orphans(10)


def outcomes(history):
  """What must not depend on how often the run was killed: all but times and durations."""
  return [
    (
      trial.proposal, trial.edit, trial.verdict, trial.result.status, trial.result.fingerprint,
      [(m.seed, m.metrics) for m in trial.result.measurements],
    )
    for trial in history.trials.values()
  ]  # fmt: skip
