"""Exports a program to an artifact with `jax.export`, and checks it against the contract.

Runs in the tracer's sandboxed child, together with the program's Python. Each function is traced
once: jit's cache hands the same trace to `jax.export`. Every violation of the contract raises a
ContractError whose message names the file and the line.
"""

import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from autoresearch_jax.artifact.header import Leaf
from autoresearch_jax.artifact.reader import CUSTOM_CALLS, CUSTOM_KERNELS, Artifact
from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import ContractError, Phase, Shape
from autoresearch_jax.types import Budget, Spec

_CALLBACKS = ('callback', 'debug_print', 'infeed', 'outfeed')
WARM_UP_PROGRAM = pathlib.Path(__file__).resolve().parents[1] / 'programs' / 'gpt' / 'model.py'
_KEY_DTYPE = 'key'  # of leaves that are typed PRNG keys in the program


def export_program(
  directory: pathlib.Path, entry: str, spec: Spec, evaluation_batch: int
) -> Artifact:
  """Imports `entry` from `directory` and exports its functions for `spec.platform`.

  Args:
    directory: Folder with the program's files.
    entry: Name of the entry file.
    spec: The problem, with platform, number of devices and budget.
    evaluation_batch: Rows (examples) of the batch that `predict` is exported for.

  Raises:
    ContractError: the program breaks the contract.
    BaseException: whatever the program itself raises (see `errors.describe`).
  """
  module = import_entry(directory, entry)
  program = _FlatProgram(module, entry, spec)
  phases = program.phases()
  platform = contract.EXPORT_PLATFORMS[spec.platform]
  export = _Exporter(platform, directory)
  init = export('init', program.init, contract.KEY)
  state = tuple(Shape(tuple(a.shape), str(a.dtype)) for a in init.out_avals)
  program.check_leaves()
  steps = tuple(
    export(
      'train_step',
      program.train_step,
      *state,
      *contract.batch_shapes(spec, phase),
      contract.PROGRESS,
    )
    for phase in phases
  )
  inputs = contract.predict_inputs(spec, evaluation_batch)
  program.predict_shape = contract.predict_outputs(spec, evaluation_batch)
  predict = export('predict', program.predict, *state, inputs)
  return Artifact(
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
  program = _FlatProgram(module, WARM_UP_PROGRAM.name, spec)
  init_shapes = jax.jit(program.init).trace(_struct(contract.KEY)).out_info
  yield
  state = [Shape(tuple(a.shape), str(a.dtype)) for a in init_shapes]
  batch = contract.batch_shapes(spec, program.phases()[0])
  inputs = contract.predict_inputs(spec, 16)
  program.predict_shape = contract.predict_outputs(spec, 16)
  jax.jit(program.train_step).trace(*map(_struct, (*state, *batch, contract.PROGRESS)))
  yield
  jax.jit(program.predict).trace(*map(_struct, (*state, inputs)))


def import_entry(directory: pathlib.Path, entry: str) -> ModuleType:
  """Runs the entry file as a module that can import its siblings."""
  path = directory / entry
  for folder in dict.fromkeys((str(directory), str(path.parent))):
    sys.path.insert(0, folder)
  name = path.stem
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


class _FlatProgram:
  """The program's functions over the flat leaves of its state.

  `init` must be traced first: it records the structure of the state, which the other functions
  unflatten and check against.

  Attributes:
    batch_size: The program's BATCH_SIZE.
    paths: Path of each leaf in the state, such as "state['weights']".
    metric_names: Names of the metrics, sorted; known once `train_step` is traced.
    predict_shape: Shape that `predict` must return; to be set before it is traced.
  """

  def __init__(self, module: ModuleType, entry: str, spec: Spec):
    self._entry = entry
    self._spec = spec
    for name in contract.FUNCTIONS:
      if not callable(getattr(module, name, None)):
        raise ContractError(
          f'{entry}: there is no function {name!r}; define init(key, spec), '
          'train_step(state, batch, progress) and predict(state, inputs).'
        )
    if not hasattr(module, 'BATCH_SIZE'):
      raise ContractError(
        f'{entry}: there is no BATCH_SIZE; set it at the top of the file to the number of examples '
        'of one train step.'
      )
    try:
      self.batch_size = contract.check_batch_size(module.BATCH_SIZE)
    except ContractError as error:
      raise ContractError(f'{entry}: {error}') from None
    self._module = module
    self._treedef: Any = None
    self._dtypes: list[str] = []  # of each leaf; for typed keys also their implementation
    self._shapes: list[tuple[int, ...]] = []  # of each leaf; for typed keys of their data
    self.paths: list[str] = []
    self.metric_names: tuple[str, ...] = ()
    self.predict_shape: tuple[int, ...] = ()

  def phases(self) -> tuple[Phase, ...]:
    function = getattr(self._module, 'phases', None)
    if function is None:
      return (Phase(1.0, self.batch_size, self._spec.sequence_length or 0),)
    with self._located('phases'):
      return contract.check_phases(function(self._spec), self._spec)

  def init(self, key_data: jax.Array) -> tuple[jax.Array, ...]:
    key = jax.random.wrap_key_data(key_data, impl='threefry2x32')
    state = self._module.init(key, self._spec)
    with self._located('init'):
      leaves, self._treedef = jax.tree_util.tree_flatten_with_path(state)
      self.paths = [f'state{jax.tree_util.keystr(path)}' for path, _ in leaves]
      flat = [self._leaf(f'state{jax.tree_util.keystr(p)}', leaf) for p, leaf in leaves]
    self._dtypes = [_dtype(leaf) for leaf in flat]
    arrays = tuple(map(_key_data, flat))
    self._shapes = [tuple(array.shape) for array in arrays]
    return arrays

  def check_leaves(self) -> None:
    if not self.paths:
      raise ContractError(
        f'{self._where("init")}: init returns no arrays; return the state, a pytree of arrays.'
      )

  def train_step(self, *arguments: jax.Array) -> tuple[jax.Array, ...]:
    *leaves, inputs, targets, progress = arguments
    batch = {'inputs': inputs, 'targets': targets}
    out = self._module.train_step(self._state(leaves), batch, progress)
    with self._located('train_step'):
      if not isinstance(out, tuple) or len(out) != 2:
        raise ContractError(
          f'train_step returns {_describe(out)}; return the pair (state, metrics).'
        )
      return (*self._checked_leaves(out[0]), *self._metrics(out[1]))

  def predict(self, *arguments: jax.Array) -> jax.Array:
    *leaves, inputs = arguments
    out = self._module.predict(self._state(leaves), inputs)
    with self._located('predict'):
      if not hasattr(out, 'shape') or not hasattr(out, 'dtype'):
        raise ContractError(f'predict returns {_describe(out)}; return one array.')
      if tuple(out.shape) != self.predict_shape:
        raise ContractError(
          f'predict returns shape {list(out.shape)} for inputs {list(inputs.shape)}; '
          f'return {_axes(self._spec)} = {list(self.predict_shape)}.'
        )
      if str(out.dtype) not in contract.FLOATS:
        raise ContractError(f'predict returns {out.dtype}; return floats.')
      return jnp.asarray(out)

  def _state(self, leaves: list[jax.Array]) -> Any:
    wrapped = [_wrap_key(leaf, dtype) for leaf, dtype in zip(leaves, self._dtypes, strict=True)]
    return jax.tree_util.tree_unflatten(self._treedef, wrapped)

  def _checked_leaves(self, state: Any) -> Iterator[jax.Array]:
    """The leaves of a new state, which must have the structure of the state from `init`."""
    found, tree = jax.tree_util.tree_flatten_with_path(state)
    new = {f'state{jax.tree_util.keystr(path)}': leaf for path, leaf in found}
    if tree != self._treedef:
      raise ContractError(_difference(list(new), self.paths))
    for (path, leaf), dtype, shape in zip(new.items(), self._dtypes, self._shapes, strict=True):
      array = self._leaf(path, leaf)
      flat = _key_data(array)
      if _dtype(array) != dtype or tuple(flat.shape) != shape:
        raise ContractError(
          f'train_step turns {path} from {_readable(dtype)}{list(shape)} into '
          f'{_readable(_dtype(array))}{list(flat.shape)}; keep the shapes and dtypes of the state.'
        )
      yield flat

  def _metrics(self, metrics: Any) -> list[jax.Array]:
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
      raise ContractError(
        f"train_step's metrics are {_describe(metrics)}; return a dict of scalars with 'loss'."
      )
    contract.check_metric_names(list(metrics))
    self.metric_names = tuple(sorted(metrics))
    return [self._metric(name, metrics[name]) for name in self.metric_names]

  def _metric(self, name: str, value: Any) -> jax.Array:
    if not _is_array(value) or np.shape(value) != () or _is_key(value):
      shape = f'{list(np.shape(value))}' if _is_array(value) else _describe(value)
      raise ContractError(
        f"train_step's metric {name!r} is {shape}; metrics are scalars, so take a mean or a sum."
      )
    return jax.lax.convert_element_type(value, jnp.float32)

  def _leaf(self, path: str, leaf: Any) -> Any:
    if not _is_array(leaf):
      raise ContractError(f'{path} is {_describe(leaf)}; the state must hold arrays only.')
    if _is_key(leaf):
      return leaf
    array = jnp.asarray(leaf)
    if str(array.dtype) not in contract.DTYPES:
      raise ContractError(f'{path} is {array.dtype}; use a dtype of at most 32 bits.')
    # Python numbers are weakly typed, and would change their dtype after one step.
    return jax.lax.convert_element_type(array, array.dtype)

  def _where(self, name: str) -> str:
    return where(getattr(self._module, name), self._entry)

  def _located(self, name: str) -> '_PrefixErrors':
    return _PrefixErrors(self._where(name))


class _PrefixErrors:
  """A context that prefixes the message of a ContractError with file and line."""

  def __init__(self, where: str):
    self._where = where

  def __enter__(self) -> None:
    return None

  def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
    if isinstance(error, ContractError):
      raise ContractError(f'{self._where}: {error}') from None


class _Exporter:
  """Exports functions for one platform; refuses callbacks and names the line of one."""

  def __init__(self, platform: str, directory: pathlib.Path):
    self._platform = platform
    self._directory = directory
    self._checks = [
      jax.export.DisabledSafetyCheck.custom_call(target)
      for target in sorted(CUSTOM_CALLS[platform] | CUSTOM_KERNELS.get(platform, frozenset()))
    ]

  def __call__(self, name: str, function: Callable[..., Any], *shapes: Shape) -> Any:
    arguments = [_struct(shape) for shape in shapes]
    jitted = jax.jit(function)
    traced = jitted.trace(*arguments)
    self._refuse_callbacks(name, traced.jaxpr)
    exporting = jax.export.export(jitted, platforms=[self._platform], disabled_checks=self._checks)
    return exporting(*arguments)

  def _refuse_callbacks(self, name: str, jaxpr: Any) -> None:
    for equation in _equations(jaxpr):
      primitive = equation.primitive.name
      if any(part in primitive for part in _CALLBACKS):
        place = self._place(equation)
        raise ContractError(
          f'{place}: {name} calls back into Python ({primitive}), but a trial runs no Python; '
          'remove jax.debug.print, jax.debug.callback, pure_callback or io_callback.'
        )

  def _place(self, equation: Any) -> str:
    trace = equation.source_info.traceback
    for frame in trace.frames if trace else ():
      path = pathlib.Path(frame.file_name)
      if path.is_relative_to(self._directory):
        return f'{path.relative_to(self._directory)}:{frame.line_num}'
    return 'the program'


def _struct(shape: Shape) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype)


