"""One controller at a time: taken, renewed, released, outwaited, taken over."""

import dataclasses
import threading
import time

import msgspec
import pytest
from helpers import cloud

from autoresearch_jax.data.bucket import Bucket
from autoresearch_jax.mirror import lease as leases
from autoresearch_jax.mirror.lease import Holder, Lease, MirrorError, newest


@pytest.fixture
def bucket(tmp_path):
  cloud.register()
  return Bucket(cloud.url(tmp_path / 'bucket'))


@pytest.fixture(autouse=True)
def short(monkeypatch):
  monkeypatch.setattr(leases, 'RENEW_SECONDS', 0.5)
  monkeypatch.setattr(leases, 'LEASE_SECONDS', 1.0)
  monkeypatch.setattr(leases, 'POLL_SECONDS', 0.05)


def quiet(line):
  del line


def elsewhere(bucket, generation=1, renewed=None):
  """A lease of another machine."""
  now = time.time() if renewed is None else renewed
  holder = Holder('pod-7', 'another boot', 123, 5, now, now)
  assert bucket.create(f'lease/{generation:06d}.json', msgspec.json.encode(holder))
  return Lease(bucket, generation, holder)


def test_generations_count_up(bucket):
  for generation in (1, 2, 3):
    lease = Lease.take(bucket, quiet)
    assert lease.generation == generation
    lease.release()
  assert newest(bucket)[0] == 3
  assert len(bucket.names('lease')) <= 2


def test_a_process_of_this_machine_that_has_ended_need_not_be_waited_for(bucket):
  holder = dataclasses.replace(Holder.this(), pid=2**22 + 1)
  bucket.create('lease/000001.json', msgspec.json.encode(holder))
  assert Lease.take(bucket, pytest.fail).generation == 2


def test_a_holder_that_is_alive_is_named_with_how_to_take_it_over(bucket):
  theirs, over = elsewhere(bucket), threading.Event()

  def renew():
    while not over.wait(0.05):
      theirs.renew()

  thread = threading.Thread(target=renew)
  thread.start()
  try:
    with pytest.raises(MirrorError, match=r'123 on pod-7 since \d{4}.*--take_over'):
      Lease.take(bucket, quiet)
    assert newest(bucket)[0] == 1
    lease = Lease.take(bucket, quiet, take_over=True)
    assert lease.generation == 2
  finally:
    over.set()
    thread.join()
  assert theirs.renew().pid == lease.holder.pid
  assert lease.renew() is None


@pytest.mark.parametrize('renewed', [None, 0.0, 4e9])  # now, long ago, and by a clock that is ahead
def test_a_holder_that_does_not_renew_is_outwaited(bucket, renewed):
  elsewhere(bucket, renewed=renewed)
  said = []
  assert Lease.take(bucket, said.append).generation == 2
  assert 'pod-7' in said[0]


def test_of_many_controllers_one_has_the_lease(bucket):
  elsewhere(bucket, renewed=0.0)
  taken, refused = [], []

  def take():
    try:
      taken.append(Lease.take(bucket, quiet))
    except MirrorError as error:
      refused.append(str(error))

  threads = [threading.Thread(target=take) for _ in range(5)]
  for thread in threads:
    thread.start()
  time.sleep(1.5)
  while any(thread.is_alive() for thread in threads):
    for lease in list(taken):
      lease.renew()
    time.sleep(0.05)
  assert len(taken) == 1 and len(refused) == 4
