"""A StableHLO module as plain tuples, for the artifact's reader and the fingerprint.

MLIR's Python objects are slow, so a module is walked once. Locations are dropped, and with them
all names of variables. Modules come from untrusted code: operations outside of the dialects below
are refused, and nothing is executed.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.export
from jax.interpreters import mlir
from jaxlib.mlir import ir

DIALECTS = ('stablehlo.', 'chlo.', 'func.')
# Operations that communicate with something outside of the program, or are not deterministic, with
# what to do instead.
_REFUSED_NAMES = {
  'infeed outfeed send recv create_token after_all': 'remove it, since a trial computes on its own',
  'all_gather all_reduce all_to_all collective_broadcast collective_permute reduce_scatter '
  'cross-replica-sum partition_id replica_id': (
    'remove it, since the runner shares batches among the devices by itself'
  ),
  'rng': 'draw random numbers with jax.random, from a key',
  'get_dimension_size set_dimension_size': 'use arrays of fixed shapes',
}
REFUSED = {
  f'stablehlo.{name}': remedy for names, remedy in _REFUSED_NAMES.items() for name in names.split()
}
MANUAL_COMPUTATION = 'sdy.manual_computation'  # what each device runs on its own rows
# Allowed in a module for several devices, where `sharding` checks them.
SHARED = frozenset(
  f'{dialect}.{name}'
  for dialect, names in {
    'sdy': ('manual_computation', 'return', 'sharding_constraint'),
    'stablehlo': ('all_reduce',),
  }.items()
  for name in names
)
_SMALLER = 'loop with jax.lax.scan or jax.lax.fori_loop instead of Python'
# Attributes that do not affect results: names and source information.
IGNORED_ATTRIBUTES = frozenset(
  {'sym_name', 'mhlo.frontend_attributes', 'mhlo.sharding', 'jax.result_info'}
)
MAX_OPERATIONS = 500_000
MAX_DEPTH = 150  # of calls and regions together


class GraphError(Exception):
  """The module is malformed or contains something refused; the message says what.

  Attributes:
    remedy: What to do about it.
    position: Number of the operation (see `Op`); None if it is about no one.
  """

  def __init__(
    self, what: str, remedy: str = 'trace the program again', position: int | None = None
  ):
    super().__init__(what)
    self.remedy, self.position = remedy, position


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
  """One operation of a block. Values are identified by their number within the function.

  Attributes:
    name: Such as 'stablehlo.add'.
    operands: Values that it reads.
    results: Values that it produces.
    attributes: (name, text) pairs, sorted, without symbols.
    symbols: Names of functions that it refers to.
    types: Types as text, of the operands and then of the results.
    blocks: The blocks of its regions, one each.
    position: Its number in the module, as `locations` counts.
  """

  name: str
  operands: tuple[int, ...]
  results: tuple[int, ...]
  attributes: tuple[tuple[str, str], ...]
  symbols: tuple[str, ...]
  types: tuple[str, ...]
  blocks: tuple['BasicBlock', ...]
  position: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BasicBlock:
  """The only block of a region. Its last operation is the terminator, which returns its operands.

  Attributes:
    arguments: Values.
    types: Types of the arguments, as text.
    ops: Its operations, in order.
  """

  arguments: tuple[int, ...]
  types: tuple[str, ...]
  ops: tuple[Op, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
  """A module.

  Attributes:
    functions: Body of each function, by name.
    size: Number of operations.
    num_devices: Devices that share a batch, if a part of the module runs on each; else 1.
  """

  functions: dict[str, BasicBlock]
  size: int
  num_devices: int = 1

  @property
  def main(self) -> BasicBlock:
    """The function that a call of the module executes."""
    return self.functions['main']

  def ops(self) -> list[Op]:
    """All operations of all functions, nested ones included."""
    return self._ops(list(self.functions.values()), frozenset())

  def ops_outside_of_shares(self) -> list[Op]:
    """All operations but those that each device runs on its own rows."""
    called: set[str] = set()  # by such an operation
    queue = [block for op in self.ops() if op.name == MANUAL_COMPUTATION for block in op.blocks]
    while queue:
      names = {name for op in self._ops([queue.pop()], frozenset()) for name in op.symbols}
      queue.extend(self.functions[name] for name in names - called)
      called |= names
    outside = [block for name, block in self.functions.items() if name not in called]
    return self._ops(outside, frozenset((MANUAL_COMPUTATION,)))

  def _ops(self, blocks: list[BasicBlock], closed: frozenset[str]) -> list[Op]:
    """All operations of some blocks, without those inside of operations with the names `closed`."""
    ops: list[Op] = []
    while blocks:
      for op in blocks.pop().ops:
        ops.append(op)
        if op.name not in closed:
          blocks.extend(op.blocks)
    return ops


def read(exported: jax.export.Exported, num_devices: int = 1) -> Graph:
  """The graph of an exported function's module.

  Args:
    exported: The function.
    num_devices: Devices that share a batch.

  Raises:
    GraphError: the module is invalid, too large, or contains a refused operation.
  """
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    try:
      module = exported.mlir_module(serialized=False)
      module.operation.verify()
    except Exception as error:
      raise GraphError(f'a module is not valid StableHLO: {_first_line(error)}') from None
    return _ModuleWalker(num_devices).module(module.operation)


def locations(exported: jax.export.Exported) -> list[str]:
  """The location of each operation of a module, as text, in the order of `Op.position`."""
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = exported.mlir_module(serialized=False)
    functions = module.operation.regions[0].blocks[0].operations
    return [
      str(op.location)
      for function in functions
      for region in function.operation.regions
      for op in _operations(region)
    ]


def _operations(region: Any) -> Iterator[Any]:
  """The operations of a region, each before those of its own regions."""
  for block in region.blocks:
    for op in block.operations:
      yield op.operation
      for inner in op.operation.regions:
        yield from _operations(inner)


class _ModuleWalker:
  """Converts one module. Caches the texts of attributes and types, which repeat a lot."""

  def __init__(self, num_devices: int) -> None:
    self._num_devices = num_devices
    self._meshes: list[str] = []
    self._texts: dict[Any, str] = {}
    self._size = 0
    self._depth = 0

  def module(self, module: Any) -> Graph:
    functions: dict[str, BasicBlock] = {}
    for view in module.regions[0].blocks[0].operations:
      op = view.operation
      if op.name == 'sdy.mesh' and self._num_devices > 1:
        self._add_mesh(op)
        continue
      if op.name != 'func.func':
        raise GraphError(f'a module contains {op.name!r:.80}, which is not a function')
      for name in ('arg_attrs', 'res_attrs'):
        if name in op.attributes and 'sdy.' in str(op.attributes[name]):
          raise GraphError('a function has shardings', 'leave sharding to the runner')
      functions[ir.StringAttr(op.attributes['sym_name']).value] = self._block(op.regions[0], {})
    if 'main' not in functions:
      raise GraphError("a module has no function 'main'")
    _check_depth(functions)
    _check_calls(functions)
    return Graph(functions, self._size, self._num_devices if self._meshes else 1)

  def _add_mesh(self, op: Any) -> None:
    """Checks that a mesh is the runner's, and the only one."""
    expected = {
      'mesh': f'#sdy.mesh<["batch"={self._num_devices}]>',
      'stablehlo.mesh': f'{{axes = [{{name = "batch", size = {self._num_devices} : i64}}]}}',
    }
    found = {name: str(op.attributes[name]) for name in op.attributes}
    self._meshes.append(ir.StringAttr(op.attributes['sym_name']).value)
    if {**expected, **found} != {**expected, 'sym_name': found['sym_name']} or self._meshes[1:]:
      raise GraphError(
        f'a module is for other devices than the {self._num_devices} that share a batch',
        'leave sharding to the runner',
      )

  def _block(self, region: Any, values: dict[Any, int]) -> BasicBlock:
    self._depth += 1
    if self._depth > MAX_DEPTH:
      raise GraphError(f'a module nests loops more than {MAX_DEPTH} deep', _SMALLER, self._size - 1)
    blocks = list(region.blocks)
    if len(blocks) != 1:
      raise GraphError(f'a region has {len(blocks)} blocks, and in StableHLO it has one')
    arguments = list(blocks[0].arguments)
    numbers = tuple(self._number(a, values) for a in arguments)
    types = tuple(self._text(a.type) for a in arguments)
    ops = tuple(self._op(op.operation, values) for op in blocks[0].operations)
    if not ops:
      raise GraphError('a block is empty')
    self._depth -= 1
    return BasicBlock(numbers, types, ops)

  def _op(self, op: Any, values: dict[Any, int]) -> Op:
    name, position = op.name, self._size
    self._size += 1
    if self._size > MAX_OPERATIONS:
      raise GraphError(f'a module has more than {MAX_OPERATIONS:,} operations', _SMALLER, position)
    shared = name in SHARED and bool(self._meshes)
    if not shared and (not name.startswith(DIALECTS) or name in REFUSED):
      raise GraphError(
        f'it contains the operation {name!r:.80}, which a trial cannot run',
        REFUSED.get(name, 'write it with functions of jax.numpy or jax.lax'),
        position,
      )
    operands, results = list(op.operands), list(op.results)
    types = tuple(self._text(v.type) for v in (*operands, *results))
    numbers = tuple(values[v] for v in operands)
    attributes, symbols = self._attributes(op)
    # Results are numbered after the regions, which cannot refer to them.
    blocks = tuple(self._block(region, values) for region in op.regions)
    produced = tuple(self._number(v, values) for v in results)
    return Op(name, numbers, produced, attributes, symbols, types, blocks, position)

  def _attributes(self, op: Any) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    plain: list[tuple[str, str]] = []
    symbols: list[str] = []
    for name in op.attributes:
      if name in IGNORED_ATTRIBUTES:
        continue
      try:
        value = op.attributes[name]
      except TypeError:  # MLIR's Python bindings cannot read complex constants
        plain.append((name, _printed(op)))
        continue
      if name == 'channel_handle' and op.name == 'stablehlo.all_reduce':
        continue  # a number that tells it from the others
      if name == 'sdy.sharding':
        raise GraphError('it has a sharding', 'leave sharding to the runner', self._size - 1)
      named = symbols_of(value)
      symbols.extend(named)
      plain.append((name, '@' if named else self._text(value)))
    return tuple(sorted(plain)), tuple(symbols)

  def _number(self, value: Any, values: dict[Any, int]) -> int:
    return values.setdefault(value, len(values))

  def _text(self, thing: Any) -> str:
    text = self._texts.get(thing)
    if text is None:
      text = str(thing)
      if text.startswith('#sdy.sharding'):  # the mesh has another name where a program has its own
        text = text.replace(f'@{self._meshes[0]},' if self._meshes else '@', '@mesh,')
      self._texts[thing] = text
      if text.startswith('dense_resource'):
        raise GraphError('a module refers to a constant that is stored outside of it')
    return text


