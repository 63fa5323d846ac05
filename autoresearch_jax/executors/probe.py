"""What this machine has, asked in a short process so that the caller never loads jax."""

import os
import pathlib
import subprocess
import sys

from autoresearch_jax.runner.client import JAX_PLATFORMS
from autoresearch_jax.types import Platform

ACCELERATORS = ('/dev/nvidia0', '/dev/accel0', '/dev/vfio/0')  # device files of GPUs and TPUs
_ASK = 'import jax; print("platform:" + jax.default_backend())'
# Of a TPU v2 or v3 JAX shows two devices a chip, with the same coordinates.
# Where no device file is visible JAX fails an assertion, without a word.
_COUNT = """
import jax
try:
  found = jax.local_devices()
except AssertionError:
  found = []
print("devices:", len({str(getattr(d, "coords", d.id)) for d in found}))
"""
_ADVICE = 'Name one: --config=FILE:cpu, :gpu or :tpu.'


def platform(seconds: float = 120.0) -> Platform:
  """`cpu`, `gpu` or `tpu`, as JAX finds it.

  Raises RuntimeError when JAX cannot start, or finds a CPU alone beside an accelerator's device
  file: a run on the wrong platform would be noticed hours later. JAX_PLATFORMS says it is meant.
  """
  lines, words = _asked(_ASK, seconds, 'which platform it has', _ADVICE)
  for line in lines:
    match line.partition(':')[2]:
      case 'cpu' as found:
        _require_no_accelerator(words)
        return found
      case 'gpu' | 'tpu' as found:
        return found
  raise RuntimeError(f'JAX could not say which platform it has ({words}). {_ADVICE}')


def devices(platform: Platform, seconds: float = 120.0) -> int:
  """How many GPUs or TPU chips JAX finds here, held for as long as it takes to count them.

  Raises RuntimeError when JAX cannot say.
  """
  advice = 'Free them, or name how many trials to run at once as executor_options.slots.'
  lines, words = _asked(
    _COUNT, seconds, f'how many devices of {platform} there are', advice, platform
  )
  for line in lines:
    match line.partition('devices:'):
      case ('', _, count) if count.strip().isdigit():
        return int(count)
  raise RuntimeError(f'JAX could not say how many devices of {platform} there are ({words}).')


def _asked(
  code: str, seconds: float, what: str, advice: str, platform: Platform | None = None
) -> tuple[list[str], str]:
  """What a fresh interpreter prints, and the last line of its complaints."""
  environment = {**os.environ, **({'JAX_PLATFORMS': JAX_PLATFORMS[platform]} if platform else {})}
  try:
    done = subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      timeout=seconds,
      check=False,
      env=environment,
    )
  except subprocess.TimeoutExpired:
    raise RuntimeError(
      f'JAX did not say within {seconds:g} s {what}; another process may hold the devices. {advice}'
    ) from None
  return done.stdout.splitlines(), (done.stderr.strip() or 'it said nothing').splitlines()[-1]


def _require_no_accelerator(words: str) -> None:
  present = [path for path in ACCELERATORS if pathlib.Path(path).exists()]
  if present and not os.environ.get('JAX_PLATFORMS'):
    raise RuntimeError(
      f'This machine has {present[0]}, but JAX finds a CPU alone ({words}). Install the extra '
      f'`cuda`, `cuda12` or `tpu` of autoresearch_jax, or name the platform: --config=FILE:cpu.'
    )
