"""How a runner ends: by itself where it can, since a killed one may leave an accelerator busy."""

import os
import pathlib
import signal
import time
import types

import pytest
from helpers.tiny_language import make_dataset

from autoresearch_jax.config import Limits
from autoresearch_jax.runner import devices
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.types import Status

PATIENCE = 300.0  # seconds for what must happen in the end, however slow the machine is


@pytest.fixture
def client(tmp_path):
  setup = RunnerSetup('cpu', make_dataset(tmp_path), Limits(), str(tmp_path / 'cache'))
  client = RunnerClient(setup, tmp_path / 'runner.log', {'GONE': None, 'HERE': 'yes'})
  client.soft_end_seconds = 100.0  # as on an accelerator, with patience for a busy machine
  client.start()
  yield client
  client.soft_end_seconds = 0.0
  client.close()


def test_accelerators_get_a_soft_end_and_cpus_do_not(client, tmp_path):
  def patience(platform):
    setup = RunnerSetup(platform, client.setup.dataset, Limits(), '')
    return RunnerClient(setup, tmp_path / 'log').soft_end_seconds

  assert patience('tpu') == patience('gpu') > 0 == patience('cpu')


def test_a_runner_ends_by_itself_and_a_request_is_cancelled(client):
  client.wait_until_ready()
  process = client._process
  client.kill()
  assert process.wait() == 0  # not a signal
  with pytest.raises(RunnerError) as error:
    client.request('compile', 10.0)
  assert error.value.status == Status.CANCELLED


def test_a_runner_that_cannot_end_is_killed(client):
  client.wait_until_ready()
  process = client._process
  os.kill(process.pid, signal.SIGSTOP)
  client.soft_end_seconds = 0.1
  client.kill()
  assert process.wait() == -signal.SIGKILL


def test_variables_are_set_and_removed(tmp_path, monkeypatch):
  monkeypatch.setenv('GONE', '1')
  setup = RunnerSetup('cpu', make_dataset(tmp_path), Limits(), str(tmp_path / 'cache'))
  client = RunnerClient(setup, tmp_path / 'log', {'GONE': None, 'HERE': 'yes'})
  client.start()
  try:
    text, deadline = b'', time.monotonic() + PATIENCE
    while not text and time.monotonic() < deadline:  # empty until the process has executed Python
      time.sleep(0.01)
      text = pathlib.Path(f'/proc/{client.pid}/environ').read_bytes()
    variables = dict(v.split(b'=', 1) for v in text.split(b'\0') if b'=' in v)
    assert variables[b'HERE'] == b'yes' and b'GONE' not in variables
  finally:
    client.close()


@pytest.mark.parametrize(
  ('kind', 'teraflops'),
  [
    ('TPU v4', 275), ('TPU v5 lite', 197), ('TPU v5p', 459), ('TPU v6 lite', 918),
    ('TPU7x', 1153.5), ('NVIDIA H100 80GB HBM3', 989), ('TPU v9', 0), ('NVIDIA B999', 0),
  ],
)  # fmt: skip
def test_accelerators_are_in_the_table_or_their_peak_is_unknown(tmp_path, kind, teraflops):
  platform = 'tpu' if 'TPU' in kind else 'gpu'
  device = types.SimpleNamespace(device_kind=kind, platform=platform)
  flops, source = devices.peak_flops(device, tmp_path)
  assert flops == teraflops * 1e12
  assert ('unknown' in source) == (not teraflops)