def where(function: Any, entry: str) -> str:
  """File and line of a function of the program, for an error message."""
  code = getattr(inspect.unwrap(function), '__code__', None)
  if code is None:
    return entry
  return f'{pathlib.Path(code.co_filename).name}:{code.co_firstlineno}'


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


def _is_array(value: Any) -> bool:
  return isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _is_key(value: Any) -> bool:
  return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _dtype(leaf: Any) -> str:
  if _is_key(leaf):
    return f'{_KEY_DTYPE}<{jax.random.key_impl(leaf)}>'
  return str(leaf.dtype)


def _readable(dtype: str) -> str:
  return dtype.replace('key<', 'PRNG key <')


def _key_data(leaf: Any) -> Any:
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _wrap_key(leaf: Any, dtype: str) -> Any:
  if not dtype.startswith(f'{_KEY_DTYPE}<'):
    return leaf
  return jax.random.wrap_key_data(leaf, impl=dtype[len(_KEY_DTYPE) + 1 : -1])


def _describe(value: Any) -> str:
  if isinstance(value, tuple):
    return f'a tuple of {len(value)}'
  return 'None' if value is None else f'a {type(value).__name__}'


def _axes(spec: Spec) -> str:
  return {
    'language_model': '[batch, time, vocab]',
    'supervised': '[batch, classes]',
    'construction': 'spec.output_shape',
  }[spec.kind]


def _difference(new: list[str], old: list[str]) -> str:
  """How the structure of a new state differs from the one that `init` made."""
  added = [path for path in new if path not in set(old)]
  missing = [path for path in old if path not in set(new)]
  if missing:
    return f'train_step drops {missing[0]}; return a state of the same structure as its input.'
  if added:
    return (
      f'train_step adds {added[0]}; create it in init, so that the structure of the state does '
      'not change.'
    )
  return (
    'train_step returns its state in other containers than those of its input (a list for a '
    'tuple, another class or other static fields); return the same structure.'
  )
