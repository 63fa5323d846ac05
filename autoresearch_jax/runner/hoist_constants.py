"""A module's scalar float constants as an argument of it, so that many programs share one compile.

Most edits change one number. Two programs that differ in nothing but such numbers become the same
module here, called with other values: the runner compiles it once (`compiled.py`). Which constants
are taken out is decided by the module alone, never by what was compiled before, so that a program
gives the same bits whenever and after whatever it runs.

Taken out are the numbers of each use of a float constant that is the same everywhere. What XLA
makes better code of when it knows the value stays: 0, what is not finite, powers of two from 1 on,
exponents of `power`; and what stands where no argument of the module reaches, as in the body of a
`reduce`.
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
_OPEN = frozenset(('stablehlo.while', 'stablehlo.case', 'stablehlo.if'))  # see what is around them
_SPREADS = frozenset(('stablehlo.broadcast_in_dim', 'stablehlo.reshape', 'stablehlo.convert'))
_REFER = frozenset(('stablehlo.composite', 'stablehlo.custom_call'))  # may name a function


@dataclasses.dataclass(frozen=True)
class Lifted:
  """A module that is given its numbers.

  exported: as before, with float32 [n] as one more argument at the end. values: what to give it.
  """

  exported: jax.export.Exported
  values: np.ndarray

  @property
  def code(self) -> bytes:
    """All that is compiled of it. Which arguments the module takes is not said in the module."""
    kept = self.exported.module_kept_var_idx
    return repr(kept).encode() + self.exported.mlir_module_serialized


def lift(exported: jax.export.Exported, wanted: bool = True) -> Lifted:
  """Takes the numbers, if wanted, out of a module that `artifact.read` has checked."""
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    lifting = _Lifting(module.operation, wanted)
    lifting.rewrite()
    # With the places of the source, each edit would make another module.
    passmanager.PassManager.parse('builtin.module(strip-debuginfo)').run(module.operation)
    module.operation.verify()
    # As jax does it: StableHLO's own can not write the rules for sharding that LAPACK's calls have.
    code = _jax.mlir.serialize_portable_artifact(module, hlo.get_current_version(), True)
  values = np.array([use.value for use in lifting.uses], np.float32)
  return Lifted(_with_argument(exported, code, len(values)), values)


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
class _Use:
  """An operand that is a number. order: of its operation in the module."""

  function: str
  operation: Any
  operand: int
  value: float
  order: int


class _Lifting:
  """Finds the numbers of a module, and puts elements of an argument in their places."""

  def __init__(self, module: Any, wanted: bool):
    self._functions = {
      ir.StringAttr(op.attributes['sym_name']).value: op.operation
      for op in module.regions[0].blocks[0].operations
    }
    self._calls: dict[str, list[Any]] = {name: [] for name in self._functions}
    self._shut: set[str] = set()  # functions that no argument reaches
    self._reached: dict[Any, tuple[str, int]] = {}  # by operation: its function, its order
    self._constants: list[tuple[Any, float]] = []
    for name, function in self._functions.items():
      self._walk(name, function.regions[0].blocks[0])
    self._shut_below()
    found = self._found() if wanted else ()
    self.uses = sorted(found, key=lambda use: (use.order, use.operand))

  def rewrite(self) -> None:
    size = len(self.uses)
    vector = ir.RankedTensorType.get((size,), ir.F32Type.get())
    given = {'main', *(use.function for use in self.uses)}
    while more := {n for n, calls in self._calls.items() if given & {*map(_callee, calls)}} - given:
      given |= more
    arguments = {name: _add_argument(self._functions[name], vector) for name in sorted(given)}
    for index, use in enumerate(self.uses):
      kind = use.operation.operands[use.operand].type
      element = _element(arguments[use.function], index, kind, use.operation)
      use.operation.operands[use.operand] = element
    for constant, _ in self._constants:
      if not list(constant.result.uses):
        constant.erase()
    for name in given:
      for call in self._calls[name]:
        if _callee(call) in given:
          _add_operand(call, arguments[name])

  def _walk(self, function: str, block: Any) -> None:
    for view in block.operations:
      op = view.operation
      self._reached[op] = function, len(self._reached)
      if op.name == 'stablehlo.constant':
        if (value := _number(op)) is not None:
          self._constants.append((op, value))
      elif op.name == 'func.call':
        self._calls[function].append(op)
      elif op.name in _REFER:
        self._shut.update(s for a in op.attributes for s in symbols_of(op.attributes[a]))
      for region in op.regions:
        if op.name in _OPEN:
          self._walk(function, region.blocks[0])
        else:
          self._shut.update(_called(region))

  def _shut_below(self) -> None:
    """What a shut function calls is shut too."""
    waiting = list(self._shut)
    while waiting:
      below = {*map(_callee, self._calls[waiting.pop()])} - self._shut
      self._shut |= below
      waiting.extend(below)

  def _found(self) -> Iterator[_Use]:
    for constant, value in self._constants:
      for use in constant.result.uses:
        operation = use.owner.operation
        function, order = self._reached.get(operation, ('', 0))
        if not function or function in self._shut or operation.name in _REFER:
          continue
        if not _is_exponent(operation, use.operand_number):
          yield _Use(function, operation, use.operand_number, value, order)


def _number(constant: Any) -> float | None:
  """The one number of a float constant, if it is to be taken out."""
  if str(ir.ShapedType(constant.results[0].type).element_type) not in _FLOATS:
    return None  # of complex ones, MLIR's Python can not even read the attribute
  attribute = constant.attributes['value']
  if not isinstance(attribute, ir.DenseElementsAttr) or not attribute.is_splat:
    return None
  value = ir.FloatAttr(attribute.get_splat_value()).value
  plain = value == 0 or not math.isfinite(value)
  power_of_two = abs(value) >= 1 and math.frexp(abs(value))[0] == 0.5
  return None if plain or power_of_two else value


def _is_exponent(operation: Any, operand: int) -> bool:
  """Whether this operand, as it is or spread out, is what something is raised to."""
  waiting = [(operation, operand)]  # a forged module may spread a number out a thousand times
  while waiting:
    operation, operand = waiting.pop()
    if operation.name == 'stablehlo.power' and operand == 1:
      return True
    if operation.name in _SPREADS:
      uses = operation.results[0].uses
      waiting.extend((use.owner.operation, use.operand_number) for use in uses)
  return False


def _called(region: Any) -> Iterator[str]:
  """Names of the functions that a region's operations call."""
  for view in region.blocks[0].operations:
    if view.operation.name == 'func.call':
      yield _callee(view.operation)
    for inner in view.operation.regions:
      yield from _called(inner)


