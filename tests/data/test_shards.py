"""Shards arrive whole, whatever the server and the network do."""

import threading

import pytest

from autoresearch_jax.data import shards

NAME = 'shard_00000.parquet'


def ignore(had, total):
  pass


@pytest.fixture
def downloader(server, tmp_path, monkeypatch):
  monkeypatch.setattr(shards, 'BLOCK', 100)
  return shards.Downloader(
    tmp_path / 'climbmix', server.url, attempts=3, initial_delay=0.001, timeout=20.0
  )


def ranges(server):
  return [asked for _, asked, _ in server.requests]


def test_a_shard_arrives_and_is_recorded(server, downloader):
  seen = []
  assert downloader.fetch(0, lambda had, total: seen.append((had, total)))
  path = downloader.folder / NAME
  size = len(server.files[NAME])
  assert path.read_bytes() == server.files[NAME]
  assert seen[-1] == (size, size)
  assert shards.Manifest.read(downloader.folder).records == {NAME: shards.digest(path)}
  assert sorted(p.name for p in downloader.folder.iterdir()) == ['manifest.json', NAME]


def test_what_is_there_is_not_fetched_again(server, downloader):
  downloader.fetch(0, ignore)
  again = shards.Downloader(downloader.folder, server.url)
  assert not again.fetch(0, ignore)
  assert len(server.requests) == 1


@pytest.mark.parametrize('fault', ['cut', 'stall'])
def test_a_broken_transfer_goes_on_where_it_stopped(server, downloader, fault):
  server.faults[NAME] = [fault]
  downloader.timeout = 0.5 if fault == 'stall' else 20.0
  downloader.fetch(0, ignore)
  size = len(server.files[NAME])
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]
  assert [*dict.fromkeys(ranges(server))] == ['', f'bytes={size // 2 // 100 * 100}-']


@pytest.mark.parametrize('fault', ['whole', 'shifted'])
def test_a_server_that_does_not_honour_the_range_is_asked_for_all(server, downloader, fault):
  server.faults[NAME] = ['cut', fault]
  downloader.fetch(0, ignore)
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]


def test_two_versions_of_a_shard_are_never_joined(server, downloader):
  server.faults[NAME] = ['cut']
  server.tags[NAME] = '"old"'
  downloader.attempts = 1
  with pytest.raises(shards.ShardUnavailable, match=r'The last error: .*broken'):
    downloader.fetch(0, ignore)
  server.files[NAME], server.tags[NAME] = server.files['shard_00001.parquet'], '"new"'
  downloader.fetch(0, ignore)
  assert ranges(server)[-1] != ''
  assert (downloader.folder / NAME).read_bytes() == server.files['shard_00001.parquet']


def test_a_partial_file_longer_than_the_shard_is_given_up(server, downloader):
  partial = downloader.folder / f'{NAME}.part'
  partial.write_bytes(bytes(len(server.files[NAME]) + 5))
  downloader.fetch(0, ignore)
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]


def test_errors_that_pass_are_waited_out(server, downloader, monkeypatch):
  waits = []
  monkeypatch.setattr(downloader.stop, 'wait', lambda seconds: waits.append(seconds) or False)
  server.faults[NAME] = [(500, {}), (429, {'Retry-After': '7'})]
  downloader.fetch(0, ignore)
  assert waits[0] <= 0.001 and waits[1] == 7
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]


def test_pauses_double_up_to_a_limit(server, downloader, monkeypatch):
  waits = []
  monkeypatch.setattr(downloader.stop, 'wait', lambda seconds: waits.append(seconds) or False)
  downloader.initial_delay, downloader.max_delay, downloader.attempts = 1.0, 4.0, 6
  server.faults[NAME] = [(502, {})] * 5
  downloader.fetch(0, ignore)
  for wait, full in zip(waits, [1, 2, 4, 4, 4], strict=True):
    assert full / 2 <= wait <= full


def test_a_server_that_stays_broken_ends_in_a_sentence(server, downloader):
  server.faults[NAME] = [(500, {})] * 9
  with pytest.raises(shards.ShardUnavailable, match=r'shard_00000.*3 attempts.*same command.*500'):
    downloader.fetch(0, ignore)
  assert len(server.requests) == 3


