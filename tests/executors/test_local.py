"""The local executor: what hostile and broken programs come to, and that the run goes on."""

import os
import pathlib
import signal

import pytest
from helpers.executor_contract import ExecutorContract, as_program, executor, make, result_of  # noqa: F401
from helpers.tiny_language import STEPS, program

from autoresearch_jax.executors import Unavailable, slot
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import Status, TrialRequest

pytestmark = pytest.mark.slow


class TestContract(ExecutorContract):
  """The battery."""


@pytest.fixture(scope='module')
def local(tmp_path_factory):
  folder = tmp_path_factory.mktemp('local')
  made = make('local', folder, trace_bytes=6 * 2**30, trace_seconds=6.0)
  made.folder = folder
  yield made
  made.close()


# Fork and allocation are bounded, so that a defence that failed would fail the test alone.
AT_IMPORT = {
  'syntax': ('BATCH_SIZE = = 3', Status.INVALID, ['model.py:1']),
  'exit': ('import os; os._exit(0)', Status.INVALID, ['model.py', 'exit code 0']),
  'endless': ('while True: pass', Status.TIMEOUT, ['model.py']),
  'memory': ('x = bytearray(18 * 2**30)', Status.INVALID, ['model.py', 'memory']),
  'forks': (
    'import os\nfor _ in range(2000):\n  if os.fork() == 0: os._exit(0)',
    Status.INVALID,
    ['model.py:3', 'sandbox'],
  ),
  'socket': ('import socket; socket.socket()', Status.INVALID, ['model.py:1']),
  'subprocess': ('import subprocess; subprocess.run(["true"])', Status.INVALID, ['model.py:1']),
  'validation': ('open({validation!r}, "rb").read()', Status.INVALID, ['model.py:1']),
  'test': ('open({test!r}, "rb").read()', Status.INVALID, ['model.py:1']),
}
IN_STEP = {
  'callback': ('jax.debug.print("{x}", x=value)', Status.INVALID, ['model.py', 'callback']),
  'shape': ('gradient = gradient[:3]', Status.INVALID, ['model.py']),
  'nan': ('value = value * jnp.nan', Status.DIVERGED, ['nan at step 0']),
}


@pytest.mark.parametrize('attack', AT_IMPORT)
def test_what_happens_at_import_is_recorded(local, attack):
  line, status, words = AT_IMPORT[attack]
  for split in ('validation', 'test'):
    secret = getattr(local.dataset, split) + '/rows.npy'
    assert pathlib.Path(secret).exists()
    line = line.replace(f'{{{split}!r}}', repr(secret))
  text = line + '\n' + program()
  result = result_of(local, TrialRequest(1, as_program(text), (0,), STEPS))
  assert result.status == status, result.reason
  assert all(word in result.reason for word in words), result.reason
  assert result_of(local, TrialRequest(2, as_program(program()), (0,), STEPS)).status == Status.OK


@pytest.mark.parametrize('attack', IN_STEP)
def test_what_happens_in_a_step_is_recorded(local, attack):
  line, status, words = IN_STEP[attack]
  result = result_of(local, TrialRequest(1, as_program(program(step=line)), (0,), STEPS))
  assert result.status == status, result.reason
  assert all(word in result.reason for word in words), result.reason


def test_a_missing_function_and_a_look_ahead_are_invalid(local):
  text = program().replace('def predict', 'def guess')
  result = result_of(local, TrialRequest(1, as_program(text), (0,), STEPS))
  assert result.status == Status.INVALID and 'predict' in result.reason
  text = program(mix='x = x + jnp.roll(x, -1, axis=1)')
  result = result_of(local, TrialRequest(1, as_program(text), (0,), STEPS))
  assert result.status == Status.INVALID and 'looks ahead' in result.reason


def test_a_runner_that_dies_is_replaced(local):
  request = TrialRequest(1, as_program(program()), (0,), STEPS)
  assert result_of(local, request).status == Status.OK
  os.kill(local.pids()['runner'], signal.SIGKILL)
  first = result_of(local, request)
  assert first.status in (Status.OK, Status.CRASH)
  assert result_of(local, request).status == Status.OK


def test_a_runner_killed_while_it_trains_is_a_crash(local):
  endless = 'gradient = jax.lax.while_loop(lambda g: g[0, 0] < 9e9, jnp.sin, gradient)'
  request = TrialRequest(1, as_program(program(step=endless)), (0,), STEPS)

  def kill(news):
    if news.phase == 'train':
      os.kill(local.pids()['runner'], signal.SIGKILL)

  result = result_of(local, request, kill)
  assert result.status == Status.CRASH
  assert 'SIGKILL' in result.reason
  assert result_of(local, TrialRequest(2, as_program(program()), (0,), STEPS)).status == Status.OK


def test_it_says_what_the_trials_run_on(local):
  found = local.hardware()
  assert found.devices == len(os.sched_getaffinity(0)) and found.kind
  assert {'jax', 'jaxlib'} <= {*found.versions}


def test_closing_ends_every_process(tmp_path):
  made = make('local', tmp_path)
  result_of(made, TrialRequest(0, as_program(program()), (0,), STEPS))
  pids = made.pids()
  made.close()
  for pid in pids.values():
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def test_a_runner_that_never_comes_up_is_no_result(tmp_path, monkeypatch):
  monkeypatch.setattr(slot, 'RETRY_SECONDS', 0.0)
  tries = []

  def wait_until_ready(self, timeout=300.0):
    tries.append(1)
    raise RunnerError(Status.CRASH, 'The devices are busy.')

  monkeypatch.setattr(slot.RunnerClient, 'wait_until_ready', wait_until_ready)
  made = make('local', tmp_path)
  try:
    with pytest.raises(
      Unavailable, match=r'devices are busy\. Fix this and start the same command'
    ):
      result_of(made, TrialRequest(0, as_program(program()), (0,), STEPS))
  finally:
    made.close()
  assert len(tries) == slot.MAX_ATTEMPTS


def test_an_error_that_every_program_would_meet_ends_the_run(tmp_path, monkeypatch):
  def request(self, method, *arguments, **options):
    raise RunnerError(Status.CRASH, 'The metrics are lost.', ends_run=True)

  monkeypatch.setattr(slot.RunnerClient, 'request', request)
  made = make('local', tmp_path)
  try:
    with pytest.raises(Unavailable, match='metrics are lost'):
      result_of(made, TrialRequest(0, as_program(program()), (0,), STEPS))
  finally:
    made.close()
