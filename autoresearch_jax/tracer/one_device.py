"""Removes shardings and collectives from a module that is exported for one device.

In the tracer a program sees one device, so a mesh has one, a sharding constraint is the identity,
and so is a sum over the mesh. The runner shards the batch over its devices by itself.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.export
from jax.interpreters import mlir
from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue] - it has no stubs
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as hlo

_SHARDINGS = ('sdy.sharding', 'mhlo.sharding')  # attributes
_IDENTITIES = frozenset(
  (
    *('sdy.sharding_constraint', 'sdy.reshard', 'stablehlo.all_reduce', 'stablehlo.all_gather'),
    *('stablehlo.reduce_scatter', 'stablehlo.all_to_all', 'stablehlo.collective_broadcast'),
    *('stablehlo.collective_permute', 'stablehlo.cross-replica-sum'),
  )
)
_INDICES = frozenset(('stablehlo.partition_id', 'stablehlo.replica_id'))
_NAMES = (
  *(b'sdy', b'all_reduce', b'all_gather', b'all_to_all', b'reduce_scatter'),
  *(b'collective_', b'cross-replica', b'partition_id', b'replica_id'),
)


def on_one_device(exported: jax.export.Exported) -> jax.export.Exported:
  """The same function without shardings, collectives and meshes."""
  named = (*exported._in_named_shardings, *exported._out_named_shardings)
  code = exported.mlir_module_serialized
  if not any(named) and not any(name in code for name in _NAMES):
    return exported
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    for op in list(_operations(module.operation)):
      _simplify(op)
    for op in list(module.operation.regions[0].blocks[0].operations):
      if op.operation.name == 'sdy.mesh':
        op.operation.erase()
    module.operation.verify()
    # jax's serializer, since StableHLO's cannot write the sharding rules of LAPACK calls.
    code = _jax.mlir.serialize_portable_artifact(module, hlo.get_current_version(), True)
  inputs, outputs = (None,) * len(exported.in_avals), (None,) * len(exported.out_avals)
  return dataclasses.replace(
    exported,
    mlir_module_serialized=code,
    in_shardings_hlo=inputs,
    out_shardings_hlo=outputs,
    _in_named_shardings=inputs,
    _out_named_shardings=outputs,
  )


def _operations(op: Any) -> Iterator[Any]:
  """The operations below an operation, each after those of its own regions."""
  for region in op.regions:
    for block in region.blocks:
      for view in block.operations:
        yield from _operations(view.operation)
        yield view.operation


def _simplify(op: Any) -> None:
  for name in _SHARDINGS:
    if name in op.attributes:
      del op.attributes[name]
  if op.name == 'func.func':
    for name in ('arg_attrs', 'res_attrs'):
      if name in op.attributes:
        kept = [_without_shardings(each) for each in ir.ArrayAttr(op.attributes[name])]
        op.attributes[name] = ir.ArrayAttr.get(kept)
  elif op.name in _INDICES:
    with ir.InsertionPoint(op):
      zero = ir.DenseElementsAttr.get_splat(
        op.results[0].type, ir.IntegerAttr.get(ir.IntegerType.get_unsigned(32), 0)
      )
      _replace(op, [hlo.constant(zero)])
  elif _is_identity(op):
    _replace(op, list(op.operands))


def _is_identity(op: Any) -> bool:
  """Whether an operation among devices returns its operands where there is one device."""
  if [each.type for each in op.operands] != [each.type for each in op.results]:
    return False
  if op.name == 'stablehlo.collective_permute':  # to itself; what nobody sends is zero
    pairs = ir.DenseIntElementsAttr(op.attributes['source_target_pairs'])
    return len(pairs) == 2 and all(pairs[i] == 0 for i in range(2))
  return op.name in _IDENTITIES


def _replace(op: Any, values: list[Any]) -> None:
  for result, value in zip(op.results, values, strict=True):
    result.replace_all_uses_with(value)
  op.erase()


def _without_shardings(attributes: Any) -> Any:
  pairs = {each.name: each.attr for each in ir.DictAttr(attributes)}
  return ir.DictAttr.get({name: pairs[name] for name in pairs if name not in _SHARDINGS})
