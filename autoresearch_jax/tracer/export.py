"""Exports a program to an artifact with `jax.export`, and checks it against the contract.

Runs in the tracer's sandboxed child, together with the program's Python. Each function is traced
once: jit's cache hands the same trace to `jax.export`. Every violation of the contract raises a
ContractError whose message names the file and the line.
"""

import functools
import importlib.util
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.export

from autoresearch_jax.artifact import graph
from autoresearch_jax.artifact.header import Leaf
from autoresearch_jax.artifact.kernel import KernelArtifact
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.config import Limits
from autoresearch_jax.ops.data_parallel import sharing
from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import ContractError, Shape
from autoresearch_jax.tracer import check, kernel
from autoresearch_jax.tracer.flat_program import FlatProgram, PlacedErrors
from autoresearch_jax.tracer.importing import import_entry
from autoresearch_jax.tracer.micro_batches import share_micro_batches
from autoresearch_jax.tracer.one_device import on_one_device
from autoresearch_jax.types import Budget, Spec

_CALLBACKS = ('callback', 'debug_print', 'infeed', 'outfeed')
WARM_UP_PROGRAM = pathlib.Path(__file__).resolve().parents[1] / 'programs' / 'gpt' / 'model.py'
MAX_FRAMES = 64  # of a traceback in which a line of the program is looked for
_FRAME = re.compile(r'"([^"]+)":(\d+)')  # in the text of a location


def export_program(
  directory: pathlib.Path,
  entry: str,
  spec: Spec,
  evaluation_batch: int,
  limits: Limits | None = None,
) -> Artifact:
  """Imports `entry` from `directory` and exports its functions for `spec.platform`.

  Args:
    directory: Folder with the program's files.
    entry: Name of the entry file.
    spec: The problem, with platform, number of devices and budget.
    evaluation_batch: Rows (examples) of the batch that `predict` is exported for.
    limits: Limits that the artifact is checked against, as the runner will; None for no check.

  Raises:
    ContractError: the program breaks the contract.
    BaseException: whatever the program itself raises (see `errors.describe`).
  """
  module = import_entry(directory, entry)
  program = FlatProgram(module, entry, spec)
  phases = program.phases()
  platform = contract.EXPORT_PLATFORMS[spec.platform]
  export = Exporter(platform, directory, program.where, spec.num_devices)
  init = export('init', program.init, contract.KEY)
  state = tuple(Shape(tuple(a.shape), str(a.dtype)) for a in init.out_avals)
  program.check_leaves()
  train_step = program.train_step
  if spec.num_devices > 1 and spec.kind != 'construction':
    train_step = share_micro_batches(train_step, len(state))
  steps = tuple(
    export(
      'train_step',
      train_step,
      *state,
      *contract.batch_shapes(spec, phase),
      contract.PROGRESS,
    )
    for phase in phases
  )
  inputs = contract.predict_inputs(spec, evaluation_batch)
  program.predict_shape = contract.predict_outputs(spec, evaluation_batch)
  predict = export('predict', program.predict, *state, inputs)
  artifact = Artifact(
    platform=platform,
    spec=spec,
    evaluation_batch=evaluation_batch,
    batch_size=program.batch_size,
    phases=phases,
    leaves=tuple(
      Leaf(path[:200], shape.shape, shape.dtype)
      for path, shape in zip(program.paths, state, strict=True)
    ),
    metric_names=program.metric_names,
    init=bytes(init.serialize()),
    train_steps=tuple(bytes(step.serialize()) for step in steps),
    predict=bytes(predict.serialize()),
  )
  if limits is not None:
    check.check(artifact, limits, program, export.place)
  return artifact


def export_kernel(
  directory: pathlib.Path, entry: str, spec: Spec, limits: Limits | None = None
) -> KernelArtifact:
  """Imports `entry` from `directory` and exports its kernel; arguments as in `export_program`."""
  module = import_entry(directory, entry)
  return kernel.export_kernel(
    module, entry, spec, lambda platform, where: Exporter(platform, directory, where), limits
  )


