"""The machine's own memory, for whoever shares it out. No jax here."""

import pathlib


def available_memory() -> int:
  """Bytes that the machine has available now; 0 where the kernel does not say."""
  for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
    if line.startswith('MemAvailable:'):
      return int(line.split()[1]) * 1024
  return 0
