"""What libtpu processes that share a host are told, and when its lock file is removed."""

import subprocess
import sys
from queue import SimpleQueue

import pytest

from autoresearch_jax.config import Limits, from_config_dict, load
from autoresearch_jax.executors import Unavailable, probe, sharing, slot, tpu_environment
from autoresearch_jax.executors.artifacts import ArtifactStore
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import Status

NO_TPU = {'TPU_TOPOLOGY', 'TPU_ACCELERATOR_TYPE'}  # describe the whole slice


@pytest.fixture(autouse=True)
def bare(monkeypatch):
  for name in ('TPU_VISIBLE_CHIPS', 'TPU_VISIBLE_DEVICES', 'TPU_WORKER_HOSTNAMES'):
    monkeypatch.delenv(name, raising=False)


# What Google's pages and jax's issue 14977 say of a host of each type, as libtpu writes it.
@pytest.mark.parametrize(
  ('machine', 'bounds'),
  [
    ('v4-8', '2,2,1'), ('v5litepod-1', '1,1,1'), ('v5litepod-4', '2,2,1'), ('v5litepod-8', '2,4,1'),
    ('v5p-8', '2,2,1'), ('v6e-1', '1,1,1'), ('v6e-4', '2,2,1'), ('v6e-8', '2,4,1'),
    ('ct5p-hightpu-1t', '1,1,1'), ('ct5p-hightpu-2t', '1,2,1'), ('ct5p-hightpu-4t', '2,2,1'),
    ('ct6e-standard-1t', '1,1,1'), ('ct6e-standard-4t', '2,2,1'), ('ct6e-standard-8t', '2,4,1'),
    ('tpu7x-standard-1t', '1,1,1'), ('tpu7x-standard-4t', '2,2,1'),
  ],
)  # fmt: skip
def test_a_process_with_a_whole_host_has_its_topology(machine, bounds):
  chips, topology = tpu_environment.HOSTS[machine]
  x, y, z = [*map(int, topology.split('x')), 1][:3]
  assert x * y * z == chips
  found = tpu_environment.environment([str(i) for i in range(chips)])
  assert found['TPU_CHIPS_PER_PROCESS_BOUNDS'] == bounds == f'{x},{y},{z}'


def test_every_machine_type_of_the_table_is_tested():
  assert len(tpu_environment.HOSTS) == 16


