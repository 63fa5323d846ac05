"""Reads and checks trial artifacts. An artifact is all that is left of a program once it is traced.

The tracer wrote it from a process that ran untrusted code, so `read` trusts nothing: sizes are
checked before use, every shape is compared with the contract, every module is parsed, and only
known custom calls pass. The checksum detects truncation; it does not authenticate the author.
MLIR's parser is C++, and about one in a thousand modules with altered bytes crashes or hangs it
(tests/attacks/test_forged_artifacts.py). That ends the runner process, not the run.

Not covered: kernels on TPUs (`tpu_custom_call`), which a program may bring along and which can read
memory next to their buffers. On GPUs such kernels are refused unless limits.custom_kernels allows
them.
"""

import dataclasses
import functools
import hashlib
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.export

from autoresearch_jax.artifact import graph, lapack, sharding
from autoresearch_jax.artifact.header import ArtifactError, Header, Leaf, pack, reject, unpack
from autoresearch_jax.artifact.matmuls import matmul_flops, parse_tensor
from autoresearch_jax.config import Limits
from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import Phase, Shape
from autoresearch_jax.types import Spec

MAX_LEAVES = 20_000
_CALLING_CONVENTIONS = (9, 10)

# Built-in kernels that jax itself lowers to. Host callbacks are custom calls too, so anything else
# is refused. `tpu_custom_call` may be a kernel that the program wrote: it cannot be distinguished
# from those of jax's library, which attention on TPUs needs.
CUSTOM_CALLS: dict[str, frozenset[str]] = {
  platform: frozenset(names.split())
  for platform, names in {
    'cpu': ' '.join(('ApproxTopK', *lapack.TARGETS)),
    'cuda': """
      cu_threefry2x32_ffi cublas_geqrf_batched_ffi cusolver_geqrf_ffi cusolver_orgqr_ffi
      cusolver_ormqr_ffi cusolver_potrf_ffi cusolver_getrf_ffi cusolver_syevd_ffi
      cusolver_sytrd_ffi cusolver_syrk_ffi cusolver_gesvd_ffi cusolver_gesvdj_ffi
      cu_lu_pivots_to_permutation ApproxTopK __cudnn$fmhaSoftmax
      __cudnn$fmhaSoftmaxBackward __cudnn$fmhaScaleBiasSoftmax
      __cudnn$fmhaScaleBiasSoftmaxBackward __cudnn$fmhaSoftmaxDropout
      __cudnn$fmhaSoftmaxDropoutBackward""",
    'tpu': """
      tpu_custom_call Qr Eigh Cholesky LuDecomposition ProductOfElementaryHouseholderReflectors
      ApproxTopK""",
  }.items()
}
# Kernels written by a program, for limits.custom_kernels: they run on the device next to its data,
# and nothing bounds what they read.
CUSTOM_KERNELS = {'cuda': frozenset({'__gpu$xla.gpu.triton', 'triton_kernel_call'})}
_REPLACEMENTS = {
  'AllocateBuffer': 'write jax.numpy.zeros instead of jax.lax.empty',
  'cpu_csr_sparse_dense_ffi': 'use jax.experimental.sparse.BCOO or a dense array',
  'annotate_device_placement': 'keep all arrays on the device, without offloading',
}
_SHORT_ATTRIBUTE = 256  # characters; longer attributes count as constants


