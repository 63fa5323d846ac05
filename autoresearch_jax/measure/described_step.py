"""A train step compiled for TPUs that are only described, with XLA's estimates of its operations.

Needs libtpu's wheel. Importing this keeps jax from looking for devices, so that a process without
them can compile; `described` is the command.
"""

import collections
import dataclasses
import logging
import os
import pathlib
import resource
from typing import Any

# Set before importing jax: it must not look for devices, nor libtpu for a metadata server.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
# Without these, libtpu complains of the machine that it is on.
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
os.environ.setdefault('TPU_WORKER_ID', '0')
os.environ.setdefault('TPU_STDERR_LOG_LEVEL', '3')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.runner.compile import ExecutableTemplate
from autoresearch_jax.runner.device_calls import UNPACKED, jit_train_steps
from autoresearch_jax.runner.device_share import device_share
from autoresearch_jax.runner.hlo import COLLECTIVES, Executed, Module, shapes_of

logging.getLogger('jax._src.xla_bridge').setLevel(logging.WARNING)  # it tells of no devices

MAX_GROUPS = 24  # of equal operations that are recorded
KERNEL = 'tpu_custom_call'
KINDS = ('products', 'elementwise', 'copies', 'reductions', 'collectives', 'other')


@dataclasses.dataclass(frozen=True)
class DescribedChip:
  """A TPU that libtpu can compile for.

  Attributes:
    topology: libtpu's name of its kind.
    clock: Cycles per second.
    hosts: Number of devices -> (topology, bounds of the chips of a host).
    options: Further arguments of the description.
  """

  topology: str
  clock: float
  hosts: dict[int, tuple[str, tuple[int, int, int]]]
  options: dict[str, Any] = dataclasses.field(default_factory=dict)

  def devices(self, count: int) -> list[Any]:
    """Describes `count` devices of one host. Raises what libtpu raises."""
    shape, bounds = self.hosts[count]
    return topologies.get_topology_desc(
      f'{self.topology}:{shape}', 'tpu', chips_per_host_bounds=bounds, **self.options
    ).devices[:count]


_FLAT = {1: ('1x1', (1, 1, 1)), 4: ('2x2', (2, 2, 1)), 8: ('2x4', (2, 4, 1))}
_CUBE = {1: ('1x1x1', (1, 1, 1)), 4: ('2x2x1', (2, 2, 1)), 8: ('2x2x2', (2, 2, 2))}
CHIPS = {
  'v5e': DescribedChip('v5e', 1.5e9, _FLAT),
  'v6e': DescribedChip('v6e', 1.75e9, _FLAT),
  'v5p': DescribedChip('v5p', 1.75e9, _CUBE),
  'v4': DescribedChip('v4', 1.05e9, _CUBE, {'chip_config_name': 'megacore'}),
  'v7x': DescribedChip('tpu7x', 2.2e9, {**_CUBE, 8: ('2x2x1', (2, 2, 1))}),  # 2 devices a chip
}


@dataclasses.dataclass(frozen=True)
class DescribedStep:
  """A train step compiled for described devices.

  Attributes:
    chip: Key of CHIPS.
    kind: jax's name of the device.
    devices: Number of devices.
    compile_cpu_seconds: CPU time of compiling the step.
    memory_bytes: Device memory of the step, arguments included.
    milliseconds: Estimated time on one device by kind of operation; kernels have no estimate.
    product_flops: FLOPs of matrix products on one device.
    traced_flops: FLOPs of matrix products of the traced step, all devices together.
    kernels: Number of kernel calls in a step.
    kernel_rows: Sizes of the first axis of the kernels' results.
    collectives: How often each collective runs in a step.
    replicated: Fraction of the products that every device computes.
    note: Why that is much; '' if it is not.
    largest: (milliseconds, kind, type) of the operations that take longest.
  """

  chip: str
  kind: str
  devices: int
  compile_cpu_seconds: float
  memory_bytes: int
  milliseconds: dict[str, float]
  product_flops: float
  traced_flops: float
  kernels: int
  kernel_rows: tuple[int, ...]
  collectives: dict[str, int]
  replicated: float
  note: str
  largest: list[tuple[float, str, str]]


