"""A disk that is full or can not be written: a sentence at the end, no program blamed, no loss.

A small tmpfs, which takes root; elsewhere these tests are skipped.
"""

import os
import shutil
import subprocess

import pytest
from helpers.kills import SYNTHETIC
from helpers.processes import DIGITS, finish, said, start

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import Status

pytestmark = pytest.mark.slow

COMMAND = [str(SYNTHETIC), f'--config={SYNTHETIC}', '--config.search.max_trials=12']


def mounted(path, options):
  path.mkdir()
  done = subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', options, 'none', path], capture_output=True, check=False
  )
  if done.returncode:
    pytest.skip('Mounting a small disk takes root.')


def unmount(path):
  subprocess.run(['umount', '-l', path], check=True)


@pytest.fixture
def disk(tmp_path):
  """A disk of 3 MiB, and in it a run's folder; what the run prints goes elsewhere."""
  path = tmp_path / 'disk'
  mounted(path, 'size=3m')
  (tmp_path / 'run').symlink_to(path / 'run')
  (path / 'run').mkdir()
  yield path
  unmount(path)


def fill(disk, leave=0):
  """Fills the disk up to `leave` bytes."""
  with (disk / 'ballast').open('ab') as file:
    left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - leave
    file.write(bytes(max(0, left)))


def history(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return History.of(ledger.records())


@pytest.mark.parametrize('leave', [0, 8_000, 60_000, 250_000])
def test_a_disk_that_fills_up_ends_the_run_in_a_sentence(disk, tmp_path, leave):
  workdir = tmp_path / 'run'
  assert finish([*COMMAND, '--config.search.max_trials=2'], workdir)[0] == 0
  fill(disk, leave)
  code, text = finish([*COMMAND, '--config.search.max_trials=200'], workdir)
  assert code in (1, 2), text
  last = text.strip().splitlines()[-1]
  assert 'Traceback' not in text
  assert 'full' in last or 'No space left' in last, text
  assert 'same command resumes' in last, text
  assert not list((disk / 'run').glob('repo.broken*'))
  (disk / 'ballast').unlink()
  done = len(history(workdir).trials)
  most = done + 5
  code, text = finish([*COMMAND, f'--config.search.max_trials={most}'], workdir)
  assert code == 0, text
  assert sorted(history(workdir).trials) == list(range(most))


def test_a_full_disk_is_no_fault_of_a_real_program(disk, tmp_path):
  workdir = tmp_path / 'run'
  command = [*DIGITS, '--config.acceptance_options.baseline_seeds=2']
  assert finish([*command, '--config.search.max_trials=2'], workdir)[0] == 0
  fill(disk, 300_000)  # the ledger has room, artifacts soon have not
  code, text = finish([*command, '--config.search.max_trials=60'], workdir)
  assert code in (1, 2), text
  last = text.strip().splitlines()[-1]
  assert 'Traceback' not in text and ('full' in last or 'No space left' in last)
  (disk / 'ballast').unlink()
  done = len(history(workdir).trials) + 2
  code, text = finish([*command, f'--config.search.max_trials={done}'], workdir)
  assert code == 0, text
  statuses = {trial.result.status for trial in history(workdir).trials.values()}
  assert statuses <= {Status.OK, Status.DUPLICATE}


def test_a_full_cache_of_compiled_programs_costs_time_and_nothing_else(disk, tmp_path):
  command = [*DIGITS, '--config.acceptance_options.baseline_seeds=2']
  cache = {'AUTORESEARCH_JAX_CACHE': str(disk / 'cache')}
  for name in ('first', 'second'):
    code, text = finish([*command, '--config.search.max_trials=2'], tmp_path / name, **cache)
    assert code == 0, text
    fill(disk)
  assert len(history(tmp_path / 'second').trials) == 2
  for path in (disk / 'cache' / 'xla').iterdir():
    if path.is_file():
      path.write_bytes(path.read_bytes()[:100])  # as a kill in the middle leaves it
  (disk / 'cache' / 'peak_flops.json').write_text('{"cpu')
  code, text = finish([*command, '--config.search.max_trials=2'], tmp_path / 'third', **cache)
  assert code == 0, text
  scores = [
    [trial.metric('val_loss') for trial in history(tmp_path / name).trials.values()]
    for name in ('first', 'second', 'third')
  ]
  assert scores[0] == scores[1] == scores[2]


def test_a_folder_that_can_not_be_written_is_a_sentence(disk, tmp_path):
  workdir = tmp_path / 'run'
  assert finish([*COMMAND, '--config.search.max_trials=2'], workdir)[0] == 0
  subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
  code, text = finish(COMMAND, workdir)
  assert code == 2
  assert '--workdir: Read-only file system' in text.splitlines()[-1]
  subprocess.run(['mount', '-o', 'remount,rw', disk], check=True)
  assert finish(COMMAND, workdir)[0] == 0


@pytest.mark.parametrize('strategy', ['greedy', 'tpe'])
def test_a_repository_that_turns_read_only_in_mid_run_is_a_sentence(tmp_path, strategy):
  """Whether a proposer writes the edit, or the strategy gives it."""
  workdir, repository = tmp_path / 'run', tmp_path / 'run' / 'repo'
  command = [str(SYNTHETIC), f'--config={SYNTHETIC}', f'--config.search.strategy={strategy}',
             '--config.executor_options.delay=0.05']  # fmt: skip
  assert finish([*command, '--config.search.max_trials=2'], workdir)[0] == 0
  repository.rename(tmp_path / 'copy')
  mounted(repository, 'size=9m')
  try:
    shutil.copytree(tmp_path / 'copy', repository, dirs_exist_ok=True)
    process = start([*command, '--config.search.max_trials=0'], workdir)
    try:
      while len(history(workdir).trials) < 4:
        assert process.poll() is None
      subprocess.run(['mount', '-o', 'remount,ro', repository], check=True)
      assert process.wait(120) == 2
    finally:
      process.kill()
      process.wait()
    assert 'Traceback' not in said(workdir)
    last = said(workdir).strip().splitlines()[-1]
    assert 'repo cannot be written' in last and 'Read-only file system' in last
    assert 'same command resumes' in last
    subprocess.run(['mount', '-o', 'remount,rw', repository], check=True)
    most = len(history(workdir).edits) + 2
    assert finish([*command, f'--config.search.max_trials={most}'], workdir)[0] == 0
  finally:
    unmount(repository)
