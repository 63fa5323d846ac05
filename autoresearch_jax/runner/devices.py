"""What the devices here can do: peak matrix-product rate, memory, platform asserted.

Peak rates are dense bfloat16 figures from the vendors' data sheets. A device that is not in the
table, and every CPU, is measured once instead of being taken for another device.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from autoresearch_jax.runner.memory import available_memory

Device = Any  # jax.Device, which type checkers take for a variable

# device_kind prefix -> (FLOP/s of one jax device, source). TPU v2 and v3 show one device a core.
PEAK_FLOPS = {
  'NVIDIA A100': (312e12, 'NVIDIA A100 data sheet, 2021'),
  'NVIDIA H100 PCIe': (756e12, 'NVIDIA H100 data sheet, 2023'),
  'NVIDIA H100 NVL': (835e12, 'NVIDIA H100 NVL product brief, 2024'),
  'NVIDIA H100': (989e12, 'NVIDIA H100 data sheet, 2023 (SXM)'),
  'NVIDIA H200': (989e12, 'NVIDIA H200 data sheet, 2024'),
  'NVIDIA L4': (121e12, 'NVIDIA L4 data sheet, 2023'),
  'TPU v2': (22.5e12, 'Google Cloud TPU v2 documentation, per core'),
  'TPU v3': (61.5e12, 'Google Cloud TPU v3 documentation, per core'),
  'TPU v4': (275e12, 'Google Cloud TPU v4 documentation'),
  'TPU v5 lite': (197e12, 'Google Cloud TPU v5e documentation'),
  'TPU v5p': (459e12, 'Google Cloud TPU v5p documentation'),
  'TPU v5': (459e12, 'Google Cloud TPU v5p documentation'),
  'TPU v6 lite': (918e12, 'Google Cloud TPU v6e documentation'),
  'TPU v6e': (918e12, 'Google Cloud TPU v6e documentation'),
}


class WrongPlatform(RuntimeError):
  """JAX found other devices than the config asked for."""


def require_platform(platform: str) -> list[Device]:
  """The local devices, all of `platform` (`cpu`, `gpu`, `tpu`). Raises WrongPlatform."""
  try:
    found = jax.local_devices()
  except (RuntimeError, AssertionError) as error:  # the latter, without a word: there are none
    why = str(error) or 'none is visible; see CUDA_VISIBLE_DEVICES, or the driver'
    raise WrongPlatform(f'JAX could not start its {platform} devices: {why}') from None
  kinds = sorted({device.platform for device in found})
  if kinds != [platform]:
    raise WrongPlatform(
      f'The config asks for {platform}, but JAX found {", ".join(kinds)} '
      f'({found[0].device_kind}). Start the {kinds[0]} variant of the config, or mend the '
      f'{platform} installation (another process may hold the device).'
    )
  return found


def peak_flops(device: Device, cache: pathlib.Path) -> tuple[float, str]:
  """Peak FLOP/s of one device and where the figure is from: the table, or measured.

  A machine that is busy now measures too little, so the best figure so far is kept in `cache`.
  """
  kind = device.device_kind
  for prefix, known in sorted(PEAK_FLOPS.items(), key=lambda item: -len(item[0])):
    if kind.startswith(prefix):
      return known
  kept = cache / 'peak_flops.json'
  key = f'{device.platform} {kind} x{_cores()}'
  with _alone(cache):
    values = _figures(kept)
    measured = measure_matmul()
    if measured > values.get(key, 0.0):
      values[key] = measured
      with contextlib.suppress(OSError):  # a full disk costs the next runner a better figure
        part = kept.with_name(f'{kept.name}.{os.getpid()}')
        part.write_text(json.dumps(values))
        part.replace(kept)
  return values[key], 'measured: best of 5 square float32 products of 1536'


@contextlib.contextmanager
def _alone(cache: pathlib.Path) -> Iterator[None]:
  """Measures one runner after the other, where several start at once; the kernel ends the lock."""
  with contextlib.ExitStack() as stack:
    with contextlib.suppress(OSError):
      cache.mkdir(parents=True, exist_ok=True)
      lock = stack.enter_context((cache / 'peak_flops.lock').open('ab'))
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _figures(kept: pathlib.Path) -> dict[str, float]:
  """What was measured before; nothing where the file is not there, or not what was written."""
  try:
    values = json.loads(kept.read_bytes())
  except (OSError, ValueError):
    return {}
  if not isinstance(values, dict):
    return {}
  return {key: value for key, value in values.items() if isinstance(value, float)}


def measure_matmul(size: int = 1536, repeats: int = 5) -> float:
  """FLOP/s of the fastest of `repeats` float32 products of two [size, size] matrices."""
  a = jnp.ones((size, size), jnp.float32)
  product = jax.jit(jnp.matmul).lower(a, a).compile()
  product(a, a).block_until_ready()
  best = float('inf')
  for _ in range(repeats):
    start = time.perf_counter()
    product(a, a).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * size**3 / best


def memory_limit(device: Device) -> int:
  """Bytes that a program may use on the device; on a CPU what the machine has available now."""
  stats = device.memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit']
  return available_memory()


def allocator_peak(device: Device) -> int:
  """Peak bytes by the allocator's own count; 0 where it keeps none (CPU)."""
  return (device.memory_stats() or {}).get('peak_bytes_in_use', 0)


def _cores() -> int:
  return len(os.sched_getaffinity(0))
