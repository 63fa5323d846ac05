"""The probe: JAX's answer, and a sentence where it cannot be the whole truth."""

import subprocess

import pytest

from autoresearch_jax.executors import probe


@pytest.fixture
def jax_says(monkeypatch, tmp_path):
  """Lets JAX answer with given words, on a machine without device files."""
  monkeypatch.setattr(probe, 'ACCELERATORS', (str(tmp_path / 'nvidia0'),))
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)

  def say(out, err=''):
    done = subprocess.CompletedProcess([], 0, out, err)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: done)

  return say


def test_what_jax_finds(jax_says):
  for found in ('cpu', 'gpu', 'tpu'):
    jax_says(f'a word of a library\nplatform:{found}\n')
    assert probe.platform() == found


def test_a_cpu_beside_an_accelerator_is_refused_unless_meant(jax_says, monkeypatch, tmp_path):
  (tmp_path / 'nvidia0').touch()
  jax_says('platform:cpu', 'Falling back to cpu.')
  with pytest.raises(RuntimeError, match=r'nvidia0, but JAX finds only a CPU \(Falling back'):
    probe.platform()
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert probe.platform() == 'cpu'


def test_no_device_is_a_count_too(monkeypatch, tmp_path):
  (tmp_path / 'jax.py').write_text('def local_devices(): assert None')
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  assert probe.device_count('gpu') == 0


def test_silence_and_failure_are_sentences(jax_says, monkeypatch):
  jax_says('', 'Traceback\nRuntimeError: no plugin')
  with pytest.raises(RuntimeError, match='RuntimeError: no plugin'):
    probe.platform()

  def late(*_, **__):
    raise subprocess.TimeoutExpired('python', 5.0)

  monkeypatch.setattr(subprocess, 'run', late)
  with pytest.raises(RuntimeError, match=r'did not report .* within 5 s'):
    probe.platform(5.0)
