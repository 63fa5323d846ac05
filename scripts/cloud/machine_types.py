"""The kinds of TPU VMs with one host: how to ask for them, and what they cost.

Sources: cloud.google.com/tpu/docs (accelerator types, software versions, pricing) and
docs.cloud.google.com/compute/docs/tpus/tpu-machines (machine types, images). Prices are list prices
of on-demand chips in us regions, as of 2025. Spot chips cost less, so a limit by these prices is
kept in any case. `--dollars_per_chip_hour` sets another price.
"""

import dataclasses

QUEUED_RESOURCES, INSTANCES = 'queued-resources', 'instances'
_IMAGE = 'ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e'
_IMAGE_7X = 'ubuntu-accel-2404-amd64-tpu-tpu7x'


@dataclasses.dataclass(frozen=True)
class MachineType:
  """A kind of TPU VM.

  Attributes:
    name: Google's name of the slice; on v4 and v5p it counts cores, two per chip.
    chips: Number of chips.
    dollars_per_chip_hour: List price, on demand.
    accelerator_type: Its name in the Cloud TPU API; '' if that does not offer it.
    runtime_version: The image in the Cloud TPU API. v6e needs its own: others leave its devices
      without a driver.
    machine_type: Its name in Compute Engine; '' if that does not offer it.
    image_family: The image in Compute Engine, of the project ubuntu-os-accelerator-images.
    disk_type: Type of the boot disk in Compute Engine; '' for its default.
  """

  name: str
  chips: int
  dollars_per_chip_hour: float
  accelerator_type: str = ''
  runtime_version: str = ''
  machine_type: str = ''
  image_family: str = ''
  disk_type: str = ''

  @property
  def backends(self) -> tuple[str, ...]:
    """The interfaces that offer it, the preferred one first."""
    offered = {QUEUED_RESOURCES: self.accelerator_type, INSTANCES: self.machine_type}
    return tuple(name for name, offer in offered.items() if offer)


def _v5e(chips: int) -> MachineType:
  return MachineType(f'v5e-{chips}', chips, 1.20, f'v5litepod-{chips}', 'v2-alpha-tpuv5-lite')


def _v6e(chips: int) -> MachineType:
  return MachineType(
    f'v6e-{chips}', chips, 2.70, f'v6e-{chips}', 'v2-alpha-tpuv6e', f'ct6e-standard-{chips}t',
    _IMAGE,
  )  # fmt: skip


MACHINE_TYPES = {
  machine.name: machine
  for machine in (
    MachineType('v4-8', 4, 3.22, 'v4-8', 'tpu-ubuntu2204-base'),
    *map(_v5e, (1, 4, 8)),
    *map(_v6e, (1, 4, 8)),
    MachineType('v5p-8', 4, 4.20, machine_type='ct5p-hightpu-4t', image_family=_IMAGE),
    MachineType(
      'v7x-4', 4, 12.00, machine_type='tpu7x-standard-4t', image_family=_IMAGE_7X,
      disk_type='hyperdisk-balanced',
    ),
  )
}  # fmt: skip


def machine_type(name: str) -> MachineType:
  """Returns the kind of VM with this name.

  Raises:
    ValueError: There is none; the message lists those that exist.
  """
  if name in MACHINE_TYPES:
    return MACHINE_TYPES[name]
  kind, _, size = name.rpartition('-')
  same = [m for m in MACHINE_TYPES if m.startswith(f'{kind}-')]
  if same and size.isdigit():
    raise ValueError(
      f'A {name} is not one VM. Take several: --type={same[-1]} --hosts=N; each VM runs on its own.'
    )
  raise ValueError(f'There is no type {name!r}; there are: {", ".join(MACHINE_TYPES)}.')
