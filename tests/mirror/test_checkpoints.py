"""Checkpoints of the runs under way are in the bucket, the latest of each, and are pulled."""

import shutil

import pytest
from helpers import cloud
from helpers.synthetic_run import run

from autoresearch_jax.data.bucket import Bucket
from autoresearch_jax.mirror import checkpoints, open_mirror


@pytest.fixture
def store(tmp_path):
  cloud.register()
  return Bucket(cloud.url(tmp_path / 'bucket'))


def save(workdir, name, step, complete=True):
  """Writes what a runner does."""
  folder = workdir / 'scratch' / 'checkpoints' / name / str(step)
  (folder / 'leaves').mkdir(parents=True)
  (folder / 'leaves' / 'data').write_bytes(b'%d' % step)
  if complete:
    (folder / checkpoints.COMPLETE).write_text('')
  return folder


def quiet(line):
  del line


def test_the_latest_complete_one_of_each_run_is_there_and_goes_with_its_trial(tmp_path, store):
  workdir = tmp_path / 'run'
  with open_mirror(store.url, workdir, quiet) as mirror:
    run(workdir, 2)
    first = save(workdir, 'a', 9)
    save(workdir, 'b', 5)
    mirror.flush(60)
    assert checkpoints.names(store) == ['checkpoints/a.9.tar', 'checkpoints/b.5.tar']
    save(workdir, 'a', 10)
    save(workdir, 'a', 11, complete=False)
    shutil.rmtree(first)
    mirror.flush(60)
    shutil.rmtree(workdir / 'scratch' / 'checkpoints' / 'b')
    run(workdir, 3)
  assert 'checkpoints/a.10.tar' in checkpoints.names(store)
  said = []
  with open_mirror(store.url, tmp_path / 'fresh', said.append) as mirror:
    pulled = checkpoints.found(tmp_path / 'fresh')['checkpoints/a.10.tar']
    assert (pulled / 'leaves' / 'data').read_bytes() == b'10'
    shutil.rmtree(tmp_path / 'fresh' / 'scratch' / 'checkpoints')
    run(tmp_path / 'fresh', 4)
    mirror.flush(60)
    while checkpoints.names(store):  # deleted in the background
      pass


def test_local_checkpoints_stay_where_the_local_ledger_does(tmp_path, store):
  workdir = tmp_path / 'run'
  with open_mirror(store.url, workdir, quiet) as mirror:
    run(workdir, 2)
    folder = save(workdir, 'a', 7)
    mirror.flush(60)
  (folder / 'leaves' / 'data').write_bytes(b'mine')
  with open_mirror(store.url, workdir, quiet):
    assert (folder / 'leaves' / 'data').read_bytes() == b'mine'