def _callee(call: Any) -> str:
  return ir.FlatSymbolRefAttr(call.attributes['callee']).value


def _add_argument(function: Any, kind: Any) -> Any:
  """One more argument at the end of a function."""
  old = ir.FunctionType(ir.TypeAttr(function.attributes['function_type']).value)
  new = ir.FunctionType.get([*old.inputs, kind], old.results)
  function.attributes['function_type'] = ir.TypeAttr.get(new)
  if 'arg_attrs' in function.attributes:
    attributes = [*ir.ArrayAttr(function.attributes['arg_attrs']), ir.DictAttr.get({})]
    function.attributes['arg_attrs'] = ir.ArrayAttr.get(attributes)
  return function.regions[0].blocks[0].add_argument(kind, ir.Location.unknown())


def _add_operand(call: Any, value: Any) -> None:
  """One more operand at the end of a call."""
  kinds = [result.type for result in call.results]
  callee = ir.FlatSymbolRefAttr(call.attributes['callee'])
  with ir.InsertionPoint(call):
    new = func.CallOp(kinds, callee, [*call.operands, value])
  for before, after in zip(call.results, new.operation.results, strict=True):
    before.replace_all_uses_with(after)
  call.erase()


def _element(vector: Any, index: int, kind: Any, before: Any) -> Any:
  """Element `index` of the vector, everywhere in a tensor of this type."""
  tensor = ir.RankedTensorType(kind)
  with ir.InsertionPoint(before):
    one = hlo.slice(vector, [index], [index + 1], [1])
    value = hlo.reshape(ir.RankedTensorType.get((), ir.F32Type.get()), one)
    if str(tensor.element_type) != 'f32':
      value = hlo.convert(ir.RankedTensorType.get((), tensor.element_type), value)
    return hlo.broadcast_in_dim(kind, value, []) if tensor.rank else value
