"""10,000 forged artifacts against the reader: refused with a sentence, or another harmless trial."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest
from tiny_language import SPEC, program

from autoresearch_jax.trial import exporting

COUNT = 10_000
MOST_SECONDS = 5.0  # of processor time a machine that is busy may take a multiple for one
MOST_BYTES = 2 * 2**30  # of the process at its peak; jax alone has a few hundred MiB


@pytest.fixture(scope='module')
def honest(tmp_path_factory):
  folder = tmp_path_factory.mktemp('honest')
  (folder / 'model.py').write_text(program())
  exporting.export_program(folder, 'model.py', SPEC, 16).write(folder / 'artifact')
  return folder / 'artifact'


def read(honest, first, last):
  """What the forgeries `first` to `last` came to, and those that ended the process."""
  command = [sys.executable, str(pathlib.Path(__file__).with_name('forging.py')), str(honest)]
  said, ended = [], {}
  while first < last:
    done = subprocess.run(
      [*command, str(first), str(last)],
      capture_output=True,
      text=True,
      check=False,
      timeout=280,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    said += [line for line in lines if 'came' in line]
    if done.returncode:
      ended[lines[-1]['seed']] = done.returncode
    first = lines[-1]['seed'] + 1
  return said, ended


def test_forged_artifacts_end_nothing_and_take_little(honest):
  said, ended = read(honest, 0, COUNT)
  came = collections.Counter(line['came'] for line in said)
  assert len(said) + len(ended) == COUNT
  assert set(came) <= {'refused', 'another trial', 'the same'}, came
  assert not ended, ended
  assert max(line['seconds'] for line in said) < MOST_SECONDS
  assert max(line['peak'] for line in said) < MOST_BYTES
  assert came['refused'] > 0.9 * COUNT
