"""The jitted functions of an artifact: `init`, the train steps of a call, and the scorer.

`compile` compiles them ahead of time. Here is what surrounds the artifact's modules in them: the
loop over stacked batches, the loss, the sharding over devices, and the hoisted constants.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.programs.contract import batch_shapes
from autoresearch_jax.runner.hoist_constants import HoistedModule

# XLA gives arrays of 4-bit numbers different layouts in different executables, so between those
# they are kept in 8 bits.
UNPACKED = {'int4': 'int8', 'uint4': 'uint8'}
MIN_SINGLE_BYTES = 2**20  # of a batch, from which steps are called one by one on a CPU


def jit_init(module: HoistedModule, mesh: Mesh) -> tuple[Any, ...]:
  """The jitted `init`, and the shapes of its arguments."""
  replicated = NamedSharding(mesh, PartitionSpec())

  def init(constants, key):
    return _unpacked(module.exported.call(key, constants))

  key = jax.ShapeDtypeStruct((2,), jnp.uint32, sharding=replicated)
  return jax.jit(init, out_shardings=replicated), _constants_shape(module, mesh), key


def _unpacked(leaves: Any) -> tuple[jax.Array, ...]:
  """The leaves as executables return them: types of 4 bits in 8."""
  return tuple(leaf.astype(UNPACKED.get(str(leaf.dtype), leaf.dtype)) for leaf in leaves)


def _packed(leaves: Any, exported: jax.export.Exported) -> list[jax.Array]:
  """The leaves as a module takes them."""
  return [leaf.astype(aval.dtype) for leaf, aval in zip(leaves, exported.in_avals, strict=False)]


def _constants_shape(module: HoistedModule, mesh: Mesh) -> jax.ShapeDtypeStruct:
  replicated = NamedSharding(mesh, PartitionSpec())
  return jax.ShapeDtypeStruct(module.values.shape, module.values.dtype, sharding=replicated)


Dispatch = Literal['loop', 'single']


def dispatch_of(artifact: Artifact, index: int) -> Dispatch:
  """How the steps of a phase are dispatched: in a loop on the device, or one a call.

  It follows from the program alone, so that a result does not depend on the machine's load. One
  step a call is faster on a CPU in two cases. With convolutions: inside of a loop XLA does not call
  its library for them, and their gradients take 2 to 60 times as long (jax issue 12868). And with
  large batches, which a loop copies twice more.
  """
  if artifact.spec.platform != 'cpu':
    return 'loop'
  names = {op.name for op in artifact.graphs[1 + index].ops()}
  large = batch_bytes(artifact, index) >= MIN_SINGLE_BYTES
  return 'single' if large or 'stablehlo.convolution' in names else 'loop'


def batch_bytes(artifact: Artifact, index: int) -> int:
  """Bytes of a phase's batch: inputs and targets, of 4 bytes each."""
  return 4 * sum(shape.size for shape in batch_shapes(artifact.spec, artifact.phases[index]))


@dataclasses.dataclass(frozen=True)
class SingleSteps:
  """Runs the steps of a call one by one; called as `CompiledPhase.run`.

  Attributes:
    step: (constants, leaves, inputs, targets, progress) -> (leaves, metrics).
    metric_names: Names of the metrics.
  """

  step: Callable[..., Any]
  metric_names: tuple[str, ...]

  def __call__(
    self,
    constants: Any,
    leaves: Any,
    inputs: Sequence[Any],
    targets: Sequence[Any],
    progress: np.ndarray,
    count: np.integer,
  ) -> tuple[Any, dict[str, list[jax.Array]]]:
    metrics: list[tuple[jax.Array, ...]] = []
    for i in range(int(count)):
      leaves, values = self.step(constants, leaves, inputs[i], targets[i], progress[i])
      metrics.append(values)
    columns = zip(*metrics, strict=True)
    return leaves, {n: list(column) for n, column in zip(self.metric_names, columns, strict=True)}


def jit_single_step(
  artifact: Artifact, module: HoistedModule, mesh: Mesh, leaves: tuple[Any, ...]
) -> tuple[Any, ...]:
  """The jitted train step of a phase on one batch, and its arguments' shapes."""
  exported, size = module.exported, len(leaves)

  def run(constants, leaves, inputs, targets, progress):
    out = exported.call(*_packed(leaves, exported), inputs, targets, progress, constants)
    return _unpacked(out[:size]), tuple(out[size:])

  replicated = NamedSharding(mesh, PartitionSpec())
  batch = [
    jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding_over(mesh, aval.shape, 0))
    for aval in exported.in_avals[size : size + 2]
  ]
  function = jax.jit(run, donate_argnums=1, out_shardings=replicated)
  progress = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated)
  return function, _constants_shape(module, mesh), leaves, *batch, progress