def describe(
  artifact: Artifact, name: str, count: int, hlo: pathlib.Path | None = None
) -> DescribedStep:
  """Compiles the train step of an artifact's first phase for described devices.

  Args:
    artifact: The artifact, traced for as many devices.
    name: Key of CHIPS.
    count: Number of devices.
    hlo: File for the compiled module.
  """
  chip = CHIPS[name]
  devices = chip.devices(count)
  mesh = Mesh(np.array(devices), ('batch',))
  replicated = NamedSharding(mesh, PartitionSpec())
  leaves = tuple(
    jax.ShapeDtypeStruct(leaf.shape, UNPACKED.get(leaf.dtype, leaf.dtype), sharding=replicated)
    for leaf in artifact.leaves
  )
  template = ExecutableTemplate.from_artifact(artifact)
  function, *arguments = jit_train_steps(artifact, template.modules[1], 1, mesh, leaves)
  before = _cpu_seconds()
  compiled = function.lower(*arguments).compile()
  seconds = _cpu_seconds() - before
  text, memory = compiled.as_text(), compiled.memory_analysis()
  if hlo:
    hlo.write_text(text)
  module = Module(text)
  executed = list(module.executed())
  kernels = [each for each in executed if each.operation.target == KERNEL]
  share = device_share(artifact, 0, text, count) if count > 1 else None
  times, largest = _times(module, chip.clock)
  collectives: collections.Counter[str] = collections.Counter()
  for each in executed:
    if found := next((c for c in COLLECTIVES if each.operation.opcode.startswith(c)), ''):
      collectives[found] += 0 if each.operation.opcode.endswith('-done') else each.times
  return DescribedStep(
    chip=name,
    kind=devices[0].device_kind,
    devices=count,
    compile_cpu_seconds=seconds,
    memory_bytes=memory.argument_size_in_bytes + memory.temp_size_in_bytes,
    milliseconds=times,
    product_flops=module.product_flops,
    traced_flops=artifact.flops[0],
    kernels=sum(each.times for each in kernels),
    kernel_rows=tuple(sorted({_rows(each) for each in kernels})),
    collectives=dict(collectives),
    replicated=share.replicated if share else 0.0,
    note=share.note if share else '',
    largest=largest,
  )


def _rows(kernel: Executed) -> int:
  """Size of the first axis of a kernel's first result; 0 for a scalar."""
  shapes = shapes_of(kernel.operation.type)
  return shapes[0][1][0] if shapes and shapes[0][1] else 0


def kind_of(module: Module, executed: Executed) -> str:
  """The kind of an operation, one of KINDS."""
  operation = executed.operation
  if operation.opcode.startswith(COLLECTIVES):
    return 'collectives'
  if module.flops(executed):
    return 'products'
  if operation.opcode in ('copy', 'transpose', 'copy-start', 'slice-start', 'bitcast-convert'):
    return 'copies'
  if operation.opcode.startswith('reduce'):
    return 'reductions'
  return 'elementwise' if operation.opcode in ('fusion', 'convert') else 'other'


def _times(module: Module, clock: float) -> tuple[dict[str, float], list[tuple[float, str, str]]]:
  """Estimated milliseconds by kind, and the longest groups of equal operations."""
  times: dict[str, float] = dict.fromkeys(KINDS, 0.0)
  groups: dict[tuple[str, str], float] = collections.defaultdict(float)
  for executed in module.executed():
    milliseconds = 1000 * executed.operation.cycles * executed.times / clock
    kind = kind_of(module, executed)
    times[kind] += milliseconds
    groups[kind, executed.operation.type[:72]] += milliseconds
  longest = sorted(groups.items(), key=lambda item: -item[1])[:MAX_GROUPS]
  return times, [(milliseconds, *group) for group, milliseconds in longest]


def _cpu_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime
