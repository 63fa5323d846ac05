"""The mirror of a run: complete, never torn, pulled by whoever comes with an empty folder."""

import contextlib
import gzip
import pathlib
import shutil
import sqlite3

import pytest
from helpers import cloud
from helpers.synthetic_run import run

from autoresearch_jax.ledger.git_repo import WorkspaceError
from autoresearch_jax.ledger.ownership import require_usable
from autoresearch_jax.ledger.store import Ledger, read_history
from autoresearch_jax.mirror import Mirror, MirrorError, NoMirror, open_mirror, snapshots


@pytest.fixture
def bucket(tmp_path):
  cloud.register()
  return tmp_path / 'bucket'


@contextlib.contextmanager
def opened(bucket, workdir, said=None):
  with open_mirror(cloud.url(bucket), workdir, (said if said is not None else []).append) as mirror:
    assert isinstance(mirror, Mirror)
    yield mirror


def events(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return list(ledger.records())


def test_a_run_goes_on_in_an_empty_folder_where_it_stopped(tmp_path, bucket):
  with opened(bucket, tmp_path / 'first'):
    history = run(tmp_path / 'first', 8).history
  before = events(tmp_path / 'first')
  (copy,) = [name for name in (bucket / 'programs').iterdir() if name.name == '00000']
  assert (copy / 'model.py').read_text() == history.edits[0].program.text()
  assert len(list((bucket / 'programs').iterdir())) == len(history.kept)
  table = (tmp_path / 'first' / 'results.tsv').read_bytes()
  assert (bucket / 'results.tsv').read_bytes() == table
  said = []
  with opened(bucket, tmp_path / 'second', said):
    assert events(tmp_path / 'second') == before
    assert any(f'pulled {len(before)} events' in line for line in said)
    run(tmp_path / 'second', 12)
  assert events(tmp_path / 'second')[: len(before)] == before
  with opened(bucket, tmp_path / 'third'):
    assert events(tmp_path / 'third') == events(tmp_path / 'second')


def test_copies_are_whole_while_the_run_writes(tmp_path, bucket):
  seen = set()
  with opened(bucket, tmp_path / 'run') as mirror:
    for trials in range(1, 12):
      run(tmp_path / 'run', trials)
      mirror.flush(60)
      count, copy = snapshots.latest(mirror.bucket)
      (tmp_path / 'copy.db').write_bytes(copy)
      assert len(read_copy(tmp_path / 'copy.db')) == count
      seen.add(count)
  assert len(seen) == 11
  assert len(list((bucket / 'ledger').iterdir())) == snapshots.KEPT_COPIES


def read_copy(path):
  with Ledger.read(path) as ledger:
    return list(ledger.records())


def test_a_torn_copy_is_passed_over_and_only_torn_ones_are_an_error(tmp_path, bucket):
  with opened(bucket, tmp_path / 'run') as mirror:
    run(tmp_path / 'run', 2)
    mirror.flush(60)
    run(tmp_path / 'run', 4)
  *_, before, last = sorted((bucket / 'ledger').iterdir())
  last.write_bytes(last.read_bytes()[:-10])
  with opened(bucket, tmp_path / 'fresh'):
    assert len(events(tmp_path / 'fresh')) == int(before.name.split('-')[2])
  for copy in (bucket / 'ledger').iterdir():
    copy.write_bytes(b'')
  with pytest.raises(MirrorError, match='damaged'), opened(bucket, tmp_path / 'other'):
    pass


def test_a_local_ledger_that_is_further_stays(tmp_path, bucket):
  with opened(bucket, tmp_path / 'run'):
    run(tmp_path / 'run', 3)
  run(tmp_path / 'run', 6)
  before = events(tmp_path / 'run')
  with opened(bucket, tmp_path / 'run') as mirror:
    assert events(tmp_path / 'run') == before
    mirror.flush(60)
    assert mirror.uploaded == len(before)


def test_what_another_machine_went_on_with_replaces_a_ledger_that_grew_apart(tmp_path, bucket):
  with opened(bucket, tmp_path / 'old'):
    run(tmp_path / 'old', 3)
  shutil.copytree(tmp_path / 'old', tmp_path / 'new')
  run(tmp_path / 'old', 5)
  lost = events(tmp_path / 'old')
  with opened(bucket, tmp_path / 'new'):
    run(tmp_path / 'new', 7)
  said = []
  with opened(bucket, tmp_path / 'old', said):
    assert events(tmp_path / 'old') == events(tmp_path / 'new')
  assert events(tmp_path / 'old' / 'diverged.1') == lost
  assert any('diverged.1' in line for line in said)
  assert len(run(tmp_path / 'old', 9).history.trials) == 9


def test_a_mirror_of_another_run_is_refused(tmp_path, bucket):
  with opened(bucket, tmp_path / 'one'):
    run(tmp_path / 'one', 2)
  run(tmp_path / 'two', 2)
  with pytest.raises(MirrorError, match='another run'), opened(bucket, tmp_path / 'two'):
    pass
  with opened(bucket, tmp_path / 'three'):  # the lease was given back
    assert len(read_history(tmp_path / 'three').trials) == 2


def test_a_bucket_that_fails_for_a_while_gets_everything_and_is_said_once(tmp_path, bucket, capsys):
  with opened(bucket, tmp_path / 'run') as mirror:
    run(tmp_path / 'run', 2)
    mirror.flush(60)
    cloud.set_weather(bucket, fail=True)
    run(tmp_path / 'run', 6)
    assert not mirror.flush(2.0)
    cloud.set_weather(bucket)
    assert mirror.flush(60)
    assert mirror.uploaded == len(events(tmp_path / 'run'))
  err = capsys.readouterr().err
  assert err.count('goes on meanwhile') == 1 and '503' in err
  assert err.count('works again') == 1


def test_a_session_that_leaves_events_behind_says_so(tmp_path, bucket, capsys, monkeypatch):
  monkeypatch.setattr('autoresearch_jax.mirror.mirror.FLUSH_SECONDS', 0.5)
  with opened(bucket, tmp_path / 'run') as mirror:
    mirror.flush(60)
    cloud.set_weather(bucket, fail=True)
    run(tmp_path / 'run', 2)
  assert 'lacks the latest events' in capsys.readouterr().err


def test_a_copy_in_the_bucket_is_a_ledger_that_any_tool_reads(tmp_path, bucket):
  with opened(bucket, tmp_path / 'run'):
    run(tmp_path / 'run', 2)
  last = max((bucket / 'ledger').iterdir())
  (tmp_path / 'by_hand.db').write_bytes(gzip.decompress(last.read_bytes()))
  with contextlib.closing(sqlite3.connect(tmp_path / 'by_hand.db')) as connection:
    (count,) = connection.execute('SELECT count(*) FROM events').fetchone()
  assert count == len(events(tmp_path / 'run'))


def test_no_url_is_no_mirror(tmp_path):
  with open_mirror('', tmp_path / 'run', pytest.fail) as mirror:
    assert type(mirror) is NoMirror and mirror.lost() == ''
  assert not (tmp_path / 'run').exists()


def test_a_bucket_as_workdir_is_refused_with_the_option_for_it():

  with pytest.raises(WorkspaceError, match='mirror=gs://bucket/night'):
    require_usable(pathlib.Path('gs://bucket/night'))
