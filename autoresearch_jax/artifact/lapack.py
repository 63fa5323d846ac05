"""Checks the shapes and options of LAPACK custom calls.

jax's CPU kernels compute the size of their outputs from their inputs and do not check the output
buffers. A module that declares a smaller result would therefore overwrite memory of the runner. A
program can emit such a call through `jax.ffi`, so the artifact's reader compares each call with
those that jax itself would emit.
"""

import dataclasses
import re
from collections.abc import Callable

from autoresearch_jax.artifact.graph import Op
from autoresearch_jax.artifact.matmuls import parse_tensor

Dims = tuple[int, ...]

_ALIAS = re.compile(r'output_tuple_indices = \[(\d*)\], operand_index = (\d+)')


@dataclasses.dataclass(frozen=True)
class _LapackCall:
  """A call of a LAPACK kernel.

  Attributes:
    operands: Shapes of the operands.
    results: Shapes of the results.
    batch: Leading axes of the matrix that the kernel decomposes or solves.
    m: Its rows.
    n: Its columns.
    attributes: The operation's attributes as text.
    is_complex: Whether the kernel is for complex numbers.
  """

  operands: list[Dims]
  results: list[Dims]
  batch: Dims
  m: int
  n: int
  attributes: str
  is_complex: bool

  @property
  def k(self) -> int:
    return min(self.m, self.n)

  def letter(self, name: str, allowed: str) -> str:
    """The character that an option encodes; '' if it is missing, ambiguous or not allowed."""
    found = re.findall(rf'\b{name} = (\d+) : ui8', self.attributes)
    letter = chr(int(found[0])) if len(found) == 1 else ''
    return letter if letter in allowed else ''

  def flag(self, name: str) -> bool | None:
    """The value of a boolean option; None if it is missing or ambiguous."""
    found = re.findall(rf'\b{name} = (true|false)\b', self.attributes)
    return found[0] == 'true' if len(found) == 1 else None

  def integer(self, name: str) -> int | None:
    """The value of an int32 option; None if it is missing or ambiguous."""
    found = re.findall(rf'\b{name} = (-?\d+) : i32', self.attributes)
    return int(found[0]) if len(found) == 1 else None


# Shapes of the results that jax declares for a call; None if it would not emit the call.
_Rule = Callable[[_LapackCall], list[Dims] | None]


def is_valid(target: str, op: Op) -> bool:
  """Whether a custom call has shapes and options that jax emits.

  Of kernels outside of LAPACK, only aliased buffers are checked.

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
  rule, count, matrix = _RULES[target]
  if len(operands) != count or len(operands[matrix]) < 2:
    return False
  *batch, rows, columns = operands[matrix]
  is_complex = target.startswith('lapack_c')
  call = _LapackCall(operands, results, tuple(batch), rows, columns, str(op.attributes), is_complex)
  return rule(call) == results


def _has_valid_aliases(op: Op, shapes: list[Dims]) -> bool:
  """Whether results that alias operands have the shapes of those operands."""
  pairs = [(int(out or 0), int(operand)) for out, operand in _ALIAS.findall(str(op.attributes))]
  operands, results = shapes[: len(op.operands)], shapes[len(op.operands) :]
  return all(
    out < len(results) and operand < len(operands) and results[out] == operands[operand]
    for out, operand in pairs
  )


def _geqrf(call: _LapackCall) -> list[Dims]:
  return [call.operands[0], (*call.batch, call.k)]


def _orgqr(call: _LapackCall) -> list[Dims] | None:
  taus = call.operands[1]
  fit = taus and taus[:-1] == call.batch and taus[-1] <= call.n <= call.m
  return [call.operands[0]] if fit else None


def _ormqr(call: _LapackCall) -> list[Dims] | None:
  _, taus, other = call.operands
  left = call.flag('left')
  if left is None or call.flag('transpose') is None or len(other) != len(call.batch) + 2:
    return None
  fit = taus and taus[:-1] == call.batch == other[:-2] and taus[-1] <= call.k
  return [other] if fit and call.m == other[-2 if left else -1] else None


def _potrf(call: _LapackCall) -> list[Dims] | None:
  square = call.m == call.n and call.letter('uplo', 'LU')
  return [call.operands[0], call.batch] if square else None


def _trsm(call: _LapackCall) -> list[Dims] | None:
  other = call.operands[1]
  options = (('uplo', 'LU'), ('trans_x', 'NTC'), ('diag', 'NU'))
  side = {'L': -2, 'R': -1}.get(call.letter('side', 'LR'), 0)
  if not side or not all(call.letter(*option) for option in options):
    return None
  fit = len(other) == len(call.batch) + 2 and other[:-2] == call.batch
  return [other] if fit and call.m == call.n == other[side] else None


def _getrf(call: _LapackCall) -> list[Dims]:
  return [call.operands[0], (*call.batch, call.k), call.batch]


def _syevd(call: _LapackCall) -> list[Dims] | None:
  options = call.letter('mode', 'VN') and call.letter('uplo', 'LU')
  if call.m != call.n or not options:
    return None
  return [call.operands[0], (*call.batch, call.n), call.batch]


def _gesdd(call: _LapackCall) -> list[Dims] | None:
  """Singular values. Without vectors LAPACK touches neither result, but jax declares them."""
  full, reduced = (call.m, call.n), (call.k, call.k)
  mode = call.letter('mode', 'ASN')
  if not mode:
    return None
  allowed = {'A': [full], 'S': [reduced], 'N': [full, reduced]}[mode]
  choices = [
    [
      call.operands[0],
      (*call.batch, call.k),
      (*call.batch, call.m, left),
      (*call.batch, right, call.n),
      call.batch,
    ]
    for left, right in allowed
  ]
  return call.results if call.results in choices else None


def _geqp3(call: _LapackCall) -> list[Dims] | None:
  pivots = (*call.batch, call.n)
  fit = call.operands[1] == pivots
  return [call.operands[0], pivots, (*call.batch, call.k)] if fit else None


def _geev(call: _LapackCall) -> list[Dims] | None:
  options = call.letter('compute_left', 'VN') and call.letter('compute_right', 'VN')
  if call.m != call.n or not options:
    return None
  values = [(*call.batch, call.n)] * (1 if call.is_complex else 2)  # real and imaginary parts
  return [*values, call.operands[0], call.operands[0], call.batch]


def _gees(call: _LapackCall) -> list[Dims] | None:
  # With another `sort`, LAPACK would call a function that jax does not pass.
  options = call.letter('mode', 'VN') and call.letter('sort', 'N')
  if call.m != call.n or not options:
    return None
  values = [(*call.batch, call.n)] * (1 if call.is_complex else 2)
  return [call.operands[0], call.operands[0], *values, call.batch, call.batch]


def _gehrd(call: _LapackCall) -> list[Dims] | None:
  whole = call.integer('low') == 1 and call.integer('high') == call.n
  if call.m != call.n or not call.n or not whole:
    return None
  return [call.operands[0], (*call.batch, call.n - 1), call.batch]


def _sytrd(call: _LapackCall) -> list[Dims] | None:
  if call.m != call.n or not call.n or not call.letter('uplo', 'LU'):
    return None
  off_diagonal = (*call.batch, call.n - 1)
  return [call.operands[0], (*call.batch, call.n), off_diagonal, off_diagonal, call.batch]


def _gtsv(call: _LapackCall) -> list[Dims] | None:
  """A tridiagonal solve; the first three operands are the diagonals."""
  solution = _tridiagonal(call)
  return [*call.operands, call.batch] if solution else None


def _tridiagonal(call: _LapackCall) -> list[Dims] | None:
  *diagonals, right = call.operands
  fit = all(diagonal == right[:-1] for diagonal in diagonals)
  return [right] if fit else None


# Kernel for real numbers -> its rule, the number of its operands, and which of them is the matrix.
_REAL_RULES: dict[str, tuple[_Rule, int, int]] = {
  'geqrf': (_geqrf, 1, 0),
  'orgqr': (_orgqr, 2, 0),
  'ormqr': (_ormqr, 3, 0),
  'potrf': (_potrf, 1, 0),
  'trsm': (_trsm, 2, 0),
  'getrf': (_getrf, 1, 0),
  'syevd': (_syevd, 1, 0),
  'gesdd': (_gesdd, 1, 0),
  'gesvd': (_gesdd, 1, 0),
  'geqp3': (_geqp3, 2, 0),
  'geev': (_geev, 1, 0),
  'gees': (_gees, 1, 0),
  'gehrd': (_gehrd, 1, 0),
  'sytrd': (_sytrd, 1, 0),
  'gtsv': (_gtsv, 4, 3),
}
_COMPLEX_NAMES = {'orgqr': 'ungqr', 'ormqr': 'unmqr', 'syevd': 'heevd', 'sytrd': 'hetrd'}
_RULES: dict[str, tuple[_Rule, int, int]] = {
  **{f'lapack_s{name}_ffi': rule for name, rule in _REAL_RULES.items()},
  **{f'lapack_c{_COMPLEX_NAMES.get(name, name)}_ffi': rule for name, rule in _REAL_RULES.items()},
  'tridiagonal_solve_perturbed_ffi': (_tridiagonal, 4, 3),
}
TARGETS = frozenset(_RULES)
