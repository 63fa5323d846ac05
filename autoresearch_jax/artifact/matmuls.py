"""Counts the FLOPs of a module's matrix products and convolutions, by dtype.

The count comes from the graph, before anything is compiled. The runner uses it to choose the steps
of one call, and the record of a trial shows by it whether a program really computes in bfloat16.

Of custom calls, cuDNN's attention counts with the keys that its mask and window leave visible,
without recomputation in the backward pass. Other kernels, such as Pallas', do not declare their
work and count as zero.
"""

import collections
import math
import re

from autoresearch_jax.artifact.graph import MANUAL_COMPUTATION, BasicBlock, Graph, Op

_TENSOR = re.compile(r'tensor<(?:([0-9x]+)x)?([a-zA-Z][a-zA-Z0-9]*)>')
_WINDOW = re.compile(r'sliding_window_length(?:\\22|")\s*:\s*(\d{1,9})')
# cuDNN's attention kernels -> FLOPs for each (query, key) pair and feature: two products forward,
# four backward.
_CUDNN_FLOPS = {'"__cudnn$fmhaSoftmax"': 4.0, '"__cudnn$fmhaSoftmaxBackward"': 8.0}
_DTYPES = {
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


def parse_tensor(text: str) -> tuple[tuple[int, ...], str] | None:
  """Shape and dtype name of an MLIR tensor type; None unless it is a tensor of static shape."""
  text = text.replace('complex<f32>', 'complex')
  found = _TENSOR.fullmatch(text)
  if not found:
    return None
  shape = tuple(int(size) for size in found[1].split('x')) if found[1] else ()
  name = 'complex64' if found[2] == 'complex' else _DTYPES.get(found[2])
  return (shape, name) if name else None


def matmul_flops(graph: Graph, kernels: bool = True) -> dict[str, float]:
  """FLOPs of one call of `main`, by dtype of the operands.

  The body of a loop counts as often as it runs where that is evident (see `trip_count`), else once.
  What each device runs on its share of a batch counts for all devices.

  Args:
    graph: The module.
    kernels: Whether the products inside of cuDNN's attention count.
  """
  return dict(_FlopCounter(graph, kernels).function('main'))


class _FlopCounter:
  """Sums FLOPs over the functions of a module, each of which is counted once and cached."""

  def __init__(self, graph: Graph, kernels: bool):
    self.graph = graph
    self._kernels = kernels
    self._counts: dict[str, collections.Counter[str]] = {}
    self._open: set[str] = set()

  def function(self, name: str) -> collections.Counter[str]:
    if name in self._open or name not in self.graph.functions:
      return collections.Counter()  # recursive, which no compiler accepts either
    if name not in self._counts:
      self._open.add(name)
      self._counts[name] = self._block(self.graph.functions[name], {})
      self._open.discard(name)
    return self._counts[name]

  def _block(self, block: BasicBlock, producers: dict[int, Op]) -> collections.Counter[str]:
    """FLOPs of one block.

    Args:
      block: The block.
      producers: Value -> operation that produces it, in the enclosing blocks; the block's own are
        added.
    """
    total: collections.Counter[str] = collections.Counter()
    producers |= {result: op for op in block.ops for result in op.results}
    for op in block.ops:
      if op.name == 'stablehlo.dot_general':
        _add(total, *_dot(op))
      elif op.name == 'stablehlo.convolution':
        _add(total, *_convolution(op))
      elif op.name == 'stablehlo.custom_call':
        if self._kernels and (flops := _attention(op)):
          _add(total, *flops)
      elif op.name == 'stablehlo.while':
        trips = trip_count(op, producers)
        for dtype, flops in self._block(op.blocks[1], producers).items():
          _add(total, dtype, flops * trips)
      elif op.name in {'stablehlo.case', 'stablehlo.if'}:
        branches = (self._block(branch, producers) for branch in op.blocks)
        total.update(max(branches, key=lambda count: sum(count.values())))
      elif op.name == MANUAL_COMPUTATION:
        for dtype, flops in self._block(op.blocks[0], producers).items():
          _add(total, dtype, flops * self.graph.num_devices)
      elif op.name == 'func.call':
        total.update(self.function(op.symbols[0]))
    return total


def trip_count(loop: Op, producers: dict[int, Op]) -> int:
  """Iterations of a `while` that counts from 0 to a constant, as jax's scans do; else 1."""
  condition = loop.blocks[0]
  inside = {result: op for op in condition.ops for result in op.results}
  last = inside.get(condition.ops[-1].operands[0])
  if last is None or last.name != 'stablehlo.compare' or ' LT>' not in str(last.attributes):
    return 1
  counter, limit = last.operands
  source = inside.get(limit) or producers.get(limit)
  if source is None and limit in condition.arguments:
    source = producers.get(loop.operands[condition.arguments.index(limit)])
  if counter not in condition.arguments or source is None:
    return 1
  found = re.search(r'dense<(\d+)>', str(source.attributes))
  return max(1, min(int(found[1]), 2**31)) if found else 1


def _add(total: collections.Counter[str], dtype: str, flops: float) -> None:
  total[dtype] += flops  # pyright: ignore[reportArgumentType] - a Counter may hold floats


def _dot(op: Op) -> tuple[str, float]:
  left, right, out = (parse_tensor(text) for text in op.types[:3])
  found = re.search(r'lhs_contracting_dimensions = \[([\d, ]*)\]', str(op.attributes))
  if left is None or right is None or out is None:
    return 'other', 0.0
  axes = [int(axis) for axis in found[1].split(',')] if found else []
  depth = math.prod(left[0][axis] for axis in axes)
  return _wider(left[1], right[1]), 2.0 * math.prod(out[0]) * depth


def _convolution(op: Op) -> tuple[str, float]:
  left, kernel, out = (parse_tensor(text) for text in op.types[:3])
  found = re.search(r'x\[([^\]]*)\]->', str(op.attributes))
  if left is None or kernel is None or out is None or not found:
    return 'other', 0.0
  features = kernel[0][[axis.strip() for axis in found[1].split(',')].index('o')]
  depth = math.prod(kernel[0]) / max(1, features)
  return _wider(left[1], kernel[1]), 2.0 * math.prod(out[0]) * depth


def _attention(op: Op) -> tuple[str, float] | None:
  """Dtype and FLOPs of cuDNN's causal attention on [batch, time, heads, head_dim]; else None."""
  attributes = dict(op.attributes)
  q = parse_tensor(op.types[0]) if op.types else None
  flops_per_pair = _CUDNN_FLOPS.get(attributes.get('call_target_name', ''), 0.0)
  if not flops_per_pair or q is None or len(q[0]) != 4:
    return None
  batch, time, heads, head_dim = q[0]
  found = _WINDOW.search(attributes.get('backend_config', ''))
  window = min(int(found[1]) if found else 0, time) or time  # keys, the own position included
  pairs = window * time - window * (window - 1) // 2
  return q[1], flops_per_pair * batch * heads * head_dim * pairs


def _wider(left: str, right: str) -> str:
  return max(left, right, key=lambda name: int(re.sub(r'\D', '', name.split('_')[0]) or 0))
