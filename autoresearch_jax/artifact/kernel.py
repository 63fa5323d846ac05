"""The artifact of a kernel: its forward function, and with gradients also both passes in one.

Same file format and same rules as other artifacts (see `reader`), without state, training or
phases. The reference is traced to such an artifact too; it has each function once more in float64,
where it can be traced that way.
"""

import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import jax
import jax.export

from autoresearch_jax.artifact import graph, reader
from autoresearch_jax.artifact.header import Header, Leaf, pack, reject, unpack
from autoresearch_jax.artifact.matmuls import matmul_flops
from autoresearch_jax.config import Limits
from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import Shape
from autoresearch_jax.types import KernelSpec, Spec

EXACT_PLATFORM = 'cpu'  # where float64 is native
MAX_OUTPUTS = 64


@dataclasses.dataclass(frozen=True)
class KernelArtifact:
  """A traced kernel.

  Attributes:
    platform: cpu, cuda or tpu.
    spec: The problem that it was traced for.
    outputs: Path, shape and dtype of each output.
    modules: Serialized `jax.export.Exported`: (*inputs) -> outputs, and with gradients (*inputs,
      *cotangents of float outputs) -> (*outputs, *gradients of float inputs).
    exact: The same in float64, for the CPU; of references only, and empty if they do not trace.
  """

  platform: str
  spec: Spec
  outputs: tuple[Leaf, ...]
  modules: tuple[bytes, ...]
  exact: tuple[bytes, ...] = ()

  def write(self, path: pathlib.Path) -> None:
    """Writes the artifact to a file."""
    path.write_bytes(self.to_bytes())

  def to_bytes(self) -> bytes:
    """The contents of the artifact's file."""
    modules = (*self.modules, *self.exact)
    header = Header(
      platform=self.platform,
      spec=self.spec,
      evaluation_batch=0,
      batch_size=1,
      phases=(),
      leaves=self.outputs,
      metric_names=(),
      module_bytes=tuple(map(len, modules)),
    )
    return pack(header, modules)

  @property
  def kernel(self) -> KernelSpec:
    assert self.spec.kernel is not None
    return self.spec.kernel

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of the whole artifact."""
    return hashlib.sha256(self.to_bytes()).hexdigest()

  @functools.cached_property
  def exported(self) -> tuple[jax.export.Exported, ...]:
    """The modules as jax objects, those in float64 last. Raises ArtifactError."""
    modules = (*self.modules, *self.exact)
    return tuple(reader.deserialize(f'module {i}', m) for i, m in enumerate(modules))

  @functools.cached_property
  def graphs(self) -> tuple[graph.Graph, ...]:
    """The graphs of the modules. Raises ArtifactError."""
    return tuple(reader.read_graph(i, each, 1) for i, each in enumerate(self.exported))

  def facts(self) -> dict[str, Any]:
    """The part of `Result.facts` that is known from the artifact."""
    flops = matmul_flops(self.graphs[len(self.modules) - 1])
    return {
      'artifact_bytes': sum(map(len, self.modules)),
      'parameters': 0,
      'batch_size': 0,
      'state_bytes': 0,
      'matmul_dtypes': flops,
      'matmul_flops_per_step': [sum(flops.values())],
      'constant_bytes': reader.constant_bytes(self.graphs),
      'operations': [each.size for each in self.graphs],
    }


def is_kernel(data: bytes) -> bool:
  """Whether the contents of an artifact's file are a kernel's. Raises ArtifactError."""
  return unpack(data)[0].spec.kind == 'kernel'


def read(path: pathlib.Path, limits: Limits) -> KernelArtifact:
  """Reads and checks a kernel's artifact. Raises ArtifactError."""
  return from_bytes(reader.contents(path, limits), limits)


def from_bytes(data: bytes, limits: Limits) -> KernelArtifact:
  """Checks and returns the kernel's artifact in `data`. Raises ArtifactError."""
  header, modules = unpack(data)
  spec = header.spec
  if spec.kind != 'kernel' or spec.kernel is None:
    reject('it is no kernel')
  if header.platform != contract.EXPORT_PLATFORMS[spec.platform]:
    reject(f'it is for {header.platform[:20]!r} and its spec is for {spec.platform!r}')
  count = 2 if spec.kernel.gradients else 1
  allowed = (count, 2 * count) if spec.kernel.is_reference else (count,)
  if len(modules) not in allowed:
    reject(f'it has {len(modules)} modules and not {count}')
  if not 1 <= len(header.leaves) <= MAX_OUTPUTS:
    reject(f'it has {len(header.leaves)} outputs; 1 to {MAX_OUTPUTS} are allowed')
  for leaf in header.leaves:
    if leaf.dtype not in contract.DTYPES or not reader.is_plausible(leaf.shape):
      reject(f'it has an output {leaf.dtype[:20]}{list(leaf.shape)[:8]}, which is not allowed')
  artifact = KernelArtifact(
    header.platform, spec, header.leaves, tuple(modules[:count]), tuple(modules[count:])
  )
  _check_modules(artifact, limits)
  return artifact


def input_shapes(kernel: KernelSpec, exact: bool = False) -> tuple[Shape, ...]:
  """Shapes of the inputs; `exact`: with floats in float64."""
  return tuple(_shape(each.shape, each.dtype, exact) for each in kernel.inputs)


def cotangent_shapes(outputs: tuple[Leaf, ...], exact: bool = False) -> tuple[Shape, ...]:
  """Shapes of the cotangents: one for each float output."""
  return tuple(_shape(x.shape, x.dtype, exact) for x in outputs if x.dtype in contract.FLOATS)


def _shape(shape: tuple[int, ...], dtype: str, exact: bool) -> Shape:
  return Shape(shape, 'float64' if exact and dtype in contract.FLOATS else dtype)


def _check_modules(artifact: KernelArtifact, limits: Limits) -> None:
  size = len(artifact.modules)
  for index, exported in enumerate(artifact.exported):
    exact, both = index >= size, index % size == 1
    inputs = input_shapes(artifact.kernel, exact)
    outputs = tuple(_shape(each.shape, each.dtype, exact) for each in artifact.outputs)
    if both:
      outputs = (
        *outputs,
        *(each for each in inputs if each.dtype in (*contract.FLOATS, 'float64')),
      )
      inputs = (*inputs, *cotangent_shapes(artifact.outputs, exact))
    platform = EXACT_PLATFORM if exact else artifact.platform
    reader.check_exported('kernel', exported, platform, inputs, outputs)
    reader.check_graph(index, exported, artifact.graphs[index], platform, limits)
  reader.check_constants(artifact.graphs[:size], limits)
