"""The semantic fingerprint of an artifact: equal for programs that compute the same.

Computed by the runner from the modules alone. It ignores comments, names, the layout of files, dead
code, unread constants, unread state and the order in which the state is flattened. Any other
number, operation, shape, batch size or phase that the loss or the prediction depends on changes it.
Metrics other than the loss do not, since they are only recorded; so the runner's compile cache uses
`ExecutableTemplate.cache_key` instead.

Method: each value is labelled with a hash of the operation that produces it and of the labels of
its operands (Merkle, 1979). Functions are inlined and dead values left out. Loop-carried values and
the leaves of the state depend on themselves. They start with the hash of their initial value and
are refined with the hash of their update in one step, until refinement splits no further class
(Weisfeiler and Lehman, 1968). Values whose labels stay equal are equal at every step, so sharing
a label loses nothing.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from autoresearch_jax.artifact.graph import BasicBlock, Graph, Op
from autoresearch_jax.artifact.kernel import KernelArtifact
from autoresearch_jax.artifact.reader import Artifact

# Beyond so many operations in one pass, functions are hashed once instead of being inlined, since
# a chain of functions that each call the next twice would take forever. The hash stays sound, but
# tells more programs apart.
MAX_VISITS = 200_000
_CALL_VISITS = 4  # a call takes about as long as so many operations
_COMMUTATIVE = frozenset(
  f'stablehlo.{name}' for name in ('add', 'multiply', 'maximum', 'minimum', 'and', 'or', 'xor')
)

Positions = tuple[int, ...]  # of results, outputs or leaves


def fingerprint(artifact: Artifact) -> str:
  """The fingerprint, 32 hexadecimal digits, of an artifact that `reader.read` has checked."""
  return _StateFingerprint(artifact).digest().hex()


def kernel_fingerprint(artifact: KernelArtifact) -> str:
  """The fingerprint of a kernel's artifact: of all its outputs, by the positions of its inputs."""
  labels = []
  for module, exported in zip(artifact.graphs, artifact.exported, strict=True):
    arguments = [_hash(b'argument', i) for i in exported.module_kept_var_idx]
    labels += _ModuleLabels(module).outputs(tuple(range(len(exported.out_avals))), arguments)
  return _hash(b'kernel', artifact.platform.encode(), *labels).hex()


def arguments_read(graph: Graph, outputs: Positions) -> list[int]:
  """Positions of the arguments of a module that its outputs at these positions depend on."""
  return _ModuleLabels(graph).arguments(outputs)


@dataclasses.dataclass(frozen=True, slots=True)
class _LiveCode:
  """The part of a block that some of its outputs depend on.

  Attributes:
    steps: Live operations, each with the positions of its live results (or carried values).
    inputs: Values from outside of the block that it reads, block arguments included.
  """

  steps: tuple[tuple[Op, Positions], ...]
  inputs: frozenset[int]


class _StateFingerprint:
  """Labels the leaves of the state and refines the labels until they are stable."""

  def __init__(self, artifact: Artifact):
    self._artifact = artifact
    init, *steps, predict = (_ModuleLabels(graph) for graph in artifact.graphs)
    kept = [exported.module_kept_var_idx for exported in artifact.exported]
    self._init, self._steps, self._predict = init, steps, predict
    self._kept = kept
    self._size = len(artifact.leaves)
    self._loss = self._size + artifact.metric_names.index('loss')

  def digest(self) -> bytes:
    leaves = self._find_live_leaves()
    initial = self._init.outputs(leaves, [_hash(b'key')] * len(self._kept[0]))
    labels = dict(zip(leaves, initial, strict=True))
    while True:
      results = [self._step(i, leaves, labels) for i in range(len(self._steps))]
      updates = (outs[: len(leaves)] for outs in results)
      refined = {
        leaf: _hash(labels[leaf], *outs) for leaf, *outs in zip(leaves, *updates, strict=True)
      }
      if len(set(refined.values())) == len(set(labels.values())):
        break
      labels = refined
    losses = [outs[-1] for outs in results]
    predicted = self._predict.outputs((0,), self._argument_labels(-1, labels))
    return _hash(_hash(self._shape()), *sorted(set(refined.values())), b'/', *losses, *predicted)

  def _shape(self) -> bytes:
    """What the fingerprint covers besides operations: platform, kind of problem, phases."""
    phases = [dataclasses.astuple(phase) for phase in self._artifact.phases]
    return repr((self._artifact.platform, self._artifact.spec.kind, phases)).encode()

  def _find_live_leaves(self) -> Positions:
    """Leaves that the prediction or the loss depends on, over any number of steps."""
    live = {i for i in self._arguments_read(-1, self._predict, (0,)) if i < self._size}
    while True:
      outputs = (*sorted(live), self._loss)
      more = set(live)
      for index, step in enumerate(self._steps):
        more.update(i for i in self._arguments_read(1 + index, step, outputs) if i < self._size)
      if more == live:
        return tuple(sorted(live))
      live = more

  def _arguments_read(
    self, module_index: int, module: '_ModuleLabels', outputs: Positions
  ) -> list[int]:
    """Positions of the arguments of an exported function that `outputs` depend on."""
    return [self._kept[module_index][i] for i in module.arguments(outputs)]

  def _step(self, index: int, leaves: Positions, labels: dict[int, bytes]) -> list[bytes]:
    """Labels of the updated leaves and of the loss after a step of phase `index`."""
    return self._steps[index].outputs(
      (*leaves, self._loss), self._argument_labels(1 + index, labels)
    )

  def _argument_labels(self, module_index: int, labels: dict[int, bytes]) -> list[bytes]:
    """Labels of a module's arguments: leaves by label, the others by their position."""
    return [
      labels.get(i, b'unread') if i < self._size else _hash(b'argument', i - self._size)
      for i in self._kept[module_index]
    ]


