"""Reads the text of a compiled module (HLO): its operations, how often each runs, and their FLOPs.

XLA's own cost analysis counts the body of a loop once. Here it counts as often as it runs, where
that is known. The runner compares the result with the FLOPs of the traced program, and `measure
described` sums up XLA's estimates by it.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

ITEM_BYTES = {
  **dict.fromkeys(('pred', 's8', 'u8', 'f8e4m3fn', 'f8e5m2', 's4', 'u4'), 1),
  **dict.fromkeys(('bf16', 'f16', 's16', 'u16'), 2),
  **dict.fromkeys(('f32', 's32', 'u32'), 4),
  **dict.fromkeys(('f64', 's64', 'u64', 'c64'), 8),
}
COLLECTIVES = ('all-gather', 'all-reduce', 'all-to-all', 'reduce-scatter', 'collective-permute')
_SHAPE = re.compile(rf'\b({"|".join(ITEM_BYTES)})\[([0-9,]*)\](?:\{{([^}}]*)\}})?')
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_OPERATION = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$')
_NAME = re.compile(r'%([\w.\-]+)')
_TRIPS = re.compile(r'known_trip_count"?:\{"n":"(\d+)"')
_CYCLES = re.compile(r'estimated_cycles":"(\d+)"')
_COMPUTATIONS = re.compile(
  r'(?:calls|to_apply|body|true_computation|false_computation|branch_computations)='
  r'\{?(%[\w.\-]+(?:, %[\w.\-]+)*)'
)
_CONDITION = re.compile(r'condition=%?([\w.\-]+)')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_CONTRACTED = re.compile(r'lhs_contracting_dim(?:s|ensions)"?[=:][{\[]([^}\]]*)')
_LABELS = re.compile(r'dim_labels=([\w?]+)_([\w?]+)->([\w?]+)')
_FIELD = re.compile(r'(\w+)=([\d_x-]+)')  # of a convolution's window
_PRODUCTS = ('__cublas$', '__onednn$matmul')  # prefixes of targets of custom calls


@dataclasses.dataclass(frozen=True)
class HloOperation:
  """One operation of a computation.

  Attributes:
    name: Its name.
    type: Its type, as text; of a tuple all types.
    opcode: Such as 'fusion'; a custom call's includes its target.
    operands: Names of its operands.
    text: The rest of its line: operands and attributes.
  """

  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  text: str

  @property
  def cycles(self) -> int:
    """XLA's estimate, on TPUs; 0 if there is none, which XLA writes as the largest integer too."""
    found = _CYCLES.search(self.text)
    cycles = int(found[1]) if found else 0
    return cycles if cycles < 2**62 else 0

  @property
  def target(self) -> str:
    """Target of a custom call; '' for other operations."""
    found = _TARGET.search(self.text)
    return found[1] if found else ''

  def called(self) -> list[str]:
    """Names of the computations that it runs."""
    return [
      name.strip().removeprefix('%')
      for group in _COMPUTATIONS.findall(self.text)
      for name in group.split(',')
    ]


@dataclasses.dataclass(frozen=True)
class Executed:
  """An operation, with how it runs in one call of the module.

  Attributes:
    operation: The operation.
    computation: Name of the computation that contains it.
    times: How often it runs.
    loops: Iterations of the loops that it is in, outermost first.
  """

  operation: HloOperation
  computation: str
  times: int
  loops: tuple[int, ...]


class Module:
  """A compiled module.

  Args:
    text: What `Compiled.as_text()` of jax returns.
  """

  def __init__(self, text: str):
    self.computations: dict[str, list[HloOperation]] = {}
    self._entry = ''
    current: list[HloOperation] | None = None
    for line in text.splitlines():
      if line.rstrip() == '}':
        current = None
      elif current is None:
        if (header := _HEADER.match(line)) and not line.startswith('HloModule'):
          current = self.computations[header[2]] = []
          self._entry = header[2] if header[1] else self._entry
      elif found := _OPERATION.match(line):
        current.append(_operation(found[1], found[2]))

  def executed(self) -> Iterator[Executed]:
    """All operations of a call but those inside of fusions, with how often each runs."""
    yield from self._executed(self._entry, 1, ())

  def _executed(self, name: str, times: int, loops: tuple[int, ...]) -> Iterator[Executed]:
    for operation in self.computations.get(name, ()):
      yield Executed(operation, name, times, loops)
      match operation.opcode:
        case 'while':
          trips = self.trips(operation)
          for body in operation.called():
            yield from self._executed(body, times * trips, (*loops, trips))
        case 'call' | 'conditional' | 'async-start':
          for inner in operation.called():
            yield from self._executed(inner, times, loops)

  def trips(self, loop: HloOperation) -> int:
    """Iterations of a loop, 1 if that is not known."""
    if found := _TRIPS.search(loop.text):
      return int(found[1])
    condition = _CONDITION.search(loop.text)
    operations = self.computations.get(condition[1], []) if condition else []
    values = {each.name: each.text for each in operations}
    for each in operations:
      if each.opcode == 'compare' and 'direction=LT' in each.text:
        limits = [re.match(r'constant\((\d+)\)', values.get(n, '')) for n in each.operands]
        return next((int(found[1]) for found in limits if found), 1)
    return 1

  @functools.cached_property
  def product_flops(self) -> float:
    """FLOPs of the matrix products and convolutions of one call, on one device."""
    return sum(each.times * self.flops(each) for each in self.executed())

  def flops(self, executed: Executed) -> float:
    """FLOPs of the products of one execution of an operation, those inside of a fusion included."""
    operation = executed.operation
    if operation.opcode == 'fusion':
      return sum(map(self._fused_flops, operation.called()))
    return _flops(operation, self._types(executed.computation))

  @functools.cache  # noqa: B019 - a module is read and dropped
  def _fused_flops(self, name: str) -> float:
    types = self._types(name)
    return sum(
      sum(map(self._fused_flops, each.called())) if each.opcode == 'fusion' else _flops(each, types)
      for each in self.computations.get(name, ())
    )

  @functools.cache  # noqa: B019
  def _types(self, name: str) -> dict[str, str]:
    return {each.name: each.type for each in self.computations.get(name, ())}

  def bytes(self, executed: Executed) -> int:
    """Bytes of the device's memory that an operation reads and writes, each array once."""
    types = self._types(executed.computation)
    read = (size_of(types.get(name, '')) for name in {*executed.operation.operands})
    return size_of(executed.operation.type) + sum(read)


