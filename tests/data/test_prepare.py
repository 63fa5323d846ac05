"""The prepare command from end to end, against a loopback server, as a person would start it."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from autoresearch_jax.data import packing, shards
from autoresearch_jax.problems.language_model import LanguageModel

pytestmark = pytest.mark.slow

SMALL = ['--vocab_size=280', '--sequence_length=32', '--validation_tokens=256', '--shards=2']
SMALL += ['--test_tokens=128']


def start(server, cache, *flags):
  command = [sys.executable, '-m', 'autoresearch_jax.data.prepare', f'--url={server.url}']
  return subprocess.Popen(
    [*command, f'--cache={cache}', *SMALL, *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    cwd=cache,
  )


def run(server, cache, *flags):
  process = start(server, cache, *flags)
  output, _ = process.communicate(timeout=120)
  return process.returncode, output


def test_shards_become_a_dataset_that_a_run_uses_as_it_is(server, tmp_path):
  server.faults = {
    shards.CLIMBMIX.name(0): ['cut', (500, {})],
    shards.CLIMBMIX.name(1): [(429, {'Retry-After': '0'})],
    shards.CLIMBMIX.name(6542): ['cut', 'whole'],
  }
  code, output = run(server, tmp_path)
  assert code == 0, output
  assert output.count('downloaded.') == 3 and 'Ready in' in output
  made = set(tmp_path.rglob('*.npy'))
  problem = LanguageModel('climbmix', 280, 32, 256, 128, evaluation_batch=4, shards=2)
  said = []
  dataset = problem.prepare(tmp_path, said.append)
  assert not said and set(tmp_path.rglob('*.npy')) == made
  for split, count in ((dataset.validation, 8), (dataset.test, 4)):
    assert np.load(pathlib.Path(split, 'rows.npy')).shape == (count, 33)

  code, output = run(server, tmp_path)
  assert code == 0 and output.count('already complete.') == 3
  assert (
    len(server.requests) == 3 + 4
  )  # one a shard, and one more for each fault that ends a request


def test_rows_come_from_the_right_shards(server, tmp_path):
  folder = tmp_path / 'climbmix'
  downloader = shards.Downloader(folder, server.url)
  for index in shards.CLIMBMIX.wanted(2):
    downloader.fetch(index, lambda had, total: None)
  problem = LanguageModel('climbmix', 280, 32, 256, evaluation_batch=4, shards=2)
  dataset = problem.prepare(tmp_path, lambda sentence: None)
  tokens = problem.tokenizer(dataset)
  for split, indices in ((dataset.train, [0, 1]), (dataset.validation, [6542])):
    texts = [t for i in indices for t in shards.texts(folder / shards.CLIMBMIX.name(i))]
    rows = list(packing.Packer(tokens.encode(texts, 1), 33))
    stored = np.load(pathlib.Path(split, 'rows.npy'))
    np.testing.assert_array_equal(stored, np.stack(rows)[: len(stored)])


def test_damage_is_found_and_mended(server, tmp_path):
  assert run(server, tmp_path, '--only_fetch')[0] == 0
  path = tmp_path / 'climbmix' / shards.CLIMBMIX.name(1)
  content = bytearray(path.read_bytes())
  content[50] ^= 1
  path.write_bytes(content)
  code, output = run(server, tmp_path, '--only_fetch', '--verify')
  assert code == 0 and f'{shards.CLIMBMIX.name(1)}: damaged' in output
  assert path.read_bytes() == server.files[shards.CLIMBMIX.name(1)]


def test_a_missing_shard_is_a_sentence(server, tmp_path):
  del server.files[shards.CLIMBMIX.name(1)]
  code, output = run(server, tmp_path)
  assert code == 1
  assert 'does not exist (404)' in output and shards.CLIMBMIX.name(1) in output
  assert 'Traceback' not in output


def test_control_c_keeps_what_was_fetched_and_the_same_command_goes_on(server, tmp_path):
  server.faults[shards.CLIMBMIX.name(1)] = ['stall']
  process = start(server, tmp_path, '--only_fetch', '--workers=1')
  deadline = time.monotonic() + 30
  while (shards.CLIMBMIX.name(1), '', 'stall') not in server.requests:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 130, output
  assert 'Interrupted' in output and 'Traceback' not in output
  assert (tmp_path / 'climbmix' / shards.CLIMBMIX.name(6542)).exists()
  code, output = run(server, tmp_path, '--only_fetch')
  assert code == 0 and f'{shards.CLIMBMIX.name(6542)}: already complete.' in output


def test_two_commands_do_not_share_a_folder(server, tmp_path):
  folder = tmp_path / 'climbmix'
  folder.mkdir()
  with (folder / 'lock').open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    code, output = run(server, tmp_path)
  assert code == 1 and 'Another prepare command is running' in output


def test_what_is_not_understood_is_refused(server, tmp_path):
  code, output = run(server, tmp_path, 'climbmix')
  assert code == 2 and "'climbmix'" in output


@pytest.mark.parametrize('flag', ['--shards=0', '--workers=0', '--corpus=wikipedia'])
def test_a_flag_out_of_range_is_refused(server, tmp_path, flag):
  code, output = run(server, tmp_path, flag)
  assert code == 2 and flag.split('=')[0] in output


def test_bars_on_a_terminal(server, tmp_path):
  leader, follower = os.openpty()
  command = [sys.executable, '-m', 'autoresearch_jax.data.prepare', f'--url={server.url}']
  environment = {**os.environ, 'TERM': 'xterm', 'COLUMNS': '100'}
  process = subprocess.Popen(
    [*command, f'--cache={tmp_path}', *SMALL, '--only_fetch'],
    stdout=follower,
    stderr=follower,
    env=environment,
  )
  os.close(follower)
  output = b''
  try:
    while chunk := os.read(leader, 4096):
      output += chunk
  except OSError:  # the other end was closed
    pass
  os.close(leader)
  assert process.wait(timeout=120) == 0
  assert shards.CLIMBMIX.name(6542).encode() in output and b'\x1b[' in output