class _ModuleLabels:
  """Labels of the outputs of one module."""

  def __init__(self, graph: Graph):
    self._functions = graph.functions
    self._main = graph.main
    self._live_code: dict[tuple[int, Positions], _LiveCode] = {}
    self._calls: dict[tuple[int, Positions, tuple[bytes, ...]], list[bytes]] = {}
    self._kinds: dict[tuple[object, ...], bytes] = {}
    self._visits = 0

  def arguments(self, outputs: Positions) -> list[int]:
    """Positions of the arguments of `main` that the outputs at these positions depend on."""
    inputs = self._slice(self._main, outputs).inputs
    return [i for i, argument in enumerate(self._main.arguments) if argument in inputs]

  def outputs(self, outputs: Positions, arguments: Sequence[bytes]) -> list[bytes]:
    """Labels of some outputs of `main`, given the labels of its arguments."""
    self._calls.clear()  # arguments have other labels in the next round
    self._visits = 0
    values = dict(zip(self._main.arguments, arguments, strict=True))
    return self._evaluate(self._main, outputs, values, 0)

  def _slice(self, block: BasicBlock, outputs: Positions) -> _LiveCode:
    """The live code of a block for the outputs at these positions, cached."""
    key = (id(block), outputs)
    found = self._live_code.get(key)
    if found is None:
      found = self._live_code[key] = self._walk_back(block, outputs)
    return found

  def _walk_back(self, block: BasicBlock, outputs: Positions) -> _LiveCode:
    terminator = block.ops[-1]
    live = {terminator.operands[i] for i in outputs}
    steps: list[tuple[Op, Positions]] = []
    for op in reversed(block.ops[:-1]):
      results = tuple(i for i, result in enumerate(op.results) if result in live)
      if not results:
        continue
      results, inputs = self._live_inputs(op, results)
      steps.append((op, results))
      live.difference_update(op.results)
      live.update(inputs)
    return _LiveCode(tuple(reversed(steps)), frozenset(live))

  def _live_inputs(self, op: Op, results: Positions) -> tuple[Positions, Iterable[int]]:
    """Which results are live, given dependences inside of the operation, and what it reads."""
    if op.name == 'func.call':
      callee = self._functions[op.symbols[0]]
      inputs = self._slice(callee, results).inputs
      pairs = zip(op.operands, callee.arguments, strict=True)
      return results, [operand for operand, argument in pairs if argument in inputs]
    if op.name == 'stablehlo.while':
      return self._live_loop_inputs(op, results)
    if op.name == 'stablehlo.optimization_barrier':
      return results, [op.operands[i] for i in results]
    inputs = list(op.operands)
    for block in op.blocks:
      inputs.extend(self._slice(block, _all_outputs(block)).inputs.difference(block.arguments))
    return results, inputs

  def _live_loop_inputs(self, op: Op, results: Positions) -> tuple[Positions, Iterable[int]]:
    """Live carried values: the requested ones, those that end the loop, and what they depend on."""
    condition, body = op.blocks
    test = self._slice(condition, (0,)).inputs
    carried = set(results)
    while True:
      in_body = self._slice(body, tuple(sorted(carried))).inputs
      more = {
        i
        for i, pair in enumerate(zip(condition.arguments, body.arguments, strict=True))
        if pair[0] in test or pair[1] in in_body
      }
      if more <= carried:
        break
      carried |= more
    captured = test.difference(condition.arguments) | in_body.difference(body.arguments)
    return tuple(sorted(carried)), [*(op.operands[i] for i in sorted(carried)), *captured]

  def _evaluate(
    self, block: BasicBlock, outputs: Positions, values: dict[int, bytes], depth: int
  ) -> list[bytes]:
    """Labels of the block's outputs.

    Args:
      block: The block.
      outputs: Positions of the outputs.
      values: Labels of the values that the block reads; its own are added.
      depth: Number of enclosing regions.
    """
    live_code = self._slice(block, outputs)
    self._visits += _CALL_VISITS + len(live_code.steps)
    for op, live in live_code.steps:
      if op.name == 'func.call':
        labels = self._call(op, live, values, depth)
      elif op.name == 'stablehlo.while':
        labels = self._loop(op, live, values, depth)
      elif op.name == 'stablehlo.optimization_barrier':
        labels = [_hash(b'barrier', values[op.operands[i]]) for i in live]
      else:
        labels = self._operation(op, live, values, depth)
      for i, label in zip(live, labels, strict=True):
        values[op.results[i]] = label
    terminator = block.ops[-1]
    return [values[terminator.operands[i]] for i in outputs]

  def _operation(
    self, op: Op, live: Positions, values: dict[int, bytes], depth: int
  ) -> list[bytes]:
    operands = [values[operand] for operand in op.operands]
    if op.name in _COMMUTATIVE:
      operands.sort()
    for block in op.blocks:
      operands.extend(self._region(block, values, depth + 1))
    for symbol in op.symbols:
      operands.extend(self._summary(self._functions[symbol], _all_outputs(self._functions[symbol])))
    label = _hash(self._op_kind(op), *operands)
    return [label] if len(op.results) == 1 else [_hash(label, i) for i in live]

  def _op_kind(self, op: Op) -> bytes:
    """Hash of an operation's name, attributes and types."""
    key = (op.name, op.attributes, op.types)
    found = self._kinds.get(key)
    if found is None:
      found = self._kinds[key] = _hash(repr(key).encode())
    return found

  def _region(self, block: BasicBlock, values: dict[int, bytes], depth: int) -> list[bytes]:
    """Labels of a region's outputs; its arguments are labelled by position."""
    for i, argument in enumerate(block.arguments):
      values[argument] = _hash(b'region', depth, i)
    return self._evaluate(block, _all_outputs(block), values, depth)

  def _call(self, op: Op, live: Positions, values: dict[int, bytes], depth: int) -> list[bytes]:
    callee = self._functions[op.symbols[0]]
    inputs = self._slice(callee, live).inputs
    arguments = {
      argument: values[operand]
      for argument, operand in zip(callee.arguments, op.operands, strict=True)
      if argument in inputs
    }
    labels = tuple(arguments.values())
    key = (id(callee), live, labels)
    found = self._calls.get(key)
    if found is None:
      if self._visits > MAX_VISITS:
        found = [_hash(b'call', each, *labels) for each in self._summary(callee, live)]
      else:
        found = self._evaluate(callee, live, arguments, depth)
      self._calls[key] = found
    return found

  def _summary(self, function: BasicBlock, live: Positions) -> list[bytes]:
    """Labels of a function's outputs that do not depend on the labels of its arguments."""
    key = (id(function), live, ())
    if key not in self._calls:
      arguments = {a: _hash(b'parameter', i) for i, a in enumerate(function.arguments)}
      self._calls[key] = self._evaluate(function, live, arguments, 0)
    return self._calls[key]

  def _loop(self, op: Op, live: Positions, values: dict[int, bytes], depth: int) -> list[bytes]:
    """Labels of a `while`: those of carried values are refined until they are stable."""
    condition, body = op.blocks
    labels = [_hash(b'carried', depth, values[op.operands[i]]) for i in live]
    while True:
      if exhausted := self._visits > MAX_VISITS:
        labels = [_hash(label, i) for label, i in zip(labels, live, strict=True)]
      values.update(zip((body.arguments[i] for i in live), labels, strict=True))
      updated = self._evaluate(body, live, values, depth + 1)
      refined = [_hash(*pair) for pair in zip(labels, updated, strict=True)]
      if exhausted or len(set(refined)) == len(set(labels)):
        break
      labels = refined
    values.update(zip((condition.arguments[i] for i in live), labels, strict=True))
    test = self._evaluate(condition, (0,), values, depth + 1)
    label = _hash(b'while', *test, *sorted(set(refined)))
    return [_hash(label, each) for each in refined]


def _all_outputs(block: BasicBlock) -> Positions:
  return tuple(range(len(block.ops[-1].operands)))


def _hash(*parts: bytes | int) -> bytes:
  data = b''.join(p if type(p) is bytes else b'#%d;' % p for p in parts)
  return hashlib.blake2b(data, digest_size=16).digest()
