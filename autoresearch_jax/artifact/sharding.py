"""Checks how a module splits its work over the devices that share a batch.

Most modules do not: the runner shards the batch, and XLA partitions the rest. A module that was
traced for several devices may contain parts that each device runs on its own rows
(`sdy.manual_computation`, from `jax.shard_map`), sums over devices in them, and hints on where an
array is split (`sdy.sharding_constraint`, which computes nothing). All are on one mesh, with one
axis, of the devices that the artifact's spec names.

Modules are not trusted. A device cannot learn which one it is, and what a part returns without
splitting it must be equal on all devices. So all devices have the same state, and none can wait for
a sum that others do not reach.
"""

import re
from collections.abc import Iterator

from autoresearch_jax.artifact.graph import MANUAL_COMPUTATION, BasicBlock, Graph, GraphError, Op
from autoresearch_jax.artifact.matmuls import parse_tensor

MAX_DEVICES = 64
ALL_REDUCE = 'stablehlo.all_reduce'
CONSTRAINT = 'sdy.sharding_constraint'
_RETURN = 'sdy.return'
_SHARED = frozenset((ALL_REDUCE, MANUAL_COMPUTATION, _RETURN, CONSTRAINT))
_REDUCTIONS = frozenset(('stablehlo.add', 'stablehlo.maximum', 'stablehlo.minimum'))
_AXIS = r'\{(?:"batch"|\??)\}'
_SHARDING = re.compile(rf'<@mesh, \[((?:{_AXIS}(?:, {_AXIS})*)?)\]>')
_REMEDY = (
  "split rows with jax.shard_map over jax.sharding.AbstractMesh((spec.num_devices,), ('batch',)), "
  'and add up what is not split with jax.lax.psum'
)


def check(graph: Graph, num_devices: int) -> None:
  """Checks the operations of a module that concern several devices.

  Raises:
    GraphError: one of them is not as `jax.shard_map` on the runner's mesh would be.
  """
  sharing = _sharing_functions(graph)
  for block in graph.functions.values():
    _check_block(block, num_devices, sharing)


def _sharing_functions(graph: Graph) -> set[str]:
  """Names of the functions that share work themselves, or call one that does."""
  ops = {
    name: [op for outer in block.ops for op in _nested(outer)]
    for name, block in graph.functions.items()
  }
  found = {name for name in ops if any(op.name in _SHARED for op in ops[name])}
  while True:
    callers = {name for name in ops if any(found.intersection(op.symbols) for op in ops[name])}
    if callers <= found:
      return found
    found |= callers


def _check_block(block: BasicBlock, num_devices: int, sharing: set[str]) -> None:
  """Checks a block outside of all manual computations, and those below it.

  Args:
    block: The block.
    num_devices: Devices of the mesh.
    sharing: Names of the functions that share work themselves, or call one that does.
  """
  for op in block.ops:
    if op.name == MANUAL_COMPUTATION:
      _check_manual(op, num_devices, sharing)
    elif op.name in (ALL_REDUCE, _RETURN):
      raise GraphError('it sums over devices outside of jax.shard_map', _REMEDY, op.position)
    elif op.name == CONSTRAINT:
      _check_constraint(op, num_devices)
    else:
      for inner in op.blocks:
        _check_block(inner, num_devices, sharing)


def _check_constraint(op: Op, num_devices: int) -> None:
  shardings = _split_axes(dict(op.attributes).get('sharding', ''), '#sdy.sharding', op)
  if len(shardings) != 1 or op.types[0] != op.types[1] or len(op.attributes) != 1:
    raise _unexpected(op)
  shape = _shape(op.types[0], op)
  axes = shardings[0]
  if any(i >= len(shape) or shape[i] % num_devices for i in axes):
    raise GraphError(
      f'it splits an array {list(shape)} unevenly over {num_devices} devices', _REMEDY, op.position
    )


