"""Detects the platform and the devices of this machine, in a subprocess: no jax here."""

import os
import pathlib
import subprocess
import sys

from autoresearch_jax.executors import tpu_environment
from autoresearch_jax.runner.client import JAX_PLATFORMS
from autoresearch_jax.types import Platform

ACCELERATORS = ('/dev/nvidia0', '/dev/accel0', '/dev/vfio/0')  # device files of GPUs and TPUs
_PRINT_PLATFORM = 'import jax; print("platform:" + jax.default_backend())'
# On TPU v2 and v3, JAX has two devices for each chip, with the same coordinates.
# Where no device file is visible, JAX fails an assertion without a message.
_PRINT_COUNT = """
import jax
try:
  found = jax.local_devices()
except AssertionError:
  found = []
print("devices:", len({str(getattr(d, "coords", d.id)) for d in found}))
"""
_ADVICE = 'Name the platform: --config=FILE:cpu, :gpu or :tpu.'


def platform(timeout: float = 120.0) -> Platform:
  """The platform of JAX's default backend: `cpu`, `gpu` or `tpu`.

  Raises:
    RuntimeError: JAX cannot start, or has only a CPU although an accelerator's device file exists.
      Otherwise a run on the wrong platform might be noticed hours later. Setting JAX_PLATFORMS
      disables this check.
  """
  lines, error = _run_python(_PRINT_PLATFORM, timeout, 'its platform', _ADVICE)
  for line in lines:
    match line.partition(':')[2]:
      case 'cpu' as found:
        _require_no_accelerator(error)
        return found
      case 'gpu' | 'tpu' as found:
        return found
  raise RuntimeError(f'JAX did not report its platform ({error}). {_ADVICE}')


def device_count(platform: Platform, timeout: float = 120.0) -> int:
  """Number of GPUs or TPU chips, which are acquired for as long as it takes to count them.

  Raises:
    RuntimeError: JAX cannot start.
  """
  advice = 'Free them, or set executor_options.slots to the number of concurrent trials.'
  lines, error = _run_python(
    _PRINT_COUNT, timeout, f'the number of {platform} devices', advice, platform
  )
  for line in lines:
    match line.partition('devices:'):
      case ('', _, count) if count.strip().isdigit():
        return int(count)
  raise RuntimeError(f'JAX did not report the number of {platform} devices ({error}).')


def _run_python(
  code: str, timeout: float, what: str, advice: str, platform: Platform | None = None
) -> tuple[list[str], str]:
  """Runs code in a new interpreter.

  Args:
    code: Python source.
    timeout: Seconds.
    what: What the code reports, for the error message.
    advice: What to do when it fails, for the error message.
    platform: Platform that JAX must use; None for its default.

  Returns:
    The lines of its stdout, and the last line of its stderr.

  Raises:
    RuntimeError: it timed out.
  """
  chosen = {'JAX_PLATFORMS': JAX_PLATFORMS[platform]} if platform else {}
  merged = {**os.environ, **chosen, **tpu_environment.whole_host()}
  environment = {name: value for name, value in merged.items() if value is not None}
  try:
    done = subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      timeout=timeout,
      check=False,
      env=environment,
    )
  except subprocess.TimeoutExpired:
    raise RuntimeError(
      f'JAX did not report {what} within {timeout:g} s; another process may hold the devices. '
      f'{advice}'
    ) from None
  return done.stdout.splitlines(), (done.stderr.strip() or 'no message').splitlines()[-1]


def _require_no_accelerator(error: str) -> None:
  """Raises RuntimeError if there is an accelerator's device file. error: JAX's last message."""
  present = [path for path in ACCELERATORS if pathlib.Path(path).exists()]
  if present and not os.environ.get('JAX_PLATFORMS'):
    raise RuntimeError(
      f'This machine has {present[0]}, but JAX finds only a CPU ({error}). Install the extra '
      f'`cuda`, `cuda12` or `tpu` of autoresearch_jax, or name the platform: --config=FILE:cpu.'
    )
