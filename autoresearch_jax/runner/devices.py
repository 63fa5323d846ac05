"""The devices of a runner: their platform, peak FLOP/s and memory.

Peak FLOP/s are the vendors' figures for dense bfloat16 matrix products. CPUs are measured. For an
accelerator that is not in the table the peak is not known, and trials on it have no MFU.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from autoresearch_jax.messages import available_memory
from autoresearch_jax.types import Hardware

Device = Any  # jax.Device, which type checkers treat as a variable

NVIDIA_DRIVER = pathlib.Path('/proc/driver/nvidia/version')
# Prefix of device_kind -> (FLOP/s of one jax device, source). On TPU v2, v3, 7x it is a core.
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
  'TPU7x': (1153.5e12, 'Google Cloud TPU7x documentation, per TensorCore: half a chip of 2307e12'),
}


class WrongPlatform(RuntimeError):
  """JAX has other devices than the config asks for, or none."""


def require_platform(wanted: str) -> list[Device]:
  """The local devices.

  Args:
    wanted: The platform that all of them must have: cpu, gpu or tpu.

  Raises:
    WrongPlatform: they have another one, or cannot be started.
  """
  try:
    found = jax.local_devices()
  except (RuntimeError, AssertionError) as error:  # an AssertionError has no message: no devices
    why = str(error) or 'none is visible; check CUDA_VISIBLE_DEVICES and the driver'
    raise WrongPlatform(f'JAX could not start its {wanted} devices: {why}') from None
  kinds = sorted({device.platform for device in found})
  if kinds != [wanted]:
    raise WrongPlatform(
      f'The config asks for {wanted}, but JAX found {", ".join(kinds)} '
      f'({found[0].device_kind}). Start the {kinds[0]} variant of the config, or repair the '
      f'{wanted} installation; another process may hold the device.'
    )
  return found


def hardware(found: Sequence[Device]) -> Hardware:
  """Describes the devices, the compiler and the driver."""
  versions = {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib')}
  first = found[0]
  if first.platform == 'cpu':
    return Hardware(_cpu_model(), _cores(), versions)
  versions[first.platform] = ' '.join(first.client.platform_version.split())
  with contextlib.suppress(importlib.metadata.PackageNotFoundError):
    versions['libtpu'] = importlib.metadata.version('libtpu')
  with contextlib.suppress(OSError):
    versions['driver'] = NVIDIA_DRIVER.read_text().splitlines()[0]
  return Hardware(first.device_kind, len(found), versions)


def _cpu_model() -> str:
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.machine()


def peak_flops(device: Device, cache: pathlib.Path) -> tuple[float, str]:
  """Peak FLOP/s of one device: from the table, on CPUs measured, 0 for unknown accelerators.

  A busy machine measures too little, so `cache` keeps the highest measurement.

  Args:
    device: A jax device.
    cache: Folder for measurements.

  Returns:
    The FLOP/s, and the source of the figure.
  """
  kind = device.device_kind
  for prefix, known in sorted(PEAK_FLOPS.items(), key=lambda item: -len(item[0])):
    if kind.startswith(prefix):
      return known
  if device.platform != 'cpu':
    return 0.0, f'unknown: {kind} is not in the table of runner/devices.py'
  file = cache / 'peak_flops.json'
  key = f'{device.platform} {kind} x{_cores()}'
  with _locked(cache):
    values = _read_measurements(file)
    measured = measure_matmul()
    if measured > values.get(key, 0.0):
      values[key] = measured
      with contextlib.suppress(OSError):  # on a full disk, the next runner measures again
        part = file.with_name(f'{file.name}.{os.getpid()}')
        part.write_text(json.dumps(values))
        part.replace(file)
  return values[key], 'measured: best of 5 square float32 products of 1536'


@contextlib.contextmanager
def _locked(cache: pathlib.Path) -> Iterator[None]:
  """Serializes the measurements of runners that start at once, by a file lock."""
  with contextlib.ExitStack() as stack:
    with contextlib.suppress(OSError):
      cache.mkdir(parents=True, exist_ok=True)
      lock = stack.enter_context((cache / 'peak_flops.lock').open('ab'))
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _read_measurements(file: pathlib.Path) -> dict[str, float]:
  """Earlier measurements; empty if the file is missing or damaged."""
  try:
    values = json.loads(file.read_bytes())
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
  """Bytes that a program may use on the device; on a CPU, the memory available now."""
  stats = device.memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit']
  return available_memory()


def allocator_peak(device: Device) -> int:
  """Peak bytes in use, by the allocator's statistics; 0 where it has none (CPU)."""
  return (device.memory_stats() or {}).get('peak_bytes_in_use', 0)


def _cores() -> int:
  return len(os.sched_getaffinity(0))
