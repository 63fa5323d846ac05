"""Partitions the devices or cores of this machine among the slots of an executor.

All slots get equal shares, so that trials of different slots can be compared: the same number of
GPUs, chips or cores. If the devices do not divide evenly, the run is refused. On a CPU, left-over
cores are for the controller instead.

Slots on a CPU still share memory bandwidth, the last level of cache and the clock rate, so a trial
is slower next to a busy slot than next to an idle one. A budget in steps is not affected. On GPUs
and TPUs, slots are independent as long as the host keeps up.

GPUs: if CUDA_VISIBLE_DEVICES is set, its list is partitioned. Its entries may be numbers, UUIDs or
MIG instances, of which a process can use one. TPUs: see `tpu_environment`.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from autoresearch_jax.executors import probe, tpu_environment
from autoresearch_jax.messages import available_memory
from autoresearch_jax.types import Platform

T = TypeVar('T')

# Environment variables that list devices; '' hides all GPUs from CUDA.
VISIBLE_DEVICES = {
  'gpu': ('CUDA_VISIBLE_DEVICES',),
  'tpu': ('TPU_VISIBLE_CHIPS', 'TPU_VISIBLE_DEVICES'),
}
CPU_FOLDER = pathlib.Path('/sys/devices/system/cpu')


@dataclasses.dataclass(frozen=True)
class ResourceShare:
  """The part of the machine that one slot may use; by default all of it.

  Attributes:
    name: Its devices or cores, for display.
    environment: Environment variables of its runner that select the devices; None for one that
      must not be set.
    cores: Cores that its processes are pinned to; () for all.
    memory_bytes: Memory of a program where the slots share it, as on a CPU; 0 for the device's.
  """

  name: str = 'all devices'
  environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
  cores: tuple[int, ...] = ()
  memory_bytes: int = 0

  @contextlib.contextmanager
  def pinned(self) -> Iterator[None]:
    """Pins this thread to the cores, and for good the processes that it starts meanwhile."""
    if not self.cores:
      yield
      return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, self.cores)
    try:
      yield
    finally:
      os.sched_setaffinity(0, before)


def partition(platform: Platform, slots: int) -> list[ResourceShare]:
  """One share for each slot.

  Args:
    platform: Platform of the run.
    slots: Number of slots; 1 gives all devices to one slot, 0 gives each device a slot.

  Raises:
    ValueError: the devices do not divide evenly, or cannot be counted.
  """
  if slots < 0:
    raise ValueError(f'slots is {slots}; it must be at least 1, or 0 for one slot per device.')
  if slots == 1 or (platform == 'cpu' and not slots):  # in JAX, a CPU is one device
    return [_everything(platform)]
  if platform == 'cpu':
    memory = available_memory() // slots
    return [
      ResourceShare(f'cores {_listed(cores)}', cores=cores, memory_bytes=memory)
      for cores in _split(_cores(), slots, 'cores')
    ]
  devices = _visible_devices(platform)
  kind = 'GPUs' if platform == 'gpu' else 'chips'
  names = ' or '.join(VISIBLE_DEVICES[platform])
  if not devices:
    raise ValueError(
      f'There are no {kind} to share among slots; check {names}, and what CUDA or libtpu reports.'
    )
  if len(set(devices)) < len(devices):
    raise ValueError(f'{names} lists one of the {kind} twice: {_listed(devices)}.')
  slots = slots or len(devices)
  if len(devices) % slots:
    raise ValueError(
      f'{len(devices)} {kind} cannot be divided evenly among {slots} slots; make slots a divisor '
      f'of {len(devices)}, or 0 for one slot each.'
    )
  if slots == 1:
    return [_everything(platform)]
  parts = _split(devices, slots, kind)
  return [_gpus(part) if platform == 'gpu' else _chips(i, part) for i, part in enumerate(parts)]


def _split(devices: Sequence[T], slots: int, kind: str) -> list[tuple[T, ...]]:
  size = len(devices) // slots
  if not size:
    raise ValueError(f'slots is {slots}, but there are {len(devices)} {kind}; use fewer slots.')
  return [tuple(devices[size * i : size * (i + 1)]) for i in range(slots)]


def _gpus(devices: tuple[str, ...]) -> ResourceShare:
  return ResourceShare(f'GPU {_listed(devices)}', {'CUDA_VISIBLE_DEVICES': ','.join(devices)})


def _chips(index: int, chips: tuple[str, ...]) -> ResourceShare:
  return ResourceShare(f'chip {_listed(chips)}', tpu_environment.environment(chips, index))


def _everything(platform: Platform) -> ResourceShare:
  """All devices of this machine, but not those of other hosts of a TPU slice."""
  environment = tpu_environment.whole_host() if platform == 'tpu' else {}
  return ResourceShare(environment=environment)


def _visible_devices(platform: Platform) -> list[str]:
  """Names of the GPUs or chips: those listed in the environment, or all that JAX counts."""
  for name in VISIBLE_DEVICES[platform]:
    listed = os.environ.get(name)
    if listed or (listed is not None and platform == 'gpu'):
      entries = (entry.strip() for entry in listed.split(','))
      return list(itertools.takewhile(lambda entry: entry not in ('', '-1'), entries))
  try:
    return [str(i) for i in range(probe.device_count(platform))]
  except RuntimeError as error:
    raise ValueError(str(error)) from error


def _cores() -> list[int]:
  """Cores that this process may use; hardware threads of one physical core are adjacent."""
  return sorted(os.sched_getaffinity(0), key=lambda cpu: (*_physical_core(cpu), cpu))


def _physical_core(cpu: int) -> tuple[int, ...]:
  """Socket and physical core of a logical core; zeros where the kernel does not say."""
  found = []
  for name in ('physical_package_id', 'core_id'):
    try:
      found.append(int((CPU_FOLDER / f'cpu{cpu}' / 'topology' / name).read_text()))
    except (OSError, ValueError):
      found.append(0)
  return tuple(found)


def _listed(parts: Sequence[object]) -> str:
  return ', '.join(map(str, parts))
