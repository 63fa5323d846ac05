"""Which platform this machine has, asked in a short process so that the caller never loads jax."""

import os
import pathlib
import subprocess
import sys

from autoresearch_jax.types import Platform

ACCELERATORS = ('/dev/nvidia0', '/dev/accel0', '/dev/vfio/0')  # device files of GPUs and TPUs
_ASK = 'import jax; print("platform:" + jax.default_backend())'
_ADVICE = 'Name one: --config=FILE:cpu, :gpu or :tpu.'


def platform(seconds: float = 120.0) -> Platform:
  """`cpu`, `gpu` or `tpu`, as JAX finds it.

  Raises RuntimeError when JAX cannot start, or finds a CPU alone beside an accelerator's device
  file: a run on the wrong platform would be noticed hours later. JAX_PLATFORMS says it is meant.
  """
  try:
    done = subprocess.run(
      [sys.executable, '-c', _ASK], capture_output=True, text=True, timeout=seconds, check=False
    )
  except subprocess.TimeoutExpired:
    raise RuntimeError(
      f'JAX did not say within {seconds:g} s which platform it has; another process may hold the '
      f'devices. {_ADVICE}'
    ) from None
  words = (done.stderr.strip() or 'it said nothing').splitlines()[-1]
  for line in done.stdout.splitlines():
    match line.partition(':')[2]:
      case 'cpu' as found:
        _require_no_accelerator(words)
        return found
      case 'gpu' | 'tpu' as found:
        return found
  raise RuntimeError(f'JAX could not say which platform it has ({words}). {_ADVICE}')


def _require_no_accelerator(words: str) -> None:
  present = [path for path in ACCELERATORS if pathlib.Path(path).exists()]
  if present and not os.environ.get('JAX_PLATFORMS'):
    raise RuntimeError(
      f'This machine has {present[0]}, but JAX finds a CPU alone ({words}). Install the extra '
      f'`cuda`, `cuda12` or `tpu` of autoresearch_jax, or name the platform: --config=FILE:cpu.'
    )