@pytest.mark.parametrize(('slots', 'bounds'), [(8, '1,1,1'), (4, '1,2,1'), (2, '2,2,1')])
def test_slots_of_eight_chips_are_told_exactly_this(monkeypatch, slots, bounds):
  monkeypatch.setattr(probe, 'device_count', lambda _: 8)
  shares = sharing.partition('tpu', slots)
  size = 8 // slots
  for index, share in enumerate(shares):
    chips = ','.join(str(size * index + i) for i in range(size))
    port = str(8476 + index)
    assert share.environment == {
      'TPU_VISIBLE_CHIPS': chips,
      'TPU_VISIBLE_DEVICES': chips,
      'TPU_CHIPS_PER_PROCESS_BOUNDS': bounds,
      'TPU_CHIPS_PER_HOST_BOUNDS': bounds,
      'TPU_PROCESS_BOUNDS': '1,1,1',
      'TPU_HOST_BOUNDS': '1,1,1',
      'TPU_PROCESS_ADDRESSES': f'localhost:{port}',
      'TPU_PROCESS_PORT': port,
      'TPU_MESH_CONTROLLER_ADDRESS': f'localhost:{port}',
      'TPU_MESH_CONTROLLER_PORT': port,
      'CLOUD_TPU_TASK_ID': '0',
      'TPU_WORKER_ID': '0',
      'TPU_WORKER_HOSTNAMES': 'localhost',
      'TPU_SKIP_MDS_QUERY': '1',
      'TPU_TOPOLOGY': None,
      'TPU_ACCELERATOR_TYPE': None,
      'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    }


@pytest.mark.parametrize('slots', [0, 1])
def test_a_host_of_a_larger_slice_is_a_machine_of_its_own(monkeypatch, slots):
  monkeypatch.setattr(tpu_environment, 'host_chips', lambda: ['0', '1', '2', '3'])
  assert sharing.partition('tpu', 1) == [sharing.ResourceShare()]
  monkeypatch.setenv('TPU_WORKER_HOSTNAMES', '10.0.0.1,10.0.0.2')
  monkeypatch.setattr(probe, 'device_count', lambda _: 4)
  share = sharing.partition('tpu', slots)[0]
  assert share.environment['TPU_WORKER_HOSTNAMES'] == 'localhost'
  assert share.environment['TPU_SKIP_MDS_QUERY'] == '1'
  assert {name for name, value in share.environment.items() if value is None} >= NO_TPU
  assert len(share.environment['TPU_VISIBLE_CHIPS'].split(',')) == (4 if slots else 1)


def test_a_lock_that_nobody_holds_is_removed(tmp_path):
  file = tmp_path / 'lock'
  assert not tpu_environment.remove_stale_lock(file)
  file.touch()
  assert tpu_environment.remove_stale_lock(file) and not file.exists()


@pytest.mark.parametrize('kind', ['flock', 'lockf'])
def test_a_lock_that_a_process_holds_stays(tmp_path, kind):
  file = tmp_path / 'lock'
  file.touch()
  holder = subprocess.Popen(
    [
      sys.executable, '-c',
      f'import fcntl, sys; f = open({str(file)!r}, "r+b"); fcntl.{kind}(f, fcntl.LOCK_EX)\n'
      'print("held", flush=True); sys.stdin.read()',
    ],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
  )  # fmt: skip
  assert holder.stdout.readline() == b'held\n'
  assert not tpu_environment.remove_stale_lock(file) and file.exists()
  holder.communicate()
  assert tpu_environment.remove_stale_lock(file)


def test_a_lock_that_is_open_but_not_locked_stays(tmp_path):
  file = tmp_path / 'lock'
  file.touch()
  with file.open() as lock, subprocess.Popen(['sleep', '60'], stdin=lock) as holder:
    assert not tpu_environment.remove_stale_lock(file)
    holder.kill()


@pytest.mark.parametrize(
  ('text', 'busy'),
  [
    ('ABORTED: The TPU is already in use by process with pid 4242.', True),
    ('ABORTED: Internal error when accessing libtpu multi-process lockfile.', True),
    ('open(/dev/vfio/0): Device or resource busy: Could not open device', True),
    ('CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are busy or unavailable', True),
    ("open(/dev/accel0): Operation not permitted: Couldn't open device: /dev/accel0", True),
    ('No module named libtpu', False),
  ],
)
def test_errors_of_busy_devices_are_recognised(text, busy):
  assert tpu_environment.says_busy(text) is busy


class BusyRunner:
  """A runner that finds its devices busy for some attempts."""

  alive = False

  def __init__(self, attempts, reason):
    self.left, self.reason, self.starts = attempts, reason, 0

  def start(self):
    self.starts += 1

  def wait_until_ready(self):
    if self.starts <= self.left:
      raise RunnerError(Status.CRASH, self.reason)
    raise RunnerError(Status.CANCELLED, 'ready')  # the test needs no more

  def kill(self):
    pass

  close = kill


@pytest.fixture
def busy_slot(tmp_path, monkeypatch):
  """A slot whose devices are busy: `busy_slot(attempts, reason)`."""
  monkeypatch.setattr(slot, 'RETRY_SECONDS', 0.01)
  monkeypatch.setattr(tpu_environment, 'LOCK_FILE', tmp_path / 'lock')
  made = []

  def make(attempts, reason):
    task = build_task(from_config_dict(load('digits')))
    context = slot.SlotContext(
      task.spec, None, (), Limits(), tmp_path, tmp_path, ArtifactStore(tmp_path), SimpleQueue()
    )
    made.append(slot.Slot(context, sharing.ResourceShare()))
    made[0].runner = BusyRunner(attempts, reason)
    return made[0]

  yield make
  for each in made:
    each.close()


def test_busy_devices_are_waited_for(busy_slot):
  one = busy_slot(8, 'The TPU is already in use by process with pid 4242.')
  one.start()
  assert one.runner.starts == 9


def test_devices_that_stay_busy_end_with_the_reason(busy_slot, monkeypatch):
  monkeypatch.setattr(slot, 'BUSY_SECONDS', 0.1)
  one = busy_slot(10**6, 'The TPU is already in use by process with pid 4242.')
  with pytest.raises(Unavailable, match='4242'):
    one.start()
  assert one.runner.starts > 1 + slot.MAX_ATTEMPTS


def test_other_failures_are_not_waited_for(busy_slot):
  one = busy_slot(10**6, 'No module named libtpu.')
  with pytest.raises(Unavailable, match='libtpu'):
    one.start()
  assert one.runner.starts == 1 + slot.MAX_ATTEMPTS  # `start` begins without waiting
