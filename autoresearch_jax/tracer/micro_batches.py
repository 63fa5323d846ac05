"""Lets devices that share a batch also share the micro-batches that a program makes of it.

A program that accumulates gradients reshapes its batch to `[parts, rows, ...]` and scans over the
parts. The batch arrives split over the devices along its rows, so XLA would split the parts, gather
all of them for the scan, and compute everything on each device. Here the rows of each part are
split instead. That moves the batch between devices once, and changes no number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import source_info_util
from jax.extend.core import Jaxpr, JaxprEqn, Literal
from jax.sharding import NamedSharding, PartitionSpec

from autoresearch_jax.ops import data_parallel

# Primitives that rearrange a batch, but compute nothing with it.
_REARRANGING = frozenset(
  ('reshape', 'transpose', 'squeeze', 'expand_dims', 'convert_element_type', 'copy', 'copy_p')
)


def share_micro_batches(
  train_step: Callable[..., tuple[jax.Array, ...]], num_leaves: int
) -> Callable[..., tuple[jax.Array, ...]]:
  """The same train step with each micro-batch split over the devices, where they divide it.

  Args:
    train_step: (*leaves, inputs, targets, progress) -> results.
    num_leaves: Number of leaves.
  """

  def shared(*arguments: jax.Array) -> tuple[jax.Array, ...]:
    closed = jax.make_jaxpr(train_step)(*arguments)
    rows = arguments[num_leaves].shape[0]
    batch = {*closed.jaxpr.invars[num_leaves : num_leaves + 2]}
    evaluation = _Evaluation(rows)
    return tuple(evaluation.run(closed.jaxpr, closed.consts, arguments, batch))

  return shared


class _Evaluation:
  """Evaluates a jaxpr, with a hint at every scan over micro-batches.

  Args:
    rows: Rows of the batch.
  """

  def __init__(self, rows: int):
    self._rows = rows

  def run(
    self, jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any], batch: set[Any]
  ) -> list[Any]:
    """The results; `batch` has the variables that are a rearranged batch, and is added to."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
      return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
      source = equation.source_info
      stack = source_info_util.current_name_stack() + source.name_stack
      with source_info_util.user_context(source.traceback, name_stack=stack), equation.ctx.manager:
        results = self._evaluate(equation, [read(each) for each in equation.invars], batch)
      values.update(zip(equation.outvars, results, strict=True))
    return [read(each) for each in jaxpr.outvars]

  def _evaluate(self, equation: JaxprEqn, operands: list[Any], batch: set[Any]) -> list[Any]:
    primitive, variables = equation.primitive, equation.invars
    is_batch = [not isinstance(each, Literal) and each in batch for each in variables]
    if primitive.name in _REARRANGING and is_batch[0]:
      batch.add(equation.outvars[0])
    if primitive.name in ('jit', 'pjit') and any(is_batch):
      inner = equation.params['jaxpr']
      known = {inside for inside, each in zip(inner.jaxpr.invars, is_batch, strict=True) if each}
      if _is_worth_evaluating(inner.jaxpr):
        results = self.run(inner.jaxpr, inner.consts, operands, known)
        pairs = zip(equation.outvars, inner.jaxpr.outvars, strict=True)
        batch.update(out for out, each in pairs if not isinstance(each, Literal) and each in known)
        return results
    if primitive.name == 'scan':
      first = equation.params['num_consts'] + equation.params['num_carry']
      for i in range(first, len(operands)):
        if is_batch[i] and self._is_micro_batches(operands[i].shape):
          split = PartitionSpec(None, data_parallel.AXIS)
          sharding = NamedSharding(data_parallel.mesh(), split)
          operands[i] = jax.lax.with_sharding_constraint(operands[i], sharding)
    results = primitive.bind(*operands, **primitive.get_bind_params(equation.params))
    return list(results) if primitive.multiple_results else [results]

  def _is_micro_batches(self, shape: tuple[int, ...]) -> bool:
    """Whether an array is the batch as `[parts, rows, ...]`, with rows for every device."""
    if len(shape) < 2:
      return False
    parts, rows = shape[:2]
    return parts * rows == self._rows and data_parallel.num_shares(rows) > 1


def _is_worth_evaluating(jaxpr: Jaxpr) -> bool:
  """Whether a jaxpr may scan over micro-batches, or only rearranges its arguments."""
  names = {equation.primitive.name for equation in jaxpr.eqns}
  return bool(names & {'scan', 'jit', 'pjit'}) or names <= _REARRANGING