@dataclasses.dataclass(frozen=True)
class Artifact:
  """A traced program. Its modules are serialized `jax.export.Exported` over flat state leaves.

  Attributes:
    platform: cpu, cuda or tpu.
    spec: The problem that it was traced for.
    evaluation_batch: Rows (examples) of a batch of `predict`.
    batch_size: The program's BATCH_SIZE.
    phases: Phases of training, one at least.
    leaves: Path, shape and dtype of each leaf of the state.
    metric_names: Names of the training metrics, sorted.
    init: (key data, uint32 [2]) -> leaves.
    train_steps: One for each phase: (*leaves, inputs, targets, progress float32 []) ->
      (*leaves, *metrics float32 [], in the order of metric_names).
    predict: (*leaves, inputs) -> outputs.
  """

  platform: str
  spec: Spec
  evaluation_batch: int
  batch_size: int
  phases: tuple[Phase, ...]
  leaves: tuple[Leaf, ...]
  metric_names: tuple[str, ...]
  init: bytes
  train_steps: tuple[bytes, ...]
  predict: bytes

  def write(self, path: pathlib.Path) -> None:
    """Writes the artifact to a file."""
    path.write_bytes(self.to_bytes())

  def to_bytes(self) -> bytes:
    """The contents of the artifact's file."""
    modules = (self.init, *self.train_steps, self.predict)
    header = Header(
      platform=self.platform,
      spec=self.spec,
      evaluation_batch=self.evaluation_batch,
      batch_size=self.batch_size,
      phases=self.phases,
      leaves=self.leaves,
      metric_names=self.metric_names,
      module_bytes=tuple(len(module) for module in modules),
    )
    return pack(header, modules)

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of the whole artifact, metrics and the order of leaves included."""
    return hashlib.sha256(self.to_bytes()).hexdigest()

  @functools.cached_property
  def graphs(self) -> tuple[graph.Graph, ...]:
    """The graphs of the modules: init, every train step, predict.

    Raises:
      ArtifactError: a module is refused or cannot be read.
    """
    devices = self.spec.num_devices
    return tuple(read_graph(i, exported, devices) for i, exported in enumerate(self.exported))

  @functools.cached_property
  def exported(self) -> tuple[jax.export.Exported, ...]:
    """The modules as jax objects: init, every train step, predict.

    Raises:
      ArtifactError: a module cannot be deserialized.
    """
    modules = (self.init, *self.train_steps, self.predict)
    names = ('init', *(f'train_step {i}' for i in range(len(self.train_steps))), 'predict')
    return tuple(deserialize(n, m) for n, m in zip(names, modules, strict=True))

  @functools.cached_property
  def parameters(self) -> int:
    """Number of elements of the float leaves that `predict` reads."""
    read = [self.leaves[i] for i in self.exported[-1].module_kept_var_idx if i < len(self.leaves)]
    return sum(math.prod(leaf.shape) for leaf in read if leaf.dtype in contract.FLOATS)

  @functools.cached_property
  def matmul_dtypes(self) -> dict[str, float]:
    """FLOPs of the matrix products of the first phase's train step, by dtype."""
    return matmul_flops(self.graphs[1])

  @functools.cached_property
  def flops(self) -> tuple[float, ...]:
    """FLOPs of the matrix products of one train step of each phase, summed over devices."""
    return tuple(sum(matmul_flops(step).values()) for step in self.graphs[1:-1])

  @functools.cached_property
  def constant_bytes(self) -> int:
    """Bytes of the different constants in the modules; a splat counts as one element.

    Long attributes of other operations, such as a kernel's code, count by their characters.
    """
    return constant_bytes(self.graphs)

  def facts(self) -> dict[str, Any]:
    """The part of `Result.facts` that is known from the artifact."""
    modules = (self.init, *self.train_steps, self.predict)
    return {
      'artifact_bytes': sum(map(len, modules)),
      'batch_size': self.batch_size,
      'evaluation_batch': self.evaluation_batch,
      'phases': [dataclasses.asdict(phase) for phase in self.phases],
      'parameters': self.parameters,
      'state_bytes': sum(math.prod(x.shape) * _itemsize(x.dtype) for x in self.leaves),
      'matmul_dtypes': self.matmul_dtypes,
      'matmul_flops_per_step': list(self.flops),
      'constant_bytes': self.constant_bytes,
      'operations': [each.size for each in self.graphs],
    }


