"""Others in the run's folder: several controllers at once, git locks, files that are removed."""

import pathlib
import shutil
import time

import pytest
from faults.processes import said, start
from synthetic_run import run, ticking
from test_kill import SYNTHETIC, require_consistent

from autoresearch_jax import workspace as workspaces
from autoresearch_jax.workspace import Workspace

pytestmark = pytest.mark.slow

COMMAND = [str(SYNTHETIC), f'--config={SYNTHETIC}', '--config.search.max_trials=12']


def test_of_five_controllers_that_start_at_once_one_runs_and_four_say_so(tmp_path):
  workdir = tmp_path / 'run'
  command = [*COMMAND, '--config.executor_options.delay=0.3']
  processes = [start(command, workdir) for _ in range(5)]
  codes = sorted(process.wait(90) for process in processes)
  assert codes == [0, 2, 2, 2, 2], said(workdir)
  holder = next(process.pid for process in processes if process.returncode == 0)
  text = said(workdir)
  assert text.count(f'is in use by the process with pid {holder}. Stop that one first') == 4
  assert 'Traceback' not in text
  require_consistent(workdir, 12)


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
  assert waited[0] >= 0.3 > max(waited[1:])
  assert not list(pathlib.Path(tmp_path).glob('repo.broken*'))
