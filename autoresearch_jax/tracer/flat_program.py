"""A program's functions over the flat leaves of its state, checked against the contract.

`export` traces and exports them. Every violation of the contract raises a ContractError whose
message names the file and the line.
"""

import dataclasses
import inspect
import pathlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import ContractError, Phase
from autoresearch_jax.types import Spec

_KEY_DTYPE = 'key'  # of leaves that are typed PRNG keys in the program


class FlatProgram:
  """The program's functions over the flat leaves of its state.

  `init` must be traced first: it records the structure of the state, which the other functions
  unflatten and check against.

  Attributes:
    entry: Name of its entry file.
    batch_size: The program's BATCH_SIZE.
    paths: Path of each leaf in the state, such as "state['weights']".
    metric_names: Names of the metrics, sorted; known once `train_step` is traced.
    predict_shape: Shape that `predict` must return; to be set before it is traced.
  """

  def __init__(self, module: ModuleType, entry: str, spec: Spec):
    self.entry = entry
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
        f'{self.where("init")}: init returns no arrays; return the state, a pytree of arrays.'
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
      raise ContractError(f'{path} is {_describe(leaf)}; {_leaf_remedy(leaf)}.')
    if _is_key(leaf):
      return leaf
    array = jnp.asarray(leaf)
    if str(array.dtype) not in contract.DTYPES:
      allowed = ', '.join(sorted(contract.DTYPES))
      raise ContractError(f'{path} is {array.dtype}; use one of {allowed}.')
    # Python numbers are weakly typed, and would change their dtype after one step.
    return jax.lax.convert_element_type(array, array.dtype)

  def where(self, name: str) -> str:
    """File and line of one of the program's functions."""
    return where(getattr(self._module, name), self.entry)

  def _located(self, name: str) -> 'PlacedErrors':
    return PlacedErrors(self.where(name))


class PlacedErrors:
  """A context that gives file and line to the exceptions raised in it."""

  def __init__(self, where: str):
    self._where = where

  def __enter__(self) -> None:
    return None

  def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
    if isinstance(error, ContractError) and not hasattr(error, 'place_in_program'):
      error = ContractError(f'{self._where}: {error}')
      error.place_in_program = self._where  # pyright: ignore[reportAttributeAccessIssue] - a mark
      raise error from None
    if error is not None and not hasattr(error, 'place_in_program'):
      error.place_in_program = self._where  # pyright: ignore[reportAttributeAccessIssue] - a mark


def where(function: Any, entry: str) -> str:
  """File and line of a function of the program, for an error message."""
  code = getattr(inspect.unwrap(function), '__code__', None)
  if code is None:
    return entry
  return f'{pathlib.Path(code.co_filename).name}:{code.co_firstlineno}'


def _is_array(value: Any) -> bool:
  if isinstance(value, np.ndarray | np.generic):
    return value.dtype.kind not in 'OSUMm'  # objects, texts, dates
  return isinstance(value, jax.Array | bool | int | float | complex)


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
  if isinstance(value, np.ndarray | np.generic):
    return f'an array of {value.dtype.name}'
  return 'None' if value is None else f'a {type(value).__name__}'


def _leaf_remedy(leaf: Any) -> str:
  """What to do about a leaf of the state that is no array."""
  if dataclasses.is_dataclass(leaf):
    return (
      f'decorate the class {type(leaf).__name__} with jax.tree_util.register_dataclass, so that '
      'jax sees the arrays in it'
    )
  if isinstance(leaf, str | bytes):
    return 'the state must hold arrays only, so make it a constant of the file'
  if isinstance(leaf, np.ndarray | np.generic):
    return 'the state must hold numbers only, so make it a constant of the file'
  if isinstance(leaf, set | frozenset | Iterator):
    return 'the state must hold arrays only, so use a tuple, a list or a dict of arrays'
  if callable(leaf):
    return 'the state must hold arrays only, so call it in train_step and keep its arrays'
  return (
    'the state must hold arrays only, so keep its arrays in a dict or a tuple, or register its '
    'class with jax.tree_util.register_pytree_node_class'
  )


def _axes(spec: Spec) -> str:
  return {
    'language_model': '[batch, time, vocab]',
    'supervised': '[batch, *spec.output_shape]' if spec.is_regression else '[batch, classes]',
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
