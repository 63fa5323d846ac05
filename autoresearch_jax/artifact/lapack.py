"""Checks the shapes of LAPACK custom calls.

jax's CPU kernels compute the size of their outputs from their inputs and do not check the output
buffers. A module that declares a smaller result would therefore overwrite memory of the runner. A
program can emit such a call through `jax.ffi`, so the artifact's reader compares the shapes of each
call with those that jax itself would emit.
"""

import re
from collections.abc import Callable

from autoresearch_jax.artifact.graph import Op
from autoresearch_jax.artifact.matmuls import parse_tensor

Dims = tuple[int, ...]
# (operand shapes, batch sizes, rows and columns of the first operand, attributes) -> result shapes,
# or None when the operands are invalid.
ShapeRule = Callable[[list[Dims], Dims, int, int, str], list[Dims] | None]

_ALIAS = re.compile(r'output_tuple_indices = \[(\d*)\], operand_index = (\d+)')


def has_valid_shapes(target: str, op: Op) -> bool:
  """Whether the shapes of a custom call are those that jax emits.

  Of other kernels than LAPACK's, only aliased buffers are checked.

  Args:
    target: Name of the kernel.
    op: The custom call.
  """
  found = [parse_tensor(text) for text in op.types]
  shapes = [each[0] for each in found if each is not None]
  if len(shapes) != len(found) or not _has_valid_aliases(op, shapes):
    return False
  if target not in _RULES:
    return not target.startswith('lapack_')
  operands, results = shapes[: len(op.operands)], shapes[len(op.operands) :]
  if len(operands) != (2 if target in _TWO_OPERANDS else 1) or any(
    len(s) < 2 for s in operands[:1]
  ):
    return False
  *batch, rows, columns = operands[0]
  expected = _RULES[target](operands, tuple(batch), rows, columns, str(op.attributes))
  return expected == results


def _has_valid_aliases(op: Op, shapes: list[Dims]) -> bool:
  """Whether results that alias operands have the shapes of those operands."""
  pairs = [(int(out or 0), int(operand)) for out, operand in _ALIAS.findall(str(op.attributes))]
  operands, results = shapes[: len(op.operands)], shapes[len(op.operands) :]
  return all(
    out < len(results) and operand < len(operands) and results[out] == operands[operand]
    for out, operand in pairs
  )


def _geqrf(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  return [operands[0], (*batch, min(m, n))]


def _orgqr(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  taus = operands[1]
  return [operands[0]] if taus[:-1] == batch and taus and taus[-1] <= n <= m else None


def _potrf(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  return [operands[0], batch] if m == n else None


def _trsm(operands: list[Dims], batch: Dims, m: int, n: int, attributes: str) -> list[Dims] | None:
  other = operands[1]
  side = {'L': -2, 'R': -1}.get(_letter('side', attributes), 0)
  fit = side and len(other) == len(batch) + 2 and other[:-2] == batch and m == n == other[side]
  return [other] if fit else None


def _getrf(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  return [operands[0], (*batch, min(m, n)), batch]


def _syevd(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  return [operands[0], (*batch, n), batch] if m == n else None


def _gesdd(operands: list[Dims], batch: Dims, m: int, n: int, attributes: str) -> list[Dims] | None:
  k = min(m, n)
  # Without vectors, jax still allocates all of them.
  sizes = {'A': (m, n), 'N': (m, n), 'S': (k, k)}.get(_letter('mode', attributes))
  if sizes is None:
    return None
  left, right = (*batch, m, sizes[0]), (*batch, sizes[1], n)
  return [operands[0], (*batch, k), left, right, batch]


def _geqp3(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  pivots = (*batch, n)
  return [operands[0], pivots, (*batch, min(m, n))] if operands[1] == pivots else None


def _geev(operands: list[Dims], batch: Dims, m: int, n: int, _: str) -> list[Dims] | None:
  values, vectors = (*batch, n), (*batch, n, n)
  return [values, values, vectors, vectors, batch] if m == n else None


def _letter(name: str, attributes: str) -> str:
  """The character that a kernel's attribute encodes; '' when it is missing or ambiguous."""
  found = re.findall(rf'\b{name} = (\d+) : ui8', attributes)
  return chr(int(found[0])) if len(found) == 1 else ''


_RULES: dict[str, ShapeRule] = {
  'lapack_sgeqrf_ffi': _geqrf,
  'lapack_sorgqr_ffi': _orgqr,
  'lapack_spotrf_ffi': _potrf,
  'lapack_strsm_ffi': _trsm,
  'lapack_sgetrf_ffi': _getrf,
  'lapack_ssyevd_ffi': _syevd,
  'lapack_sgesdd_ffi': _gesdd,
  'lapack_sgeqp3_ffi': _geqp3,
  'lapack_sgeev_ffi': _geev,
}
_TWO_OPERANDS = frozenset({'lapack_sorgqr_ffi', 'lapack_strsm_ffi', 'lapack_sgeqp3_ffi'})
