"""The service of a run as an agent uses it: real commands, in real processes, on digits."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.service.client import release, start

pytestmark = pytest.mark.slow
CONFIG = (
  '--config=digits', '--config.budget.amount=30', '--config.final_seeds=0',
  '--config.acceptance_options.baseline_seeds=2', '--config.limits.isolation=limits',
)  # fmt: skip


def call(*arguments, code=0):
  return called(*arguments, code=code).stdout


def called(*arguments, code):
  done = subprocess.run(
    [sys.executable, '-m', 'autoresearch_jax', *arguments],
    capture_output=True,
    text=True,
    timeout=240,
    check=False,
  )
  assert done.returncode == code, done.stdout + done.stderr
  return done


@pytest.fixture
def folders(tmp_path):
  program, run = tmp_path / 'program', tmp_path / 'run'
  call('start', '--config=digits', f'--out={program}')
  yield program, run
  release(run)


def edit(program, old, new):
  path = program / 'model.py'
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))


def kill_service(run):
  _, pid = (run / 'lock').read_text().split()
  os.kill(int(pid), signal.SIGKILL)
  while is_in_use(run):
    pass


def test_an_agent_drives_a_run_by_commands(folders):
  program, run = folders
  first = json.loads(call('trial', str(program), *CONFIG, f'--workdir={run}', '--json'))
  assert (first['trial'], first['verdict']['decision']) == (0, 'keep')  # the baseline itself

  call('trial', str(program), '--config=packing', f'--workdir={run}', code=2)  # another config

  edit(program, 'WIDTH = 64', 'WIDTH = 32')
  checked = json.loads(call('check', str(program), f'--workdir={run}', '--json'))
  assert (checked['status'], checked['duplicate_of']) == ('ok', None)
  assert checked['parameters'] > 0 and checked['flops_per_step'] > 0
  assert 0 < checked['state_bytes'] < checked['device_bytes']
  text = call('trial', str(program), f'--workdir={run}', '--description=halve WIDTH')
  assert 'trial:            1' in text and 'verdict:' in text
  again = json.loads(call('trial', str(program), f'--workdir={run}', '--json'))
  assert again['trial'] == 1 and len(read_history(run).results) >= 2

  edit(program, 'WIDTH = 32', 'WIDTH = 32  # half')
  checked = json.loads(call('check', str(program), f'--workdir={run}', '--json', code=1))
  assert (checked['status'], checked['duplicate_of']) == ('duplicate', 1)

  kill_service(run)  # nothing is lost: the next trial goes on
  cold = json.loads(call('check', str(program), f'--workdir={run}', '--json', code=1))
  assert cold['fingerprint'] == checked['fingerprint'] and cold['duplicate_of'] == 1
  edit(program, 'WIDTH = 32', 'WIDTH = 16')
  call('trial', str(program), f'--workdir={run}', '--description=a quarter of WIDTH')
  edit(program, 'def predict', 'def guess')
  broken = json.loads(call('trial', str(program), f'--workdir={run}', '--json', code=1))
  assert (broken['status'], broken['verdict']['decision']) == ('invalid', 'crash')
  assert 'halve WIDTH' in (run / 'results.tsv').read_text()

  begun = read_history(run).next_trial
  call('run', *CONFIG, f'--config.search.max_trials={begun + 1}', f'--workdir={run}')
  assert read_history(run).next_trial == begun + 1
  best = pathlib.Path(f'{program}-best')
  call('start', f'--workdir={run}', f'--out={best}')
  assert (best / 'model.py').read_text() == read_history(run).incumbent.edit.program.text()


def test_a_service_that_cannot_start_says_why_and_leaves_nothing(tmp_path):
  program, run = tmp_path / 'program', tmp_path / 'run'
  call('start', '--config=digits', f'--out={program}')
  wrong = ('--config=digits', '--config.metric=nothing', f'--workdir={run}')
  assert 'nothing' in called('trial', str(program), *wrong, code=2).stderr
  assert not run.exists()


def test_a_service_ends_by_itself_when_nothing_is_requested(tmp_path):
  run = tmp_path / 'run'
  said = call('serve', str(run), *CONFIG, '--idle_minutes=0.001')
  assert 'Nothing was requested' in said
  assert list(read_history(run).trials) == [0]
  assert not (run / 'service.sock').exists() and not is_in_use(run)
  call('serve', str(run), '--stop')  # there is none, which is no error


def test_a_service_that_is_still_starting_can_be_stopped(tmp_path):
  run = tmp_path / 'run'
  start(run, CONFIG)  # which has the folder, and no socket yet
  call('serve', str(run), '--stop')
  assert not is_in_use(run)
