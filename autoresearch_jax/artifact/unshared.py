"""Rewrites StableHLO modules that are partitioned over several devices, to run on one device.

Such a module has parts that each of n devices runs on its own rows (see `sharding`). Here they run
n times, on n slices, and a sum over the devices is the sum of the n results. A saved model is thus
usable on a machine with other devices than those that trained it.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax.export
from jax.interpreters import mlir
from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue] - it has no stubs
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as hlo

from autoresearch_jax.artifact.graph import MANUAL_COMPUTATION
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.artifact.sharding import ALL_REDUCE, CONSTRAINT

_REDUCTIONS = {
  'stablehlo.add': hlo.add,
  'stablehlo.maximum': hlo.maximum,
  'stablehlo.minimum': hlo.minimum,
}


def for_one_device(artifact: Artifact) -> Artifact:
  """Returns an artifact whose modules one device runs. The reader must have checked it."""
  devices = artifact.spec.num_devices
  init, *steps, predict = (
    bytes(unshared(module, devices).serialize()) for module in artifact.exported
  )
  return dataclasses.replace(
    artifact,
    spec=dataclasses.replace(artifact.spec, num_devices=1),
    init=init,
    train_steps=tuple(steps),
    predict=predict,
  )


def unshared(exported: jax.export.Exported, num_devices: int) -> jax.export.Exported:
  """Returns a module that one device runs.

  Args:
    exported: A module of an artifact that the reader has checked.
    num_devices: Devices that it was traced for.
  """
  if num_devices == 1 or b'sdy' not in exported.mlir_module_serialized:
    return exported
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    found = [
      op
      for op in _operations(module.operation)
      if op.name in (MANUAL_COMPUTATION, CONSTRAINT, 'sdy.mesh')
    ]
    for op in found:
      if op.name == MANUAL_COMPUTATION:
        _run_for_each_device(op, num_devices)
      elif op.name == CONSTRAINT:
        op.results[0].replace_all_uses_with(op.operands[0])
      op.erase()
    module.operation.verify()
    # jax's serializer, since StableHLO's cannot write the sharding rules of LAPACK calls.
    code = _jax.mlir.serialize_portable_artifact(module, hlo.get_current_version(), True)
  return dataclasses.replace(exported, mlir_module_serialized=code)


def _operations(op: Any) -> Iterator[Any]:
  """The operations below an operation, each before those of its own regions."""
  for region in op.regions:
    for block in region.blocks:
      for view in block.operations:
        yield view.operation
        yield from _operations(view.operation)


def _run_for_each_device(op: Any, num_devices: int) -> None:
  """Inserts the body of a manual computation before it, once for each device, in lockstep.

  The reader has checked that sums over devices are in no loop, and that the body reads nothing from
  outside.
  """
  block = op.regions[0].blocks[0]
  *body, returned = (view.operation for view in block.operations)
  devices: list[dict[Any, Any]] = [{} for _ in range(num_devices)]  # value of the body -> its copy
  with ir.InsertionPoint(op) as point:
    for argument, value in zip(block.arguments, op.operands, strict=True):
      parts = _parts(value, argument.type, num_devices)
      for device, part in zip(devices, parts, strict=True):
        device[argument] = part
    for inner in body:
      if inner.name == ALL_REDUCE:
        reduction = _REDUCTIONS[inner.regions[0].blocks[0].operations[0].operation.name]
        for operand, result in zip(inner.operands, inner.results, strict=True):
          total = functools.reduce(reduction, [device[operand] for device in devices])
          for device in devices:
            device[result] = total
        continue
      for device in devices:
        copy = inner.clone(point)
        _replace_operands(copy, device)
        device.update(zip(inner.results, copy.results, strict=True))
    for value, result in zip(returned.operands, op.results, strict=True):
      axis = _split_axis(result.type, value.type)
      parts = [device[value] for device in devices]
      result.replace_all_uses_with(parts[0] if axis is None else hlo.concatenate(parts, axis))


def _parts(value: Any, type_: Any, num_devices: int) -> list[Any]:
  """What each device has of an array, whose type there is `type_`."""
  axis = _split_axis(value.type, type_)
  if axis is None:
    return [value] * num_devices
  shape = ir.ShapedType(type_).shape
  parts = []
  for index in range(num_devices):
    starts = [0] * len(shape)
    starts[axis] = index * shape[axis]
    ends = [start + size for start, size in zip(starts, shape, strict=True)]
    parts.append(hlo.slice(value, starts, ends, [1] * len(shape)))
  return parts


def _split_axis(whole: Any, part: Any) -> int | None:
  """The axis along which devices split an array; None if each has all of it."""
  sizes = zip(ir.ShapedType(whole).shape, ir.ShapedType(part).shape, strict=True)
  return next((axis for axis, (all_rows, own) in enumerate(sizes) if all_rows != own), None)


def _replace_operands(op: Any, values: dict[Any, Any]) -> None:
  """Replaces what an operation, or one in its regions, reads."""
  for each in (op, *_operations(op)):
    for index, operand in enumerate(each.operands):
      if operand in values:
        each.operands[index] = values[operand]