def read(path: pathlib.Path, limits: Limits) -> Artifact:
  """Reads and checks an artifact.

  Raises:
    ArtifactError: it cannot be read, or breaks a rule or a limit.
  """
  return from_bytes(contents(path, limits), limits)


def contents(path: pathlib.Path, limits: Limits) -> bytes:
  """Returns the contents of an artifact's file. Raises ArtifactError if it is too large."""
  try:
    size = path.stat().st_size
    if size > limits.artifact_bytes:
      reject(
        f'it has {size / 2**20:.1f} MiB, and limits.artifact_bytes allows '
        f'{limits.artifact_bytes / 2**20:g} MiB',
        'compute large constants inside the functions, or raise limits.artifact_bytes',
      )
    with path.open('rb') as file:
      return file.read(limits.artifact_bytes + 1)
  except OSError as error:
    raise ArtifactError(f'it cannot be read: {error.strerror}') from None


def from_bytes(data: bytes, limits: Limits | None = None) -> Artifact:
  """Checks and returns the artifact in `data`.

  Args:
    data: Contents of the artifact's file.
    limits: Limits to check; None for the defaults.

  Raises:
    ArtifactError: it breaks a rule or a limit.
  """
  header, modules = unpack(data)
  _check_header(header)
  artifact = Artifact(
    platform=header.platform,
    spec=header.spec,
    evaluation_batch=header.evaluation_batch,
    batch_size=header.batch_size,
    phases=header.phases,
    leaves=header.leaves,
    metric_names=header.metric_names,
    init=modules[0],
    train_steps=tuple(modules[1:-1]),
    predict=modules[-1],
  )
  _check_modules(artifact, limits or Limits())
  return artifact


def _check_header(header: Header) -> None:
  spec = header.spec
  if header.platform != contract.EXPORT_PLATFORMS[spec.platform]:
    reject(f'it is for {header.platform[:20]!r} and its spec is for {spec.platform!r}')
  if not 1 <= len(header.leaves) <= MAX_LEAVES:
    reject(f'its state has {len(header.leaves)} leaves; 1 to {MAX_LEAVES} are allowed')
  for leaf in header.leaves:
    if leaf.dtype not in contract.DTYPES or not is_plausible(leaf.shape):
      reject(
        f'its state has an array {leaf.dtype[:20]}{list(leaf.shape)[:8]}, which is not allowed'
      )
  if not 1 <= spec.num_devices <= sharding.MAX_DEVICES:
    reject(f'it is for {spec.num_devices} devices; 1 to {sharding.MAX_DEVICES} may share a batch')
  sizes = (header.evaluation_batch, spec.vocab_size, spec.sequence_length, spec.num_classes)
  for shape in (sizes, spec.input_shape or (), spec.output_shape or ()):
    if not is_plausible(tuple(size or 0 for size in shape), max_elements=2**80):
      reject('its spec has sizes that are out of range')
  try:
    contract.check_batch_size(header.batch_size)
    contract.check_phases(header.phases, spec)
    contract.check_metric_names(header.metric_names)
  except contract.ContractError as error:
    why, _, remedy = str(error).rstrip('.').partition('; ')
    reject(why, remedy or 'trace the program again')
  if list(header.metric_names) != sorted(set(header.metric_names)):
    reject('its metrics are not sorted')
  if len(header.module_bytes) != len(header.phases) + 2:
    reject(f'it has {len(header.module_bytes)} modules for {len(header.phases)} phases')