def jit_train_steps(
  artifact: Artifact, module: HoistedModule, steps: int, mesh: Mesh, leaves: tuple[Any, ...]
) -> tuple[Any, ...]:
  """The jitted loop over at most `steps` train steps of a phase, and its arguments' shapes."""
  exported, size = module.exported, len(leaves)

  def run(constants, leaves, inputs, targets, progress, count):
    def step(i, carry):
      leaves, metrics = carry
      packed = _packed(leaves, exported)
      out = exported.call(*packed, inputs[i], targets[i], progress[i], constants)
      new = tuple(m.at[i].set(value) for m, value in zip(metrics, out[size:], strict=True))
      return _unpacked(out[:size]), new

    empty = tuple(jnp.zeros((steps,), jnp.float32) for _ in artifact.metric_names)
    leaves, metrics = jax.lax.fori_loop(0, count, step, (leaves, empty))
    return leaves, dict(zip(artifact.metric_names, metrics, strict=True))

  replicated = NamedSharding(mesh, PartitionSpec())
  inputs, targets = exported.in_avals[size : size + 2]
  stacked = [
    jax.ShapeDtypeStruct(
      (steps, *aval.shape), aval.dtype, sharding=sharding_over(mesh, (steps, *aval.shape), 1)
    )
    for aval in (inputs, targets)
  ]
  function = jax.jit(run, donate_argnums=1, out_shardings=replicated)
  progress = jax.ShapeDtypeStruct((steps,), jnp.float32, sharding=replicated)
  count = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated)
  return function, _constants_shape(module, mesh), leaves, *stacked, progress, count


def jit_scorer(
  artifact: Artifact, module: HoistedModule, mesh: Mesh, leaves: tuple[Any, ...]
) -> tuple[Any, ...]:
  """The jitted loss of each target, and its arguments' shapes; see `CompiledProgram.score`.

  For constructions there are no targets: it returns what `predict` returns.
  """
  exported, constants = module.exported, _constants_shape(module, mesh)

  def construction(constants, leaves, inputs):
    return exported.call(*_packed(leaves, exported), inputs, constants).astype(jnp.float32)

  def losses(constants, leaves, inputs, targets):
    logits = exported.call(*_packed(leaves, exported), inputs, constants).astype(jnp.float32)
    # The largest logit is subtracted first. Otherwise an offset large enough to absorb the
    # logarithm of the sum would make every target cost nothing.
    top = jnp.max(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    losses = jnp.log(jnp.sum(jnp.exp(logits - top[..., None]), axis=-1)) - (chosen - top)
    # Of equal logits argmax takes the first, so constant logits are as accurate as guessing.
    if artifact.spec.kind != 'supervised':
      return losses, jnp.zeros((), bool), jnp.zeros((), jnp.float32)
    return losses, jnp.argmax(logits, axis=-1) == targets, logits

  def squares(constants, leaves, inputs, targets):
    outputs = exported.call(*_packed(leaves, exported), inputs, constants).astype(jnp.float32)
    losses = jnp.square(outputs - targets).reshape(len(targets), -1).mean(axis=1)
    return losses, jnp.zeros((), bool), outputs

  def shape_of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding_over(mesh, shape, 0))

  inputs = exported.in_avals[len(leaves)]
  batch = shape_of(inputs.shape, inputs.dtype)
  if artifact.spec.kind == 'construction':
    return jax.jit(construction), constants, leaves, batch
  if artifact.spec.is_regression:
    targets = shape_of(exported.out_avals[0].shape, jnp.float32)
    return jax.jit(squares), constants, leaves, batch, targets
  targets = inputs.shape if artifact.spec.kind == 'language_model' else inputs.shape[:1]
  return jax.jit(losses), constants, leaves, batch, shape_of(targets, jnp.int32)


def sharding_over(mesh: Mesh, shape: tuple[int, ...], axis: int) -> NamedSharding:
  """Shards `axis` over the mesh where it divides evenly, else replicates the array."""
  if mesh.size == 1 or not shape[axis] or shape[axis] % mesh.size:
    return NamedSharding(mesh, PartitionSpec())
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'batch'))
