"""How slots share a machine: alike, and no device twice."""

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.executors import probe, sharing


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """A machine without a list of devices, whose cores and devices a test says."""
  for name in ('CUDA_VISIBLE_DEVICES', 'TPU_VISIBLE_CHIPS', 'TPU_VISIBLE_DEVICES'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(sharing, 'CPU_FOLDER', tmp_path)

  def has(cores=(), devices=0):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(cores))
    monkeypatch.setattr(probe, 'device_count', lambda _: devices)

  return has


def gpus(slots):
  return [s.environment['CUDA_VISIBLE_DEVICES'] for s in sharing.partition('gpu', slots)]


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu'])
def test_one_slot_has_the_machine_as_it_is(machine, platform):
  machine(cores=range(8), devices=8)
  assert sharing.partition(platform, 1) == [sharing.ResourceShare()]


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_a_slot_for_each_device_of_one_has_the_machine_as_it_is(machine, platform):
  machine(devices=1)
  assert sharing.partition(platform, 0) == [sharing.ResourceShare()]


@given(cores=st.sets(st.integers(0, 200), min_size=2), slots=st.integers(2, 20))
def test_cores_are_shared_alike_or_the_slots_are_too_many(cores, slots):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(os, 'sched_getaffinity', lambda _: cores)
    if slots > len(cores):
      with pytest.raises(ValueError, match=f'slots is {slots}, but there are {len(cores)} cores'):
        sharing.partition('cpu', slots)
      return
    shares = sharing.partition('cpu', slots)
  given_out = [core for share in shares for core in share.cores]
  assert {len(share.cores) for share in shares} == {len(cores) // slots}
  assert len(set(given_out)) == len(given_out)
  assert set(given_out) <= cores
  assert len({share.memory_bytes for share in shares}) == 1


def test_two_threads_of_a_physical_core_go_to_one_slot(machine, tmp_path):
  machine(cores=range(8))
  for cpu in range(8):  # as Linux numbers them: first a thread of each core, then the others
    topology = tmp_path / f'cpu{cpu}' / 'topology'
    topology.mkdir(parents=True)
    (topology / 'core_id').write_text(f'{cpu % 4}\n')
    (topology / 'physical_package_id').write_text('0\n')
  assert [share.cores for share in sharing.partition('cpu', 2)] == [(0, 4, 1, 5), (2, 6, 3, 7)]


def test_gpus_are_counted_where_no_list_names_them(machine):
  machine(devices=4)
  assert gpus(0) == ['0', '1', '2', '3']
  assert gpus(2) == ['0,1', '2,3']


@pytest.mark.parametrize(
  ('listed', 'slots', 'split'),
  [
    ('2,0', 0, ['2', '0']),
    ('GPU-a1, GPU-b2', 2, ['GPU-a1', 'GPU-b2']),
    ('MIG-1,MIG-2,MIG-3,MIG-4', 2, ['MIG-1,MIG-2', 'MIG-3,MIG-4']),
    ('3,2,-1,1', 0, ['3', '2']),  # CUDA reads no further than that
  ],
)
def test_a_list_of_gpus_is_split_and_not_left(machine, monkeypatch, listed, slots, split):
  machine(devices=8)
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', listed)
  assert gpus(slots) == split


@pytest.mark.parametrize(
  ('listed', 'words'), [('', 'There are no GPUs'), ('-1', 'There are no GPUs'), ('0,1,0', 'twice')]
)
def test_a_list_that_hides_all_gpus_or_names_one_twice_is_a_sentence(
  machine, monkeypatch, listed, words
):
  machine(devices=8)
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', listed)
  with pytest.raises(ValueError, match=f'{words}.*') as error:
    gpus(0)
  assert 'CUDA_VISIBLE_DEVICES' in str(error.value)


def test_chips_are_worlds_of_their_own(machine):
  machine(devices=4)
  shares = sharing.partition('tpu', 0)
  assert [share.environment['TPU_VISIBLE_CHIPS'] for share in shares] == ['0', '1', '2', '3']
  assert {share.environment['TPU_PROCESS_BOUNDS'] for share in shares} == {'1,1,1'}
  assert {share.environment['TPU_CHIPS_PER_PROCESS_BOUNDS'] for share in shares} == {'1,1,1'}
  ports = [share.environment['TPU_PROCESS_PORT'] for share in shares]
  assert len(set(ports)) == 4
  for share, port in zip(shares, ports, strict=True):
    assert share.environment['TPU_PROCESS_ADDRESSES'] == f'localhost:{port}'
  pairs = sharing.partition('tpu', 2)
  assert [share.environment['TPU_VISIBLE_CHIPS'] for share in pairs] == ['0,1', '2,3']
  assert pairs[0].environment['TPU_CHIPS_PER_PROCESS_BOUNDS'] == '1,2,1'


@pytest.mark.parametrize(
  ('platform', 'devices', 'slots', 'words'),
  [
    ('gpu', 3, 2, '3 GPUs cannot be divided evenly among 2 slots'),
    ('gpu', 2, 4, '2 GPUs cannot be divided evenly among 4 slots'),
    ('tpu', 24, 4, 'A slot cannot have 6 chips, only 1, 2, 4'),
    ('gpu', 0, 0, 'There are no GPUs .* check CUDA_VISIBLE_DEVICES'),
    ('tpu', 0, 0, 'There are no chips .* check TPU_VISIBLE_CHIPS'),
    ('cpu', 0, -1, 'slots is -1'),
  ],
)
def test_what_cannot_be_shared_alike_is_a_sentence(machine, platform, devices, slots, words):
  machine(cores=range(4), devices=devices)
  with pytest.raises(ValueError, match=words):
    sharing.partition(platform, slots)


def test_devices_that_cannot_be_counted_are_a_sentence(machine, monkeypatch):
  machine()

  def late(_):
    raise RuntimeError('JAX did not say within 120 s how many there are.')

  monkeypatch.setattr(probe, 'device_count', late)
  with pytest.raises(ValueError, match='did not say within 120 s'):
    sharing.partition('gpu', 0)


def test_a_thread_and_what_it_starts_stay_on_its_cores_and_others_do_not():
  everything = os.sched_getaffinity(0)
  core = max(everything)
  code = 'import os; print(sorted(os.sched_getaffinity(0)))'
  elsewhere = []
  with sharing.ResourceShare(cores=(core,)).pinned():
    inside = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    main = os.sched_getaffinity(os.getpid())
  assert main == {core}  # this is the main thread
  assert inside.stdout == f'[{core}]\n'
  assert os.sched_getaffinity(0) == everything

  def hold():
    with sharing.ResourceShare(cores=(core,)).pinned():
      elsewhere.append(os.sched_getaffinity(os.getpid()))

  thread = threading.Thread(target=hold)
  thread.start()
  thread.join()
  assert elsewhere == [everything]