def passed_through(graph: Graph) -> dict[int, int]:
  """Outputs of a module that are one of its arguments, unchanged: position -> argument."""

  def source(function: BasicBlock, value: int) -> int | None:
    """The argument of the function that a value is, if any."""
    if value in function.arguments:
      return function.arguments.index(value)
    made = next((op for op in function.ops if value in op.results), None)
    if made is None:
      return None
    at = made.results.index(value)
    if made.name == 'func.call':
      callee = graph.functions[made.symbols[0]]
      inner = source(callee, callee.ops[-1].operands[at])
      return None if inner is None else source(function, made.operands[inner])
    if made.name == 'stablehlo.optimization_barrier':
      return source(function, made.operands[at])
    return None

  sources = [source(graph.main, value) for value in graph.main.ops[-1].operands]
  return {i: argument for i, argument in enumerate(sources) if argument is not None}


def symbols_of(attribute: Any) -> list[str]:
  """Names of the functions that an attribute refers to."""
  if isinstance(attribute, ir.FlatSymbolRefAttr):
    return [attribute.value]
  if isinstance(attribute, ir.ArrayAttr):
    return [name for item in attribute for name in symbols_of(item)]
  return []


def _check_depth(functions: dict[str, BasicBlock]) -> None:
  """Refuses recursion, calls of missing functions, and nesting that would exhaust the stack."""
  depths: dict[str, int] = {}
  open_: set[str] = set()

  def function(name: str, above: int) -> int:
    if name in open_ or name not in functions or above > MAX_DEPTH:
      raise GraphError(
        f'a module calls {name!r:.80}, which is recursive, nested too deeply, or missing'
      )
    if name not in depths:
      open_.add(name)
      depths[name] = block(functions[name], above + 1)
      open_.discard(name)
    return depths[name]

  def block(inside: BasicBlock, above: int) -> int:
    below = [block(each, above + 1) for op in inside.ops for each in op.blocks]
    below += [function(name, above) for op in inside.ops for name in op.symbols]
    return 1 + max(below, default=0)

  if max(function(name, 0) for name in list(functions)) > MAX_DEPTH:
    raise GraphError(f'a module nests functions and loops more than {MAX_DEPTH} deep', _SMALLER)


def _check_calls(functions: dict[str, BasicBlock]) -> None:
  """Refuses modules that become too large when XLA inlines their calls."""
  sizes: dict[str, int] = {}

  def size(block: BasicBlock) -> int:
    return sum(1 + sum(map(size, op.blocks)) + sum(map(function, op.symbols)) for op in block.ops)

  def function(name: str) -> int:
    if name not in sizes:
      sizes[name] = size(functions[name])
    return sizes[name]

  if function('main') > MAX_OPERATIONS:
    raise GraphError(
      f'a module has more than {MAX_OPERATIONS:,} operations once its calls are inlined', _SMALLER
    )


def _printed(op: Any) -> str:
  """The value of a constant, as MLIR prints it, without the name of its result."""
  return op.get_asm(assume_verified=True).partition(f'{op.name} ')[2]


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0][:200].rstrip('.') if lines else type(error).__name__
