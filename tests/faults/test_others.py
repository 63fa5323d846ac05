"""Others in the run's folder: several controllers at once, git locks, files that are removed."""

import pathlib
import shutil
import signal
import time

import pytest
from helpers.kills import SYNTHETIC, require_consistent
from helpers.processes import finish, said, start
from helpers.synthetic_run import run, ticking

from autoresearch_jax.ledger import git_repo as workspaces
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger

pytestmark = pytest.mark.slow

COMMAND = [str(SYNTHETIC), f'--config={SYNTHETIC}', '--config.executor_options.delay=0.3']


def test_of_five_controllers_that_start_at_once_one_runs_and_four_say_so(tmp_path):
  workdir = tmp_path / 'run'
  processes = [start([*COMMAND, '--config.search.max_trials=0'], workdir) for _ in range(5)]
  try:
    deadline = time.monotonic() + 120
    while len(running := [process for process in processes if process.poll() is None]) > 1:
      assert time.monotonic() < deadline, said(workdir)
      time.sleep(0.05)
  finally:
    for process in processes:
      process.terminate()
  (holder,) = running
  assert holder.wait(60) == 128 + signal.SIGTERM
  assert [process.returncode for process in processes if process is not holder] == [2] * 4
  text = said(workdir)
  assert text.count(f'is in use by the process with pid {holder.pid}. Stop that process first') == 4
  assert 'Traceback' not in text
  with Ledger.read(workdir / 'ledger.db') as ledger:
    trials = History.of(ledger.records()).next_trial + 1
  assert finish([*COMMAND, f'--config.search.max_trials={trials}'], workdir)[0] == 0
  require_consistent(workdir, trials)


def leave_locks(git):
  for name in ('index.lock', 'HEAD.lock', 'refs/heads/autoresearch/synthetic.lock'):
    (git / name).write_text('')


def remove_objects(git):
  shutil.rmtree(git / 'objects')
  (git / 'objects').mkdir()


def remove_all(git):
  shutil.rmtree(git)


@pytest.mark.parametrize('damage', [leave_locks, remove_objects, remove_all])
@pytest.mark.parametrize('moment', ['record_trial', 'record_verdict'])
def test_a_repository_that_is_disturbed_while_the_run_goes_on_is_made_anew(
  tmp_path, monkeypatch, damage, moment
):
  monkeypatch.setattr(workspaces, 'LOCK_SECONDS', 0.01)
  struck = []

  class Disturbed(Workspace):
    def disturb(self, name, history, trial):
      if name == moment and trial in (3, 4, 7):
        struck.append(trial)
        damage(self.repository_path / '.git')
      getattr(Workspace, name)(self, history, trial)

    def record_trial(self, history, trial):
      self.disturb('record_trial', history, trial)

    def record_verdict(self, history, trial):
      self.disturb('record_verdict', history, trial)

  run(tmp_path / 'disturbed', 12, clock=ticking(), workspace_kind=Disturbed)
  run(tmp_path / 'whole', 12, clock=ticking())
  assert struck == [3, 4, 7]
  disturbed, whole = (tmp_path / name / 'results.tsv' for name in ('disturbed', 'whole'))
  assert disturbed.read_bytes() == whole.read_bytes()
  run(tmp_path / 'disturbed', 12, clock=ticking(1.8e9))  # a session event, and no trial
  require_consistent(tmp_path / 'disturbed', 12)


def test_a_lock_that_another_program_holds_for_a_moment_is_waited_for(tmp_path, monkeypatch):
  monkeypatch.setattr(workspaces, 'LOCK_SECONDS', 0.3)
  waited = []

  class Watched(Workspace):
    def record_verdict(self, history, trial):
      if trial == 0:
        (self.repository_path / '.git' / 'index.lock').write_text('')
      began = time.monotonic()
      super().record_verdict(history, trial)
      waited.append(time.monotonic() - began)

  run(tmp_path, 3, workspace_kind=Watched)
  assert waited[0] >= 0.3 > min(waited[1:])
  assert not list(pathlib.Path(tmp_path).glob('repo.broken*'))
