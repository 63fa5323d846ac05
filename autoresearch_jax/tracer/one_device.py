"""Removes shardings and collectives from a module that is exported for one device.

In the tracer a program sees one device, so a mesh has one, a sharding constraint is the identity,
and so is a sum over the mesh. The runner shards the batch over its devices by itself. What remains
is on the abstract mesh of those devices, from `ops` (see `ops.data_parallel`).
"""

import dataclasses
import re
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
    *('sdy.reshard', 'stablehlo.all_reduce', 'stablehlo.all_gather'),
    *('stablehlo.reduce_scatter', 'stablehlo.all_to_all', 'stablehlo.collective_broadcast'),
    *('stablehlo.collective_permute', 'stablehlo.cross-replica-sum'),
  )
)
_INDICES = frozenset(('stablehlo.partition_id', 'stablehlo.replica_id'))
_MESH = re.compile(r'@(\w+)')  # its name, in a sharding
_NAMES = (
  *(b'sdy', b'all_reduce', b'all_gather', b'all_to_all', b'reduce_scatter'),
  *(b'collective_', b'cross-replica', b'partition_id', b'replica_id'),
)


def on_one_device(exported: jax.export.Exported, num_devices: int = 1) -> jax.export.Exported:
  """The same function without shardings, collectives and meshes of one device.

  Args:
    exported: The function.
    num_devices: Devices that share a batch. If there are several, their mesh is kept.
  """
  named = (*exported._in_named_shardings, *exported._out_named_shardings)
  code = exported.mlir_module_serialized
  if not any(named) and not any(name in code for name in _NAMES):
    return exported
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    found = [
      op.operation
      for op in module.operation.regions[0].blocks[0].operations
      if op.operation.name == 'sdy.mesh'
    ]
    shared = f'#sdy.mesh<["batch"={num_devices}]>' if num_devices > 1 else ''
    kept = [mesh for mesh in found if str(mesh.attributes['mesh']) == shared]
    names = {ir.StringAttr(mesh.attributes['sym_name']).value for mesh in kept}
    for op in list(_operations(module.operation)):
      _simplify(op, names)
    for mesh in found:
      if mesh not in kept:
        mesh.erase()
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


def _simplify(op: Any, kept: set[str]) -> None:
  """Removes what an operation does among the devices of other meshes than those `kept`."""
  if op.name == 'sdy.sharding_constraint':
    if not kept.intersection(_MESH.findall(str(op.attributes['sharding']))):
      _replace(op, list(op.operands))
    return
  for name in _SHARDINGS:
    if name in op.attributes:
      del op.attributes[name]
  if op.name == 'func.func':
    for name in ('arg_attrs', 'res_attrs'):
      if name in op.attributes:
        others = [_without_shardings(each) for each in ir.ArrayAttr(op.attributes[name])]
        op.attributes[name] = ir.ArrayAttr.get(others)
  elif op.name in _INDICES and not kept:  # else it may be of a mesh of several devices
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
  if 'replica_groups' in op.attributes:
    shape = ir.ShapedType(op.attributes['replica_groups'].type).shape
    if shape[1:] not in ([], [1]):  # among the devices of a kept mesh
      return False
  return op.name in _IDENTITIES


def _replace(op: Any, values: list[Any]) -> None:
  for result, value in zip(op.results, values, strict=True):
    result.replace_all_uses_with(value)
  op.erase()


def _without_shardings(attributes: Any) -> Any:
  pairs = {each.name: each.attr for each in ir.DictAttr(attributes)}
  return ir.DictAttr.get({name: pairs[name] for name in pairs if name not in _SHARDINGS})