def test_faults_count_in_a_row_only(server, downloader):
  server.faults[NAME] = ['cut', 'cut', 'cut', 'cut', 'cut']
  downloader.fetch(0, ignore)
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]


def test_a_shard_that_does_not_exist_is_no_reason_to_retry(server, downloader):
  with pytest.raises(shards.ShardUnavailable, match=r'404.*--url.*--shards'):
    downloader.fetch(5, ignore)
  assert len(server.requests) == 1


def test_a_refusal_is_said(server, downloader):
  server.faults[NAME] = [(403, {})]
  with pytest.raises(shards.ShardUnavailable, match='refused with 403'):
    downloader.fetch(0, ignore)


def test_something_else_than_parquet_is_not_kept(server, downloader):
  server.files[NAME] = b'<html>Please sign in</html>'
  with pytest.raises(shards.ShardUnavailable, match='parquet'):
    downloader.fetch(0, ignore)
  assert not list(downloader.folder.glob('shard*'))


def test_a_server_that_is_not_there_ends_in_a_sentence(tmp_path):
  downloader = shards.Downloader(tmp_path, 'http://127.0.0.1:9', attempts=2, initial_delay=0.001)
  with pytest.raises(shards.ShardUnavailable, match='2 attempts'):
    downloader.fetch(0, ignore)


def test_stop_keeps_what_was_written(server, downloader):
  with pytest.raises(shards.DownloadStopped):
    downloader.fetch(0, lambda had, total: downloader.stop.set())
  assert (downloader.folder / f'{NAME}.part').stat().st_size == 100
  downloader.stop = threading.Event()
  downloader.fetch(0, ignore)
  assert ranges(server)[-1] == 'bytes=100-'
  assert (downloader.folder / NAME).read_bytes() == server.files[NAME]


def test_a_shard_without_a_record_is_adopted(server, downloader):
  (downloader.folder / NAME).write_bytes(server.files[NAME])
  downloader.fetch(0, ignore)
  assert not server.requests
  assert NAME in shards.Manifest.read(downloader.folder).records


def test_damage_of_one_byte_is_found(server, downloader):
  downloader.fetch(0, ignore)
  downloader.fetch(shards.CLIMBMIX.validation, ignore)
  assert shards.damaged(shards.CLIMBMIX, downloader.folder, 1) == []
  path = downloader.folder / NAME
  content = bytearray(path.read_bytes())
  content[100] ^= 1
  path.write_bytes(content)
  assert shards.damaged(shards.CLIMBMIX, downloader.folder, 1) == [path]


def test_missing_shards_name_the_command(downloader):
  with pytest.raises(
    shards.MissingShards, match=r'2 of 2.*autoresearch prepare .*--shards=1 --cache='
  ):
    shards.present(shards.CLIMBMIX, downloader.folder, 1)


def test_a_truncated_shard_counts_as_missing(server, downloader):
  for index in (0, shards.CLIMBMIX.validation):
    downloader.fetch(index, ignore)
  assert len(shards.present(shards.CLIMBMIX, downloader.folder, 1)) == 2
  with (downloader.folder / NAME).open('r+b') as file:
    file.truncate(50)
  with pytest.raises(shards.MissingShards, match='1 of 2'):
    shards.present(shards.CLIMBMIX, downloader.folder, 1)


def test_a_damaged_manifest_is_a_sentence(downloader):
  (downloader.folder / 'manifest.json').write_text('{"shard')
  with pytest.raises(ValueError, match=r'manifest\.json is damaged.*delete it'):
    shards.Manifest.read(downloader.folder)


def test_texts_come_in_order(server, downloader):
  downloader.fetch(0, ignore)
  texts = list(shards.texts(downloader.folder / NAME))
  assert len(texts) == 60
  assert all(isinstance(text, str) and text for text in texts)


def test_the_last_shard_is_always_wanted():
  assert shards.CLIMBMIX.wanted(2) == [0, 1, 6542]
  with pytest.raises(ValueError, match='1 to 6542'):
    shards.CLIMBMIX.wanted(0)
