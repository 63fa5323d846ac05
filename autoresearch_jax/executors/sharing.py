"""How slots share a machine: what each slot's processes see of its devices or cores.

Slots are alike, so that trials of different ones compare: as many GPUs, chips or cores each. Where
that does not come out even the run is refused, except on a CPU: there the cores that are left over
are for the controller. What slots of a CPU still share is the memory's bandwidth, the last level of
cache and the clock rate, so a trial is slower beside a busy neighbour than beside an idle one; a
budget in steps does not mind. Neither GPUs nor chips do, as long as the host keeps up.

GPUs: the list in CUDA_VISIBLE_DEVICES is split where there is one, be it of numbers, of UUIDs or of
MIG instances, of which a process can use one. TPUs: chips are named by TPU_VISIBLE_CHIPS, and each
process is told that it is a world of its own, with an address of its own: JAX's way of running
several processes on one host (github.com/jax-ml/jax/issues/14977, 2023). That was not run on a TPU
yet; it has the older names of the same variables too, since libtpu releases differ in them.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from autoresearch_jax.executors import probe
from autoresearch_jax.runner.memory import available_memory
from autoresearch_jax.types import Platform

T = TypeVar('T')

# How chips of one process lie on a host's board: those that libtpu takes for a rectangle.
CHIP_BOUNDS = {1: '1,1,1', 2: '1,2,1', 4: '2,2,1'}
# Where the environment lists devices; '' hides all GPUs from CUDA.
VISIBLE = {
  'gpu': ('CUDA_VISIBLE_DEVICES',),
  'tpu': ('TPU_VISIBLE_CHIPS', 'TPU_VISIBLE_DEVICES'),
}
FIRST_PORT = 8476  # of libtpu's processes, one each
CPUS = pathlib.Path('/sys/devices/system/cpu')


@dataclasses.dataclass(frozen=True)
class Share:
  """What of the machine one slot may use; by default all of it.

  name: for people. environment: what its runner must find set before it imports jax. cores: those
  that its processes stay on; () for all. memory_bytes: what a program may use, where the devices of
  all slots have the same memory; 0: what the device says.
  """

  name: str = 'all devices'
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  cores: tuple[int, ...] = ()
  memory_bytes: int = 0

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Keeps this thread on the cores meanwhile, and what it starts for good, since it inherits."""
    if not self.cores:
      yield
      return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, self.cores)
    try:
      yield
    finally:
      os.sched_setaffinity(0, before)


def shares(platform: Platform, slots: int) -> list[Share]:
  """One share a slot. slots: 1: all devices in one; 0: as many as there are devices.

  Raises ValueError when the devices cannot be shared like that, or cannot be counted.
  """
  if slots < 0:
    raise ValueError(f'slots is {slots}; it must be 1 or more, or 0 for one a device.')
  if slots == 1 or (platform == 'cpu' and not slots):  # to JAX a CPU is one device
    return [Share()]
  if platform == 'cpu':
    memory = available_memory() // slots
    return [
      Share(f'cores {_listed(cores)}', cores=cores, memory_bytes=memory)
      for cores in _split(_cores(), slots, 'cores')
    ]
  devices = _devices(platform)
  what = 'GPUs' if platform == 'gpu' else 'chips'
  names = ' or '.join(VISIBLE[platform])
  if not devices:
    raise ValueError(
      f'There are no {what} for slots to share; see {names}, and what CUDA or libtpu reports.'
    )
  if len(set(devices)) < len(devices):
    raise ValueError(f'{names} names one of the {what} twice: {_listed(devices)}.')
  slots = slots or len(devices)
  if len(devices) % slots:
    raise ValueError(
      f'{len(devices)} {what} cannot be shared by {slots} slots alike; make slots a divisor of '
      f'{len(devices)}, or 0 for one slot each.'
    )
  if slots == 1:
    return [Share()]
  split = _split(devices, slots, what)
  return [_gpus(part) if platform == 'gpu' else _chips(i, part) for i, part in enumerate(split)]


def _split(devices: Sequence[T], slots: int, what: str) -> list[tuple[T, ...]]:
  size = len(devices) // slots
  if not size:
    raise ValueError(f'slots is {slots}, but there are {len(devices)} {what}; make slots fewer.')
  return [tuple(devices[size * i : size * (i + 1)]) for i in range(slots)]


def _gpus(devices: tuple[str, ...]) -> Share:
  return Share(f'GPU {_listed(devices)}', {'CUDA_VISIBLE_DEVICES': ','.join(devices)})


def _chips(index: int, chips: tuple[str, ...]) -> Share:
  """The variables of libtpu under both of their names, for a process that knows no other."""
  bounds = CHIP_BOUNDS.get(len(chips))
  if bounds is None:
    raise ValueError(
      f'A slot cannot have {len(chips)} chips, only {", ".join(map(str, CHIP_BOUNDS))}; change '
      'slots.'
    )
  listed, port = ','.join(chips), str(FIRST_PORT + index)
  return Share(
    f'chip {_listed(chips)}',
    {
      'TPU_VISIBLE_CHIPS': listed,
      'TPU_VISIBLE_DEVICES': listed,
      'TPU_CHIPS_PER_PROCESS_BOUNDS': bounds,
      'TPU_CHIPS_PER_HOST_BOUNDS': bounds,
      'TPU_PROCESS_BOUNDS': '1,1,1',
      'TPU_HOST_BOUNDS': '1,1,1',
      'TPU_PROCESS_ADDRESSES': f'localhost:{port}',
      'TPU_PROCESS_PORT': port,
      'TPU_MESH_CONTROLLER_ADDRESS': f'localhost:{port}',
      'TPU_MESH_CONTROLLER_PORT': port,
      'CLOUD_TPU_TASK_ID': '0',
    },
  )


def _devices(platform: Platform) -> list[str]:
  """Names of the GPUs or chips, as the environment lists them, or counted by JAX."""
  for name in VISIBLE[platform]:
    listed = os.environ.get(name)
    if listed or (listed is not None and platform == 'gpu'):
      entries = (entry.strip() for entry in listed.split(','))
      return list(itertools.takewhile(lambda entry: entry not in ('', '-1'), entries))
  try:
    return [str(i) for i in range(probe.devices(platform))]
  except RuntimeError as error:
    raise ValueError(str(error)) from error


def _cores() -> list[int]:
  """Cores that this process may use, those next to each other that share a physical one."""
  return sorted(os.sched_getaffinity(0), key=lambda cpu: (*_physical(cpu), cpu))


def _physical(cpu: int) -> tuple[int, ...]:
  """Socket and physical core of a core; zeros where the kernel does not say."""
  found = []
  for name in ('physical_package_id', 'core_id'):
    try:
      found.append(int((CPUS / f'cpu{cpu}' / 'topology' / name).read_text()))
    except (OSError, ValueError):
      found.append(0)
  return tuple(found)


def _listed(parts: Sequence[object]) -> str:
  return ', '.join(map(str, parts))