def warm_up() -> Iterator[None]:
  """Traces a small version of the library's GPT, one function a step, to fill jax's caches.

  It takes as long as one trace, and makes each later trace a quarter faster. Starts no backend and
  no thread, so the caller may still fork.
  """
  spec = Spec('language_model', 'cpu', 1, Budget(1), vocab_size=1024, sequence_length=256)
  module_spec = importlib.util.spec_from_file_location('warm_up', WARM_UP_PROGRAM)
  assert module_spec and module_spec.loader
  module = importlib.util.module_from_spec(module_spec)
  module_spec.loader.exec_module(module)
  vars(module).update(DEPTH=2, HEAD_DIM=64, BATCH_SIZE=8)
  program = FlatProgram(module, WARM_UP_PROGRAM.name, spec)
  init_shapes = jax.jit(program.init).trace(_struct(contract.KEY)).out_info
  yield
  state = [Shape(tuple(a.shape), str(a.dtype)) for a in init_shapes]
  batch = contract.batch_shapes(spec, program.phases()[0])
  inputs = contract.predict_inputs(spec, 16)
  program.predict_shape = contract.predict_outputs(spec, 16)
  jax.jit(program.train_step).trace(*map(_struct, (*state, *batch, contract.PROGRESS)))
  yield
  jax.jit(program.predict).trace(*map(_struct, (*state, inputs)))


class Exporter:
  """Exports functions for one platform, and says which line of the program an operation is from.

  Callbacks are refused.

  Args:
    platform: What jax exports for.
    directory: Folder with the program's files.
    where: Name of a function of the program -> its file and line.
    num_devices: Devices that share a batch.
  """

  def __init__(
    self,
    platform: str,
    directory: pathlib.Path,
    where: Callable[[str], str],
    num_devices: int = 1,
  ):
    self._platform = platform
    self._num_devices = num_devices
    self._directory = directory
    self._where = where
    self._calls: list[tuple[Callable[..., Any], list[jax.ShapeDtypeStruct]]] = []

  def __call__(self, name: str, function: Callable[..., Any], *shapes: Shape) -> Any:
    arguments = [_struct(shape) for shape in shapes]
    self._calls.append((function, arguments))
    jitted = jax.jit(function)
    with PlacedErrors(self._where(name)), sharing(self._num_devices):
      traced = jitted.trace(*arguments)
    self._refuse_callbacks(name, traced.jaxpr)
    with PlacedErrors(self._where(name)):
      return self._export(jitted, arguments)

  def place(self, module: int, position: int) -> str:
    """File and line of an operation; '' if it is from no line of the program.

    Args:
      module: Index of the exported function.
      position: Number of the operation in its module (see `graph.Op`).
    """
    function, arguments = self._calls[module]
    # Locations make a trace a fifth slower, so they are only recorded when one is needed.
    before = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update('jax_traceback_in_locations_limit', MAX_FRAMES)
    try:
      exported = self._export(jax.jit(functools.partial(function)), arguments)
    finally:
      jax.config.update('jax_traceback_in_locations_limit', before)
    found = _FRAME.findall(graph.locations(exported)[position])
    return next(filter(None, (self._line(file, int(line)) for file, line in found)), '')

  def _export(self, jitted: Any, arguments: list[jax.ShapeDtypeStruct]) -> jax.export.Exported:
    # Custom calls are left to the artifact's reader, which knows all that are allowed.
    checks = [jax.export.DisabledSafetyCheck.custom_call('ALL')]
    exporting = jax.export.export(jitted, platforms=[self._platform], disabled_checks=checks)
    with sharing(self._num_devices):
      return on_one_device(exporting(*arguments), self._num_devices)

  def _refuse_callbacks(self, name: str, jaxpr: Any) -> None:
    for equation in _equations(jaxpr):
      primitive = equation.primitive.name
      if any(part in primitive for part in _CALLBACKS):
        trace = equation.source_info.traceback
        frames = [(frame.file_name, frame.line_num) for frame in (trace.frames if trace else ())]
        place = next(filter(None, (self._line(*frame) for frame in frames)), self._where(name))
        raise ContractError(
          f'{place}: {name} calls back into Python ({primitive}), but a trial runs no Python; '
          'remove jax.debug.print, jax.debug.callback, pure_callback or io_callback.'
        )

  def _line(self, file: str, line: int) -> str:
    path = pathlib.Path(file)
    inside = path.is_relative_to(self._directory)
    return f'{path.relative_to(self._directory)}:{line}' if inside else ''


def _struct(shape: Shape) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype)


def _equations(jaxpr: Any) -> Iterator[Any]:
  """All equations of a jaxpr and of the jaxprs nested in it."""
  seen: set[int] = set()
  stack = [jaxpr]
  while stack:
    item = stack.pop()
    if isinstance(item, list | tuple):
      stack.extend(item)
      continue
    item = getattr(item, 'jaxpr', item)
    if not hasattr(item, 'eqns') or id(item) in seen:
      continue
    seen.add(id(item))
    for equation in item.eqns:
      yield equation
      stack.extend(equation.params.values())
