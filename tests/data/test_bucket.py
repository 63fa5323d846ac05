"""A bucket on a disk and in an object store: whole files, one creator, errors as sentences."""

import threading

import pytest
from helpers import cloud

from autoresearch_jax.data.bucket import Bucket, BucketError, BucketUrlError


@pytest.fixture(params=['file', 'cloud'])
def bucket(request, tmp_path):
  cloud.register()
  return Bucket(f'{request.param}://{tmp_path}/bucket/night/')


def test_what_is_written_is_read_listed_and_deleted(bucket, tmp_path):
  assert bucket.names('ledger') == [] and bucket.read('ledger/1') is None
  bucket.write('ledger/1', b'one')
  bucket.write('ledger/2', b'two')
  bucket.write('ledger/1', b'another')
  assert bucket.names('ledger') == ['1', '2']
  assert bucket.read('ledger/1') == b'another'
  (tmp_path / 'local').write_bytes(b'large')
  bucket.upload('artifacts/a', tmp_path / 'local')
  bucket.download('artifacts/a', tmp_path / 'back' / 'a')
  assert (tmp_path / 'back' / 'a').read_bytes() == b'large'
  for _ in range(2):
    bucket.delete('ledger/1')
  assert bucket.names('ledger') == ['2']


def test_of_many_creators_one_succeeds(bucket):
  won, barrier = [], threading.Barrier(8)

  def create(number):
    barrier.wait()
    if bucket.create('lease/1', str(number).encode()):
      won.append(number)

  threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(won) == 1
  assert bucket.read('lease/1') == str(won[0]).encode()
  assert bucket.names('lease') == ['1']


def test_any_failure_of_a_store_is_a_bucket_error(tmp_path):
  cloud.register()
  bucket = Bucket(cloud.url(tmp_path / 'bucket'))
  cloud.set_weather(tmp_path / 'bucket', fail=True)
  for call in (lambda: bucket.read('a'), lambda: bucket.names('b'), lambda: bucket.write('c', b'')):
    with pytest.raises(BucketError, match='503'):
      call()
  cloud.set_weather(tmp_path / 'bucket')
  bucket.write('c', b'')
  assert bucket.read('c') == b''


def test_a_url_that_names_no_store_is_refused_with_what_to_do():
  with pytest.raises(BucketUrlError, match=r'gs://'):
    Bucket('nowhere://bucket')
  with pytest.raises(BucketUrlError, match='absolute'):
    Bucket('file://relative/path')