def _check_manual(op: Op, num_devices: int, sharing: set[str]) -> None:
  """Checks a manual computation: its shapes, and that what it does not split is equal."""
  attributes = dict(op.attributes)
  body, wrapper = op.blocks[0], '#sdy.sharding_per_value'
  inputs = _split_axes(attributes.get('in_shardings', ''), wrapper, op)
  outputs = _split_axes(attributes.get('out_shardings', ''), wrapper, op)
  returned = body.ops[-1]
  if (
    set(attributes) != {'in_shardings', 'out_shardings', 'manual_axes'}
    or attributes['manual_axes'] != '#sdy<manual_axes{"batch"}>'
    or len(op.blocks) != 1
    or returned.name != _RETURN
    or len(inputs) != len(op.operands)
    or len(outputs) != len(op.results)
  ):
    raise _unexpected(op)
  whole = (*op.types,)
  local = (*body.types, *returned.types)
  for axes, all_rows, own_rows in zip((*inputs, *outputs), whole, local, strict=True):
    shape, own = list(_shape(all_rows, op)), list(_shape(own_rows, op))
    for axis in axes:
      if axis >= len(own):
        raise _unexpected(op)
      own[axis] *= num_devices
    if shape != own or len(axes) > 1:
      raise _unexpected(op)
  split = {a for a, axes in zip(body.arguments, inputs, strict=True) if axes}
  differing = _differing(body, split, num_devices, sharing)
  for value, axes in zip(returned.operands, outputs, strict=True):
    if value in differing and not axes:
      raise GraphError(
        'it returns from jax.shard_map a value that differs between devices as if it did not',
        _REMEDY,
        op.position,
      )


def _differing(body: BasicBlock, split: set[int], num_devices: int, sharing: set[str]) -> set[int]:
  """Values of a manual computation's body that may differ between devices.

  Args:
    body: The body.
    split: Its arguments that are split.
    num_devices: Devices of the mesh.
    sharing: Names of the functions that share work.
  """
  inside = {*body.arguments}
  for op in (nested for outer in body.ops for nested in _nested(outer)):
    inside.update(op.results, *(block.arguments for block in op.blocks))
  differing = {*split}
  for op in body.ops:
    if not all(inside.issuperset(nested.operands) for nested in _nested(op)):
      raise _unexpected(op)
    if op is body.ops[-1]:
      break
    if op.name == ALL_REDUCE:
      _check_all_reduce(op, num_devices)
      continue
    for nested in _nested(op):
      if nested.name in _SHARED or sharing.intersection(nested.symbols):
        raise GraphError(
          'it sums over devices, or splits arrays, in a loop, branch or inner function of '
          'jax.shard_map',
          'move jax.lax.psum to the end of the function',
          op.position,
        )
      if differing.intersection(nested.operands):
        differing.update(op.results)
  return differing


def _check_all_reduce(op: Op, num_devices: int) -> None:
  attributes, groups = dict(op.attributes), ', '.join(map(str, range(num_devices)))
  expected = f'dense<[[{groups}]]> : tensor<1x{num_devices}xi64>'
  reduction = op.blocks[0].ops
  if (
    len(op.blocks) != 1
    or set(attributes) != {'replica_groups', 'use_global_device_ids'}
    or attributes['replica_groups'] != expected
    or [each.name for each in reduction[1:]] != ['stablehlo.return']
    or reduction[0].name not in _REDUCTIONS
    or sorted(reduction[0].operands) != sorted(op.blocks[0].arguments)
    or reduction[1].operands != reduction[0].results
  ):
    raise _unexpected(op)


def _nested(op: Op) -> Iterator[Op]:
  """An operation and those of its regions."""
  yield op
  for block in op.blocks:
    for inner in block.ops:
      yield from _nested(inner)


def _split_axes(text: str, wrapper: str, op: Op) -> list[list[int]]:
  """The axes that each sharding of an attribute splits over the devices."""
  body = text.removeprefix(wrapper)
  if wrapper.endswith('per_value'):
    body = body.removeprefix('<[').removesuffix(']>')
  parts = list(_SHARDING.finditer(body))
  if ', '.join(part[0] for part in parts) != body or body == text:
    raise _unexpected(op)
  return [[i for i, axis in enumerate(part[1].split(', ')) if 'batch' in axis] for part in parts]


def _shape(text: str, op: Op) -> tuple[int, ...]:
  found = parse_tensor(text)
  if found is None:
    raise _unexpected(op)
  return found[0]


def _unexpected(op: Op) -> GraphError:
  return GraphError(
    f'it contains {op.name!r} in a form that a trial cannot run', _REMEDY, op.position
  )