def _check_modules(artifact: Artifact, limits: Limits) -> None:
  leaves = tuple(Shape(leaf.shape, leaf.dtype) for leaf in artifact.leaves)
  metrics = (contract.METRIC,) * len(artifact.metric_names)
  init, *steps, predict = artifact.exported
  check_exported('init', init, artifact.platform, (contract.KEY,), leaves)
  for phase, step in zip(artifact.phases, steps, strict=True):
    inputs = (*leaves, *contract.batch_shapes(artifact.spec, phase), contract.PROGRESS)
    check_exported('train_step', step, artifact.platform, inputs, (*leaves, *metrics))
  inputs = (*leaves, contract.predict_inputs(artifact.spec, artifact.evaluation_batch))
  check_exported('predict', predict, artifact.platform, inputs, None)
  out = contract.predict_outputs(artifact.spec, artifact.evaluation_batch)
  returned = [_shape_of(aval) for aval in predict.out_avals]
  if len(returned) != 1 or returned[0].shape != out or returned[0].dtype not in contract.FLOATS:
    reject(f'predict returns {", ".join(map(str, returned[:4]))}, not one float array {list(out)}')
  for index, exported in enumerate(artifact.exported):
    check_graph(index, exported, artifact.graphs[index], artifact.platform, limits)
  check_constants(artifact.graphs, limits)


def constant_bytes(graphs: Iterable[graph.Graph]) -> int:
  """Bytes of the different constants in some modules, as `Artifact.constant_bytes` counts them."""
  return sum(
    {
      text: size for module in graphs for op in module.ops() for text, size in _constants(op)
    }.values()
  )


def check_constants(graphs: tuple[graph.Graph, ...], limits: Limits) -> None:
  """Raises ArtifactError if the constants of some modules exceed their limit."""
  size = constant_bytes(graphs)
  if size > limits.constant_bytes:
    reject(
      f'it embeds constants of {size / 2**20:.2f} MiB, and '
      f'limits.constant_bytes allows {limits.constant_bytes / 2**20:g} MiB',
      'compute tables inside the functions, with jax.lax.iota or jax.random, or raise '
      'limits.constant_bytes',
      *_largest_constant(graphs),
    )


def _allowed_custom_calls(platform: str, limits: Limits) -> frozenset[str]:
  kernels = CUSTOM_KERNELS.get(platform, frozenset()) if limits.custom_kernels else frozenset()
  return CUSTOM_CALLS[platform] | kernels


def check_exported(
  name: str,
  exported: jax.export.Exported,
  platform: str,
  inputs: tuple[Shape, ...],
  outputs: tuple[Shape, ...] | None,
) -> None:
  """Checks a module's declared interface, which jax relies on when it calls the module."""
  if exported.platforms != (platform,) or exported.nr_devices != 1:
    reject(f'{name} is not exported for one device of {platform}')
  if exported.ordered_effects or exported.unordered_effects:
    reject(f'{name} has effects', 'remove them, since a train step must be pure')
  if tuple(map(_shape_of, exported.in_avals)) != inputs:
    reject(f'{name} takes other arrays than the contract requires')
  if outputs is not None and tuple(map(_shape_of, exported.out_avals)) != outputs:
    reject(f'{name} returns other arrays than the contract requires')
  if exported.in_tree != jax.tree.structure(((0,) * len(inputs), {})):
    reject(f'{name} does not take flat arguments')
  single = outputs is None  # predict returns one array, and no tuple
  if exported.out_tree != jax.tree.structure(0 if single else (0,) * len(exported.out_avals)):
    reject(f'{name} does not return flat results')
  kept = exported.module_kept_var_idx
  if list(kept) != sorted(set(kept)) or any(not 0 <= i < len(inputs) for i in kept):
    reject(f'{name} declares arguments that it does not have')
  if exported.calling_convention_version not in _CALLING_CONVENTIONS:
    reject(f'{name} has the unknown calling convention {exported.calling_convention_version}')
  if exported.uses_global_constants or _has_shardings(exported):
    reject(
      f'{name} has symbolic shapes or shardings',
      'use fixed shapes, and leave sharding to the runner',
    )


