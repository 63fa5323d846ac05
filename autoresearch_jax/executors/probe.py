"""Which platform this machine has, asked in a short process so that the caller never loads jax."""

import subprocess
import sys

from autoresearch_jax.types import Platform

_ASK = 'import jax; print("platform:" + jax.default_backend())'


def platform(seconds: float = 120.0) -> Platform:
  """`cpu`, `gpu` or `tpu`, as JAX finds it. Raises RuntimeError when JAX cannot start."""
  done = subprocess.run(
    [sys.executable, '-c', _ASK], capture_output=True, text=True, timeout=seconds, check=False
  )
  for line in done.stdout.splitlines():
    match line.partition(':')[2]:
      case 'cpu' | 'gpu' | 'tpu' as found:
        return found
  last = (done.stderr.strip() or 'it said nothing').splitlines()[-1]
  raise RuntimeError(
    f'JAX could not say which platform it has ({last}). Name one: --config=FILE:cpu, :gpu or :tpu.'
  )
