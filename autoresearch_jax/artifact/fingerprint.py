"""The semantic fingerprint of an artifact: equal for programs that compute the same things.

Computed by the runner from the modules alone. Programs that differ in comments, names, layout of
the file, dead code, an unread constant, unread state, or in which order the state is flattened
have equal fingerprints; any other number, operation, shape, batch size or phase that the loss or
the prediction depends on changes it. Metrics besides the loss do not: they are only watched, so
whoever keeps what is compiled goes by `compiled.Frame.key`.

How: each value is named by a hash of the operation that makes it and of its operands' names
(Merkle, 1979), functions inlined and dead values left out. Loop-carried values and the leaves of
the state have no such name, since they depend on themselves: they start as the hash of their
initial value and are refined by the hash of what one step makes of them, until no two of them
can be told apart that could not before (Weisfeiler and Lehman, 1968). Values that stay alike are
equal at every step, so nothing is lost by giving them one name.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from autoresearch_jax.artifact.graph import Block, Graph, Op
from autoresearch_jax.artifact.reader import Artifact

# Past so many operations in one pass, functions are hashed once and not inlined any more: helpers
# that call each other twice each would take forever. The hash stays sound, only less tolerant.
MAX_VISITS = 200_000
_CALL_VISITS = 4  # a call takes about as long as so many operations
_COMMUTATIVE = frozenset(
  f'stablehlo.{name}' for name in ('add', 'multiply', 'maximum', 'minimum', 'and', 'or', 'xor')
)

Live = tuple[int, ...]


def fingerprint(artifact: Artifact) -> str:
  """32 hexadecimal digits. The artifact must have been read with `artifact.read`."""
  return _Fingerprint(artifact).digest().hex()


@dataclasses.dataclass(frozen=True, slots=True)
class _Live:
  """What of a block matters. steps: operations with the results (carried values) that do.

  needs: values from outside of the block, its arguments among them.
  """

  steps: tuple[tuple[Op, Live], ...]
  needs: frozenset[int]


class _Fingerprint:
  """The leaves of the state, refined until stable."""

  def __init__(self, artifact: Artifact):
    self._artifact = artifact
    init, *steps, predict = (_Module(graph) for graph in artifact.graphs)
    kept = [exported.module_kept_var_idx for exported in artifact.exported]
    self._init, self._steps, self._predict = init, steps, predict
    self._kept = kept
    self._size = len(artifact.leaves)
    self._loss = self._size + artifact.metric_names.index('loss')

  def digest(self) -> bytes:
    leaves = self._live_leaves()
    made = self._init.outputs(leaves, [_hash(b'key')] * len(self._kept[0]))
    labels = dict(zip(leaves, made, strict=True))
    while True:
      results = [self._step(i, leaves, labels) for i in range(len(self._steps))]
      each = (outs[: len(leaves)] for outs in results)
      refined = {
        leaf: _hash(labels[leaf], *outs) for leaf, *outs in zip(leaves, *each, strict=True)
      }
      if len(set(refined.values())) == len(set(labels.values())):
        break
      labels = refined
    losses = [outs[-1] for outs in results]
    predicted = self._predict.outputs((0,), self._arguments(-1, labels))
    return _hash(_hash(self._shape()), *sorted(set(refined.values())), b'/', *losses, *predicted)

  def _shape(self) -> bytes:
    """What is not in the modules' operations."""
    phases = [dataclasses.astuple(phase) for phase in self._artifact.phases]
    return repr((self._artifact.platform, self._artifact.spec.kind, phases)).encode()

  def _live_leaves(self) -> Live:
    """Leaves that the prediction or the loss depends on, through any number of steps."""
    live = {i for i in self._needs(-1, self._predict, (0,)) if i < self._size}
    while True:
      outputs = (*sorted(live), self._loss)
      found = set(live)
      for index, step in enumerate(self._steps):
        found.update(i for i in self._needs(1 + index, step, outputs) if i < self._size)
      if found == live:
        return tuple(sorted(live))
      live = found

  def _needs(self, which: int, module: '_Module', outputs: Live) -> list[int]:
    """Arguments of the exported function that `outputs` depend on."""
    return [self._kept[which][i] for i in module.arguments(outputs)]

  def _step(self, index: int, leaves: Live, labels: dict[int, bytes]) -> list[bytes]:
    """Hashes of the new leaves and of the loss."""
    return self._steps[index].outputs((*leaves, self._loss), self._arguments(1 + index, labels))

  def _arguments(self, which: int, labels: dict[int, bytes]) -> list[bytes]:
    """Hashes of a module's arguments: leaves by label, the others by their place after them."""
    return [
      labels.get(i, b'unread') if i < self._size else _hash(b'argument', i - self._size)
      for i in self._kept[which]
    ]


