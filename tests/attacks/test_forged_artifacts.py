"""Forged artifacts against the reader: refused with a sentence, or another trial.

FORGED=10000 python -m pytest tests/attacks/test_forged_artifacts.py

forges as many as the project asks of itself, in a minute and a half; of those 13 ended the process
that read them, and none the controller. By default it is a part of them.
"""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from helpers import forging
from helpers.tiny_language import SPEC, program

from autoresearch_jax.artifact.header import ArtifactError, unpack
from autoresearch_jax.tracer import export

COUNT = int(os.environ.get('FORGED', '1500'))
MAX_ENDED = 0.005  # of all, the reader's process
MAX_BYTES = 2 * 2**30  # of the process at its peak; jax alone has a few hundred MiB


@pytest.fixture(scope='module')
def honest(tmp_path_factory):
  folder = tmp_path_factory.mktemp('honest')
  (folder / 'model.py').write_text(program())
  export.export_program(folder, 'model.py', SPEC, 16).write(folder / 'artifact')
  return folder / 'artifact'


def test_they_are_refused_or_end_the_reader_alone(honest, tmp_path):
  out = tmp_path / 'out'
  command = [sys.executable, str(pathlib.Path(forging.__file__)), str(honest), str(out), str(COUNT)]
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  subprocess.run(command, check=True, capture_output=True, env=environment)
  lines = [json.loads(line) for line in out.read_text().splitlines()]
  came = collections.Counter(line['came'] for line in lines if 'came' in line)
  ended = collections.Counter(line['ended'] for line in lines if 'ended' in line)
  assert sum(came.values()) + sum(ended.values()) == COUNT
  assert set(came) <= {'refused', 'another trial', 'the same'}, came
  assert came['refused'] > 0.85 * COUNT
  # MLIR's reader of bytecode is not made for forgeries: it crashes or does not end.
  assert set(ended) <= {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGPROF}, ended
  assert sum(ended.values()) <= MAX_ENDED * COUNT, ended
  assert max(line['peak'] for line in lines if 'peak' in line) < MAX_BYTES


def test_the_controller_reads_all_of_them(honest):
  """The controller reads prefix and header, where it compares them with what it asked for."""
  data, began = honest.read_bytes(), time.process_time()
  refused = 0
  for seed in range(COUNT):
    try:
      unpack(forging.forged(data, seed))
    except ArtifactError:
      refused += 1
  assert refused >= 0.49 * COUNT  # those who did not mend the checksum
  assert time.process_time() - began < 60