def shapes_of(text: str) -> list[tuple[str, tuple[int, ...], str]]:
  """Element type, shape and layout of each array in a type."""
  return [
    (dtype, tuple(int(size) for size in sizes.split(',') if size), layout)
    for dtype, sizes, layout in _SHAPE.findall(text)
  ]


def size_of(text: str) -> int:
  """Bytes of a type in the device's main memory; arrays in faster memories (`S(1)`) count as 0."""
  return sum(
    math.prod(shape) * ITEM_BYTES[dtype]
    for dtype, shape, layout in shapes_of(text)
    if 'S(' not in layout
  )


def _operation(name: str, rest: str) -> HloOperation:
  kind, rest = _split_type(rest)
  opcode = re.match(r'[\w\-]+', rest)
  opcode = opcode[0] if opcode else ''
  arguments = rest.partition('(')[2].partition('), ')[0]
  return HloOperation(name, kind, opcode, tuple(_NAME.findall(arguments)), rest)


def _split_type(text: str) -> tuple[str, str]:
  """The type that a text begins with, a tuple in brackets maybe, and the rest."""
  depth = 0
  for i, character in enumerate(text):
    depth += (character in '({[') - (character in ')}]')
    if depth == 0 and character == ' ':
      return text[:i], text[i + 1 :]
  return text, ''


def _flops(operation: HloOperation, types: dict[str, str]) -> float:
  left = shapes_of(types.get(operation.operands[0], '')) if operation.operands else []
  out = shapes_of(operation.type)
  if not left or not out:
    return 0.0
  elements = 2.0 * math.prod(out[0][1])
  if operation.opcode == 'convolution':
    return elements * _convolution_depth(operation, left[0][1], out[0][1])
  if operation.opcode == 'dot' or operation.target.startswith(_PRODUCTS):
    found = _CONTRACTED.search(operation.text)
    axes = [int(axis) for axis in re.findall(r'\d+', found[1])] if found else []
    return elements * math.prod(left[0][1][axis] for axis in axes)
  return 0.0


def _convolution_depth(
  operation: HloOperation, left: tuple[int, ...], out: tuple[int, ...]
) -> float:
  """Products that are summed for each element of the result; padding counts, as in the trace."""
  labels = _LABELS.search(operation.text)
  features = left[labels[1].index('f')] if labels and 'f' in labels[1] else 1
  groups = re.search(r'feature_group_count=(\d+)', operation.text)
  depth = features / (int(groups[1]) if groups else 1)
  window = re.search(r'window=\{([^}]*)\}', operation.text)
  if not labels or not window:
    return depth
  fields = {name: values.split('x') for name, values in _FIELD.findall(window[1])}
  for i, size in enumerate(map(int, fields['size'])):
    axis = str(i)
    step, hole = (
      int(fields[name][i]) if name in fields else 1 for name in ('stride', 'lhs_dilate')
    )
    low = int(fields['pad'][i].partition('_')[0]) if 'pad' in fields else 0
    length = hole * (left[labels[1].index(axis)] - 1) + 1
    starts = (n * step - low for n in range(out[labels[3].index(axis)]))
    # XLA writes batched products as convolutions whose windows see one element and zeros.
    if 'rhs_dilate' in fields or any(_seen(start, size, length, hole) > 1 for start in starts):
      depth *= size
  return depth


def _seen(start: int, size: int, length: int, hole: int) -> int:
  """Elements in a window on an array of `length` positions, of which each `hole`-th is one."""
  first = max(start, 0)
  return len(range(first + -first % hole, min(start + size, length), hole))
