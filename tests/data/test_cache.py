"""Prepared folders: whole or not there, made once, checked when used again."""

import errno
import os
import pathlib
import subprocess
import sys

import pytest

from autoresearch_jax.data import cache

MAKE_SLOWLY = """
import pathlib, sys, time
from autoresearch_jax.data import cache
def make(folder):
  with pathlib.Path(sys.argv[1], 'made').open('a') as file:
    file.write('x')
  time.sleep(0.3)
  (folder / 'text').write_text('hello')
print(cache.folder(pathlib.Path(sys.argv[1]), 'greeting', make, lambda sentence: None)[1])
"""


def make(folder):
  (folder / 'deep').mkdir()
  (folder / 'deep' / 'text').write_text('hello')


def quiet(sentence):
  pass


def never(folder):
  raise AssertionError('It was made again.')


def test_a_folder_is_made_once(tmp_path):
  first, content = cache.folder(tmp_path, 'greeting', make, quiet)
  assert (first / 'deep' / 'text').read_text() == 'hello'
  assert cache.folder(tmp_path, 'greeting', never, quiet) == (first, content)


def test_content_is_that_of_names_and_files(tmp_path):
  def other(folder):
    (folder / 'text').write_text('hello')

  contents = [
    cache.folder(tmp_path / str(i), 'x', maker, quiet)[1]
    for i, maker in enumerate((make, make, other))
  ]
  assert contents[0] == contents[1] != contents[2]


def truncate(path):
  path.write_text('hell')


def flip(path):
  path.write_text('jello')


@pytest.mark.parametrize('damage', [truncate, flip, lambda path: path.unlink()])
def test_damage_is_mended_and_said(tmp_path, damage):
  folder, content = cache.folder(tmp_path, 'greeting', make, quiet)
  damage(folder / 'deep' / 'text')
  said = []
  assert cache.folder(tmp_path, 'greeting', make, said.append) == (folder, content)
  assert (folder / 'deep' / 'text').read_text() == 'hello'
  assert 'damaged' in said[0]


def test_a_damaged_seal_is_mended(tmp_path):
  folder, content = cache.folder(tmp_path, 'greeting', make, quiet)
  (folder / cache.SEAL).write_text('{"content": 5')
  assert cache.folder(tmp_path, 'greeting', make, quiet) == (folder, content)


def test_damage_in_the_middle_of_a_large_file_is_seen_where_it_is_sampled(tmp_path, monkeypatch):
  monkeypatch.setattr(cache, 'BLOCK', 16)
  monkeypatch.setattr(cache, 'BLOCKS', 4)

  def large(folder):
    (folder / 'x').write_bytes(bytes(1000))

  folder, _ = cache.folder(tmp_path, 'large', large, quiet)
  for place in (0, 328, 999):
    content = bytearray(1000)
    content[place] = 1
    (folder / 'x').write_bytes(content)
    said = []
    cache.folder(tmp_path, 'large', large, said.append)
    assert said, place


def test_a_failure_leaves_nothing_that_looks_ready(tmp_path):
  def half(folder):
    (folder / 'text').write_text('he')
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    cache.folder(tmp_path, 'greeting', half, quiet)
  assert not (tmp_path / 'greeting').exists()
  folder, _ = cache.folder(tmp_path, 'greeting', make, quiet)
  assert not (folder / 'text').exists()
  assert not list(tmp_path.glob('*.making'))


def test_two_processes_at_once_make_one_folder(tmp_path):
  command = [sys.executable, '-c', MAKE_SLOWLY, str(tmp_path)]
  started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
  outputs = {process.communicate(timeout=120)[0] for process in started}
  assert len(outputs) == 1 and outputs != {''}
  assert (tmp_path / 'made').read_text() == 'x'


def test_the_directory_is_the_users_unless_the_environment_says(monkeypatch, tmp_path):
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path))
  assert cache.directory() == tmp_path
  monkeypatch.delenv('AUTORESEARCH_JAX_CACHE')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert cache.directory() == tmp_path / '.cache' / 'autoresearch_jax'


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path):
  (tmp_path / 'file').write_text('')
  for parent in (
    tmp_path / 'file' / 'cache',
    pathlib.Path('/proc/nowhere'),
    pathlib.Path('/dev/null'),
  ):
    with pytest.raises(
      OSError, match='Set the environment variable AUTORESEARCH_JAX_CACHE'
    ) as error:
      cache.folder(parent, 'data', lambda folder: None, print)
    assert str(parent) in str(error.value)


def test_a_disk_that_fills_up_is_named_and_left_as_it_was(tmp_path):
  """Also where the library that writes gives no errno, as numpy does."""

  def fails(error):
    def make(folder):
      (folder / 'part').write_bytes(b'part')
      raise error

    return make

  full = OSError(f'28800 requested and 2016 written: {os.strerror(errno.ENOSPC)}')
  for error in (full, OSError(errno.ENOSPC, 'No space left on device'), OSError(errno.EDQUOT, '')):
    with pytest.raises(OSError, match=r'The disk is full.*AUTORESEARCH_JAX_CACHE') as raised:
      cache.folder(tmp_path, 'data', fails(error), print)
    assert raised.value.errno == errno.ENOSPC
    assert not (tmp_path / 'data.making').exists()
  with pytest.raises(OSError, match='down'):
    cache.folder(tmp_path, 'data', fails(OSError('the network is down')), print)


def test_the_command_names_the_variable_and_makes_no_folder(tmp_path):
  for environment in ({'HOME': '/proc'}, {'AUTORESEARCH_JAX_CACHE': '/proc/cache'}):
    kept = {k: v for k, v in os.environ.items() if k != 'AUTORESEARCH_JAX_CACHE'}
    done = subprocess.run(
      [sys.executable, '-m', 'autoresearch_jax', 'run', '--config=digits',
       f'--workdir={tmp_path}/run'],
      capture_output=True, text=True, check=False, env={**kept, **environment},
    )  # fmt: skip
    assert done.returncode == 2
    assert 'AUTORESEARCH_JAX_CACHE' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'run').exists()
