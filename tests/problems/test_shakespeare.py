"""Tiny Shakespeare is downloaded once and checked; without a network there is other text."""

import functools
import hashlib
import http.server
import pathlib
import threading

import numpy as np
import pytest

from autoresearch_jax.problems import shakespeare
from autoresearch_jax.problems.shakespeare import Shakespeare

TEXT = b''.join(b'Line %d of the play.\n' % n for n in range(2000))
SMALL = {'sequence_length': 32, 'evaluation_batch': 4}
NOWHERE = 'http://127.0.0.1:9/input.txt'


@pytest.fixture
def url(monkeypatch, tmp_path):
  """Address of a text that is taken for the plays, as a loopback server has it."""
  (tmp_path / 'served').mkdir()
  (tmp_path / 'served' / 'input.txt').write_bytes(TEXT)
  monkeypatch.setattr(shakespeare, 'SHA256', hashlib.sha256(TEXT).hexdigest())
  handler = functools.partial(
    http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / 'served')
  )
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/input.txt'
    server.shutdown()
    thread.join()


def test_it_is_downloaded_once_and_its_end_is_held_out(url, tmp_path):
  said = []
  dataset = Shakespeare(url=url, **SMALL).prepare(tmp_path / 'cache', said.append)
  rows = np.load(pathlib.Path(dataset.validation, 'rows.npy'))
  text = bytes(token for token in rows.ravel() if token < 256)
  assert b'Line 1850' in text and b'Line 100 ' not in text
  again = Shakespeare(url=NOWHERE, **SMALL).prepare(tmp_path / 'cache', said.append)
  assert again == dataset and len(said) == 1


def test_another_text_is_refused(url, tmp_path, monkeypatch):
  monkeypatch.setattr(shakespeare, 'SHA256', 64 * '0')
  with pytest.raises(ValueError, match=r'not that of tiny Shakespeare.*Correct config.data.url'):
    Shakespeare(url=url, **SMALL).prepare(tmp_path / 'cache', print)
  (tmp_path / 'cache' / 'shakespeare' / 'shakespeare.txt').write_bytes(TEXT)
  with pytest.raises(ValueError, match=r'shakespeare\.txt has .*Delete that file'):
    Shakespeare(url=url, **SMALL).prepare(tmp_path / 'cache', print)


@pytest.mark.slow
def test_without_a_network_there_is_other_text_unless_the_download_is_demanded(url, tmp_path):
  said = []
  again = Shakespeare(url=NOWHERE, **SMALL).prepare(tmp_path, said.append)
  assert 'do not compare' in said[0]
  assert again == Shakespeare('python', **SMALL).prepare(tmp_path, said.append)
  dataset = Shakespeare(url=url, **SMALL).prepare(tmp_path, said.append)  # a network, later
  assert dataset.fingerprint == again.fingerprint and 'source' in said[-1]
  with pytest.raises(OSError, match=r'could not be downloaded.*config.data.source'):
    Shakespeare('download', url=NOWHERE, **SMALL).prepare(tmp_path, said.append)
