"""FLOPs of a module's matrix products and convolutions, by the dtype they are computed in.

Counted from the graph before anything is compiled: it sizes the runner's calls, and it shows a
program that is bfloat16 in name only. Of custom calls, cuDNN's attention counts by the keys that
its mask and window show, without what it computes again for the gradient; other kernels, those of
Pallas among them, say nothing of their work and count as nothing.
"""

import collections
import math
import re

from autoresearch_jax.artifact.graph import Block, Graph, Op

_TENSOR = re.compile(r'tensor<(?:([0-9x]+)x)?([a-zA-Z][a-zA-Z0-9]*)>')
_WINDOW = re.compile(r'sliding_window_length(?:\\22|")\s*:\s*(\d{1,9})')
# cuDNN's attention -> FLOPs of each (query, key) pair and feature: two products, and their four
# gradients.
_CUDNN = {'"__cudnn$fmhaSoftmax"': 4.0, '"__cudnn$fmhaSoftmaxBackward"': 8.0}
_NAMES = {
  'i1': 'bool',
  'f16': 'float16',
  'bf16': 'bfloat16',
  'f32': 'float32',
  'f64': 'float64',
  'f8E4M3FN': 'float8_e4m3fn',
  'f8E5M2': 'float8_e5m2',
  'complex<f32>': 'complex64',
  **{f'i{bits}': f'int{bits}' for bits in (2, 4, 8, 16, 32, 64)},
  **{f'ui{bits}': f'uint{bits}' for bits in (2, 4, 8, 16, 32, 64)},
}


def tensor(text: str) -> tuple[tuple[int, ...], str] | None:
  """Shape and dtype name of an MLIR tensor type; None for what is no static tensor."""
  text = text.replace('complex<f32>', 'complex')
  found = _TENSOR.fullmatch(text)
  if not found:
    return None
  shape = tuple(int(size) for size in found[1].split('x')) if found[1] else ()
  name = 'complex64' if found[2] == 'complex' else _NAMES.get(found[2])
  return (shape, name) if name else None


def matmul_flops(graph: Graph) -> dict[str, float]:
  """FLOPs of one call of `main`, by dtype of the operands, loops counted where they are plain."""
  return dict(_Count(graph).function('main'))


class _Count:
  def __init__(self, graph: Graph):
    self.graph = graph
    self._known: dict[str, collections.Counter[str]] = {}
    self._open: set[str] = set()

  def function(self, name: str) -> collections.Counter[str]:
    if name in self._open or name not in self.graph.functions:
      return collections.Counter()  # a recursion, which no compiler accepts either
    if name not in self._known:
      self._open.add(name)
      self._known[name] = self._block(self.graph.functions[name], {})
      self._open.discard(name)
    return self._known[name]

  def _block(self, block: Block, made: dict[int, Op]) -> collections.Counter[str]:
    """Of one block. made: result -> operation, of the blocks around, to which its own are added."""
    total: collections.Counter[str] = collections.Counter()
    made |= {result: op for op in block.ops for result in op.results}
    for op in block.ops:
      if op.name == 'stablehlo.dot_general':
        _add(total, *_dot(op))
      elif op.name == 'stablehlo.convolution':
        _add(total, *_convolution(op))
      elif op.name == 'stablehlo.custom_call':
        if flops := _attention(op):
          _add(total, *flops)
      elif op.name == 'stablehlo.while':
        trips = trip_count(op, made)
        for dtype, flops in self._block(op.blocks[1], made).items():
          _add(total, dtype, flops * trips)
      elif op.name in {'stablehlo.case', 'stablehlo.if'}:
        branches = (self._block(branch, made) for branch in op.blocks)
        total.update(max(branches, key=lambda count: sum(count.values())))
      elif op.name == 'func.call':
        total.update(self.function(op.symbols[0]))
    return total


def trip_count(loop: Op, made: dict[int, Op]) -> int:
  """How often a `while` runs when it counts from 0 to a constant, as jax's scans do; else 1."""
  condition = loop.blocks[0]
  inside = {result: op for op in condition.ops for result in op.results}
  last = inside.get(condition.ops[-1].operands[0])
  if last is None or last.name != 'stablehlo.compare' or ' LT>' not in str(last.attributes):
    return 1
  counter, limit = last.operands
  source = inside.get(limit) or made.get(limit)
  if source is None and limit in condition.arguments:
    source = made.get(loop.operands[condition.arguments.index(limit)])
  if counter not in condition.arguments or source is None:
    return 1
  found = re.search(r'dense<(\d+)>', str(source.attributes))
  return max(1, min(int(found[1]), 2**31)) if found else 1


def _add(total: collections.Counter[str], dtype: str, flops: float) -> None:
  total[dtype] += flops  # pyright: ignore[reportArgumentType] - a Counter may hold floats


def _dot(op: Op) -> tuple[str, float]:
  left, right, out = (tensor(text) for text in op.types[:3])
  found = re.search(r'lhs_contracting_dimensions = \[([\d, ]*)\]', str(op.attributes))
  if left is None or right is None or out is None:
    return 'other', 0.0
  axes = [int(axis) for axis in found[1].split(',')] if found else []
  depth = math.prod(left[0][axis] for axis in axes)
  return _wider(left[1], right[1]), 2.0 * math.prod(out[0]) * depth


def _convolution(op: Op) -> tuple[str, float]:
  left, kernel, out = (tensor(text) for text in op.types[:3])
  found = re.search(r'x\[([^\]]*)\]->', str(op.attributes))
  if left is None or kernel is None or out is None or not found:
    return 'other', 0.0
  features = kernel[0][[axis.strip() for axis in found[1].split(',')].index('o')]
  depth = math.prod(kernel[0]) / max(1, features)
  return _wider(left[1], kernel[1]), 2.0 * math.prod(out[0]) * depth


def _attention(op: Op) -> tuple[str, float] | None:
  """Of cuDNN's causal attention, whose operands are [batch, time, heads, head_dim]; else None."""
  attributes = dict(op.attributes)
  q = tensor(op.types[0]) if op.types else None
  each = _CUDNN.get(attributes.get('call_target_name', ''), 0.0)
  if not each or q is None or len(q[0]) != 4:
    return None
  batch, time, heads, head_dim = q[0]
  found = _WINDOW.search(attributes.get('backend_config', ''))
  seen = min(int(found[1]) if found else 0, time) or time  # keys, the own position included
  pairs = seen * time - seen * (seen - 1) // 2
  return q[1], each * batch * heads * head_dim * pairs


def _wider(left: str, right: str) -> str:
  return max(left, right, key=lambda name: int(re.sub(r'\D', '', name.split('_')[0]) or 0))