def check_graph(
  index: int, exported: jax.export.Exported, module: graph.Graph, platform: str, limits: Limits
) -> None:
  """Checks a module's contents: its actual signature, and its custom calls."""
  allowed = _allowed_custom_calls(platform, limits)
  kept = [_shape_of(exported.in_avals[i]) for i in exported.module_kept_var_idx]
  arguments = [_shape_of_text(text) for text in module.main.types]
  if arguments != kept:
    reject('a module takes other arrays than it declares')
  returned = [_shape_of_text(text) for text in module.main.ops[-1].types]
  if returned != [_shape_of(aval) for aval in exported.out_avals]:
    reject('a module returns other arrays than it declares')
  for op in module.ops():
    if op.name == 'stablehlo.custom_call':
      target = dict(op.attributes).get('call_target_name', '').strip('"')
      if target not in allowed:
        why = f'it calls {target[:80]!r}, a custom call that trials may not use'
        reject(why, _replacement(target), index, op.position)
      if not lapack.is_valid(target, op):
        reject(
          f'it calls {target!r} with other shapes than jax would',
          'use jax.numpy.linalg or jax.scipy.linalg',
          index,
          op.position,
        )


def read_graph(index: int, exported: jax.export.Exported, num_devices: int) -> graph.Graph:
  try:
    read = graph.read(exported, num_devices)
    if num_devices > 1:
      sharding.check(read, num_devices)
    return read
  except graph.GraphError as error:
    raise ArtifactError(str(error), error.remedy, index, error.position) from None
  except Exception as error:  # MLIR's bindings raise anything on names that are not Unicode
    raise ArtifactError(f'a module cannot be read ({type(error).__name__})') from None


def _replacement(target: str) -> str:
  """What to write instead of a custom call that is not allowed."""
  if any(target in kernels for kernels in CUSTOM_KERNELS.values()):
    return 'config.limits.custom_kernels = True allows it on GPUs'
  return _REPLACEMENTS.get(target, 'write it with functions of jax.numpy or jax.lax')


def _largest_constant(graphs: tuple[graph.Graph, ...]) -> tuple[int, int]:
  """The module of the largest constant, and its position there."""
  sizes = [
    (size, index, op.position)
    for index, module in enumerate(graphs)
    for op in module.ops()
    for _, size in _constants(op)
  ]
  return max(sizes)[1:]


def deserialize(name: str, module: bytes) -> jax.export.Exported:
  try:
    return jax.export.deserialize(bytearray(module))
  except Exception as error:  # flatbuffers and jax raise anything on malformed bytes
    raise ArtifactError(f'{name} cannot be deserialized ({type(error).__name__})') from None


def _has_shardings(exported: jax.export.Exported) -> bool:
  named = (*exported._in_named_shardings, *exported._out_named_shardings)
  old = (*exported.in_shardings_hlo, *exported.out_shardings_hlo)
  return any(sharding is not None for sharding in (*named, *old))


def _shape_of(aval: Any) -> Shape:
  return Shape(tuple(aval.shape), str(aval.dtype))


def _shape_of_text(text: str) -> Shape | None:
  found = parse_tensor(text)
  return Shape(*found) if found else None


def _constants(op: graph.Op) -> list[tuple[str, int]]:
  """The text of each constant of an operation, and its bytes."""
  if op.name != 'stablehlo.constant':
    return [(text, len(text)) for _, text in op.attributes if len(text) > _SHORT_ATTRIBUTE]
  found = parse_tensor(op.types[-1])
  if found is None:
    return []
  text = next((value for name, value in op.attributes if name == 'value'), '')
  splat = not text.startswith(('dense<[', 'dense<"'))
  return [(text, (1 if splat else math.prod(found[0])) * _itemsize(found[1]))]


def _itemsize(dtype: str) -> int:
  return jax.numpy.dtype(dtype).itemsize


def is_plausible(shape: Iterable[int], max_elements: int = 2**40) -> bool:
  """Whether an array of this shape could exist: at most 32 axes, no huge sizes."""
  sizes = tuple(shape)
  return (
    len(sizes) <= 32
    and all(0 <= s < 2**31 for s in sizes)
    and math.prod(max(s, 1) for s in sizes) <= max_elements
  )
