"""Hoists scalar float constants of a module into an argument, so that programs share executables.

Most edits change one number. Two programs that differ only in such numbers become the same module,
called with different values, which the runner compiles once (see `compile.ExecutableTemplate`).
Which constants are hoisted depends on the module alone, never on what was compiled before. So a
program gives the same bits whenever it runs, and after whatever other program.

Hoisted is each use of a float constant whose elements are all equal. Not hoisted are values for
which XLA generates better code when it knows them: 0, non-finite values, powers of two from 1 on,
and exponents of `power`. Constants in places that no argument of the module can reach, such as the
body of a `reduce`, stay too.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.interpreters import mlir
from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue] - it has no stubs
from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import func
from jaxlib.mlir.dialects import stablehlo as hlo

from autoresearch_jax.artifact.graph import symbols_of

_FLOATS = frozenset(('f32', 'bf16', 'f16'))
_CAPTURING = frozenset(('stablehlo.while', 'stablehlo.case', 'stablehlo.if'))  # see outer values
_BROADCASTS = frozenset(('stablehlo.broadcast_in_dim', 'stablehlo.reshape', 'stablehlo.convert'))
_REFERRING = frozenset(('stablehlo.composite', 'stablehlo.custom_call'))  # may name a function


@dataclasses.dataclass(frozen=True)
class HoistedModule:
  """A module whose constants are passed as an argument.

  Attributes:
    exported: The module, with one more argument at the end: the constants, float32 [n].
    values: The values of the constants, float32 [n].
  """

  exported: jax.export.Exported
  values: np.ndarray

  @property
  def code(self) -> bytes:
    """Everything that determines the executable: the module, and which arguments it takes."""
    kept = self.exported.module_kept_var_idx
    return repr(kept).encode() + self.exported.mlir_module_serialized


def hoist_constants(exported: jax.export.Exported, enabled: bool = True) -> HoistedModule:
  """Hoists the constants of a module that the artifact's reader has checked.

  Args:
    exported: The module.
    enabled: Whether to hoist any; otherwise the new argument has size 0.
  """
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    hoisting = _Hoisting(module.operation, enabled)
    hoisting.rewrite()
    # With source locations, each edit would result in a different module.
    passmanager.PassManager.parse('builtin.module(strip-debuginfo)').run(module.operation)
    module.operation.verify()
    # jax's serializer, since StableHLO's cannot write the sharding rules of LAPACK calls.
    code = _jax.mlir.serialize_portable_artifact(module, hlo.get_current_version(), True)
  values = np.array([use.value for use in hoisting.uses], np.float32)
  return HoistedModule(_with_argument(exported, code, len(values)), values)


def _with_argument(exported: jax.export.Exported, code: bytes, size: int) -> jax.export.Exported:
  avals = (*exported.in_avals, ShapedArray((size,), jnp.float32))
  return dataclasses.replace(
    exported,
    mlir_module_serialized=code,
    in_avals=avals,
    in_tree=jax.tree.structure(((0,) * len(avals), {})),
    module_kept_var_idx=(*exported.module_kept_var_idx, len(avals) - 1),
    _in_named_shardings=(*exported._in_named_shardings, None),
    in_shardings_hlo=(*exported.in_shardings_hlo, None),
  )


@dataclasses.dataclass(frozen=True)
class _ConstantUse:
  """One use of a constant.

  Attributes:
    function: Name of the function that contains it.
    operation: The operation that uses it.
    operand: Position of the operand.
    value: The constant.
    order: Position of the operation in the module.
  """

  function: str
  operation: Any
  operand: int
  value: float
  order: int


class _Hoisting:
  """Finds the constants of a module and replaces their uses by elements of a new argument.

  Attributes:
    uses: The uses to replace, in the order of the module.
  """

  def __init__(self, module: Any, enabled: bool):
    self._functions = {
      ir.StringAttr(op.attributes['sym_name']).value: op.operation
      for op in module.regions[0].blocks[0].operations
      if op.operation.name == 'func.func'  # not a mesh
    }
    self._calls: dict[str, list[Any]] = {name: [] for name in self._functions}
    self._unreachable: set[str] = set()  # functions that no argument can reach
    self._positions: dict[Any, tuple[str, int]] = {}  # operation -> (function, order)
    self._constants: list[tuple[Any, float]] = []
    for name, function in self._functions.items():
      self._walk(name, function.regions[0].blocks[0])
    self._propagate_unreachable()
    uses = self._find_uses() if enabled else ()
    self.uses = sorted(uses, key=lambda use: (use.order, use.operand))

  def rewrite(self) -> None:
    """Adds the argument to `main` and to every function between it and a use; replaces the uses."""
    size = len(self.uses)
    vector = ir.RankedTensorType.get((size,), ir.F32Type.get())
    functions = {'main', *(use.function for use in self.uses)}
    while (
      callers := {name for name, calls in self._calls.items() if functions & {*map(_callee, calls)}}
      - functions
    ):
      functions |= callers
    arguments = {name: _add_argument(self._functions[name], vector) for name in sorted(functions)}
    for index, use in enumerate(self.uses):
      type_ = use.operation.operands[use.operand].type
      element = _element(arguments[use.function], index, type_, use.operation)
      use.operation.operands[use.operand] = element
    for constant, _ in self._constants:
      if not list(constant.result.uses):
        constant.erase()
    for name in functions:
      for call in self._calls[name]:
        if _callee(call) in functions:
          _add_operand(call, arguments[name])

  def _walk(self, function: str, block: Any) -> None:
    for view in block.operations:
      op = view.operation
      self._positions[op] = function, len(self._positions)
      if op.name == 'stablehlo.constant':
        if (value := _hoistable_value(op)) is not None:
          self._constants.append((op, value))
      elif op.name == 'func.call':
        self._calls[function].append(op)
      elif op.name in _REFERRING:
        self._unreachable.update(s for a in op.attributes for s in symbols_of(op.attributes[a]))
      for region in op.regions:
        if op.name in _CAPTURING:
          self._walk(function, region.blocks[0])
        else:
          self._unreachable.update(_called(region))

  def _propagate_unreachable(self) -> None:
    """Functions called by an unreachable function are unreachable too."""
    queue = list(self._unreachable)
    while queue:
      callees = {*map(_callee, self._calls[queue.pop()])} - self._unreachable
      self._unreachable |= callees
      queue.extend(callees)

  def _find_uses(self) -> Iterator[_ConstantUse]:
    for constant, value in self._constants:
      for use in constant.result.uses:
        operation = use.owner.operation
        function, order = self._positions.get(operation, ('', 0))
        if not function or function in self._unreachable or operation.name in _REFERRING:
          continue
        if not _is_exponent(operation, use.operand_number):
          yield _ConstantUse(function, operation, use.operand_number, value, order)


def _hoistable_value(constant: Any) -> float | None:
  """The value of a constant if it is to be hoisted, else None."""
  if str(ir.ShapedType(constant.results[0].type).element_type) not in _FLOATS:
    return None  # also avoids complex constants, whose attribute MLIR's bindings cannot read
  attribute = constant.attributes['value']
  if not isinstance(attribute, ir.DenseElementsAttr) or not attribute.is_splat:
    return None
  value = ir.FloatAttr(attribute.get_splat_value()).value
  special = value == 0 or not math.isfinite(value)
  power_of_two = abs(value) >= 1 and math.frexp(abs(value))[0] == 0.5
  return None if special or power_of_two else value


def _is_exponent(operation: Any, operand: int) -> bool:
  """Whether this operand, possibly after broadcasts, is the exponent of a `power`."""
  queue = [(operation, operand)]  # not recursive: a forged module may broadcast a thousand times
  while queue:
    operation, operand = queue.pop()
    if operation.name == 'stablehlo.power' and operand == 1:
      return True
    if operation.name in _BROADCASTS:
      uses = operation.results[0].uses
      queue.extend((use.owner.operation, use.operand_number) for use in uses)
  return False


def _called(region: Any) -> Iterator[str]:
  """Names of the functions that the operations of a region call."""
  for view in region.blocks[0].operations:
    if view.operation.name == 'func.call':
      yield _callee(view.operation)
    for inner in view.operation.regions:
      yield from _called(inner)


def _callee(call: Any) -> str:
  return ir.FlatSymbolRefAttr(call.attributes['callee']).value


def _add_argument(function: Any, type_: Any) -> Any:
  """Appends an argument to a function and returns its value."""
  old = ir.FunctionType(ir.TypeAttr(function.attributes['function_type']).value)
  new = ir.FunctionType.get([*old.inputs, type_], old.results)
  function.attributes['function_type'] = ir.TypeAttr.get(new)
  if 'arg_attrs' in function.attributes:
    attributes = [*ir.ArrayAttr(function.attributes['arg_attrs']), ir.DictAttr.get({})]
    function.attributes['arg_attrs'] = ir.ArrayAttr.get(attributes)
  return function.regions[0].blocks[0].add_argument(type_, ir.Location.unknown())


def _add_operand(call: Any, value: Any) -> None:
  """Appends an operand to a call, by replacing the call."""
  types = [result.type for result in call.results]
  callee = ir.FlatSymbolRefAttr(call.attributes['callee'])
  with ir.InsertionPoint(call):
    new = func.CallOp(types, callee, [*call.operands, value])
  for old, replacement in zip(call.results, new.operation.results, strict=True):
    old.replace_all_uses_with(replacement)
  call.erase()


def _element(vector: Any, index: int, type_: Any, before: Any) -> Any:
  """Element `index` of a vector, broadcast to a tensor type; inserted before an operation."""
  tensor = ir.RankedTensorType(type_)
  with ir.InsertionPoint(before):
    one = hlo.slice(vector, [index], [index + 1], [1])
    value = hlo.reshape(ir.RankedTensorType.get((), ir.F32Type.get()), one)
    if str(tensor.element_type) != 'f32':
      value = hlo.convert(ir.RankedTensorType.get((), tensor.element_type), value)
    return hlo.broadcast_in_dim(type_, value, []) if tensor.rank else value