class _Module:
  """Hashes of a module's outputs."""

  def __init__(self, graph: Graph):
    self._functions = graph.functions
    self._main = graph.main
    self._plans: dict[tuple[int, Live], _Live] = {}
    self._calls: dict[tuple[int, Live, tuple[bytes, ...]], list[bytes]] = {}
    self._kinds: dict[tuple[object, ...], bytes] = {}
    self._visits = 0

  def arguments(self, outputs: Live) -> list[int]:
    """Positions of the arguments of `main` that these outputs depend on."""
    needs = self._plan(self._main, outputs).needs
    return [i for i, argument in enumerate(self._main.arguments) if argument in needs]

  def outputs(self, outputs: Live, arguments: Sequence[bytes]) -> list[bytes]:
    """Hashes of some outputs of `main`, given those of its arguments."""
    self._calls.clear()  # arguments have other hashes in the next round
    self._visits = 0
    values = dict(zip(self._main.arguments, arguments, strict=True))
    return self._evaluate(self._main, outputs, values, 0)

  def _plan(self, block: Block, outputs: Live) -> _Live:
    """Walks backwards from the outputs that matter."""
    key = (id(block), outputs)
    found = self._plans.get(key)
    if found is None:
      found = self._plans[key] = self._walk_back(block, outputs)
    return found

  def _walk_back(self, block: Block, outputs: Live) -> _Live:
    last = block.ops[-1]
    live = {last.operands[i] for i in outputs}
    steps: list[tuple[Op, Live]] = []
    for op in reversed(block.ops[:-1]):
      results = tuple(i for i, result in enumerate(op.results) if result in live)
      if not results:
        continue
      results, needs = self._step_back(op, results)
      steps.append((op, results))
      live.difference_update(op.results)
      live.update(needs)
    return _Live(tuple(reversed(steps)), frozenset(live))

  def _step_back(self, op: Op, results: Live) -> tuple[Live, Iterable[int]]:
    """The results that matter once dependences inside the operation are seen; what it needs."""
    if op.name == 'func.call':
      callee = self._functions[op.symbols[0]]
      needs = self._plan(callee, results).needs
      given = zip(op.operands, callee.arguments, strict=True)
      return results, [operand for operand, argument in given if argument in needs]
    if op.name == 'stablehlo.while':
      return self._loop_back(op, results)
    if op.name == 'stablehlo.optimization_barrier':
      return results, [op.operands[i] for i in results]
    needs = list(op.operands)
    for block in op.blocks:
      needs.extend(self._plan(block, _all(block)).needs.difference(block.arguments))
    return results, needs

  def _loop_back(self, op: Op, results: Live) -> tuple[Live, Iterable[int]]:
    """Carried values that matter: those asked for, those that end the loop, and what they read."""
    condition, body = op.blocks
    test = self._plan(condition, (0,)).needs
    carried = set(results)
    while True:
      inside = self._plan(body, tuple(sorted(carried))).needs
      more = {
        i
        for i, pair in enumerate(zip(condition.arguments, body.arguments, strict=True))
        if pair[0] in test or pair[1] in inside
      }
      if more <= carried:
        break
      carried |= more
    captured = test.difference(condition.arguments) | inside.difference(body.arguments)
    return tuple(sorted(carried)), [*(op.operands[i] for i in sorted(carried)), *captured]

  def _evaluate(
    self, block: Block, outputs: Live, values: dict[int, bytes], depth: int
  ) -> list[bytes]:
    """Hashes of the block's outputs. values: of what the block needs; it is added to."""
    plan = self._plan(block, outputs)
    self._visits += _CALL_VISITS + len(plan.steps)
    for op, live in plan.steps:
      if op.name == 'func.call':
        made = self._call(op, live, values, depth)
      elif op.name == 'stablehlo.while':
        made = self._loop(op, live, values, depth)
      elif op.name == 'stablehlo.optimization_barrier':
        made = [_hash(b'barrier', values[op.operands[i]]) for i in live]
      else:
        made = self._operation(op, live, values, depth)
      for i, name in zip(live, made, strict=True):
        values[op.results[i]] = name
    last = block.ops[-1]
    return [values[last.operands[i]] for i in outputs]

  def _operation(self, op: Op, live: Live, values: dict[int, bytes], depth: int) -> list[bytes]:
    operands = [values[operand] for operand in op.operands]
    if op.name in _COMMUTATIVE:
      operands.sort()
    for block in op.blocks:
      operands.extend(self._region(block, values, depth + 1))
    for symbol in op.symbols:
      operands.extend(self._summary(self._functions[symbol], _all(self._functions[symbol])))
    name = _hash(self._kind(op), *operands)
    return [name] if len(op.results) == 1 else [_hash(name, i) for i in live]

  def _kind(self, op: Op) -> bytes:
    key = (op.name, op.attributes, op.types)
    found = self._kinds.get(key)
    if found is None:
      found = self._kinds[key] = _hash(repr(key).encode())
    return found

  def _region(self, block: Block, values: dict[int, bytes], depth: int) -> list[bytes]:
    """Hashes of a region's outputs; its arguments are known by their places."""
    for i, argument in enumerate(block.arguments):
      values[argument] = _hash(b'region', depth, i)
    return self._evaluate(block, _all(block), values, depth)

  def _call(self, op: Op, live: Live, values: dict[int, bytes], depth: int) -> list[bytes]:
    callee = self._functions[op.symbols[0]]
    needs = self._plan(callee, live).needs
    given = [
      (argument, values[operand])
      for argument, operand in zip(callee.arguments, op.operands, strict=True)
      if argument in needs
    ]
    names = tuple(name for _, name in given)
    key = (id(callee), live, names)
    found = self._calls.get(key)
    if found is None:
      if self._visits > MAX_VISITS:
        found = [_hash(b'call', each, *names) for each in self._summary(callee, live)]
      else:
        found = self._evaluate(callee, live, dict(given), depth)
      self._calls[key] = found
    return found

  def _summary(self, function: Block, live: Live) -> list[bytes]:
    """Hashes of a function's outputs whatever it is called with."""
    key = (id(function), live, ())
    if key not in self._calls:
      names = {a: _hash(b'parameter', i) for i, a in enumerate(function.arguments)}
      self._calls[key] = self._evaluate(function, live, names, 0)
    return self._calls[key]

  def _loop(self, op: Op, live: Live, values: dict[int, bytes], depth: int) -> list[bytes]:
    """A `while`: carried values are refined until they are told apart as far as they can be."""
    condition, body = op.blocks
    labels = [_hash(b'carried', depth, values[op.operands[i]]) for i in live]
    while True:
      if tired := self._visits > MAX_VISITS:
        labels = [_hash(label, i) for label, i in zip(labels, live, strict=True)]
      values.update(zip((body.arguments[i] for i in live), labels, strict=True))
      made = self._evaluate(body, live, values, depth + 1)
      refined = [_hash(*pair) for pair in zip(labels, made, strict=True)]
      if tired or len(set(refined)) == len(set(labels)):
        break
      labels = refined
    values.update(zip((condition.arguments[i] for i in live), labels, strict=True))
    test = self._evaluate(condition, (0,), values, depth + 1)
    name = _hash(b'while', *test, *sorted(set(refined)))
    return [_hash(name, each) for each in refined]


def _all(block: Block) -> Live:
  return tuple(range(len(block.ops[-1].operands)))


def _hash(*parts: bytes | int) -> bytes:
  data = b''.join(p if type(p) is bytes else b'#%d;' % p for p in parts)
  return hashlib.blake2b(data, digest_size=16).digest()
