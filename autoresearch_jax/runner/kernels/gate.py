"""Compares a kernel's outputs with the reference's.

The truth is the reference in float64. An output passes if |output - truth| is at most
rtol |truth| + atol max |truth|, so that one pair of tolerances serves inputs of all sizes. At each
value the kernel may also be REFERENCE_SLACK times as far off as the reference is there in its own
dtypes. Where the reference happens to be exact, its typical error counts instead, see
`_typical_error`. Integers and booleans must be equal. Compared is what the reference defines: where
it is infinite in both precisions, the kernel must be the same infinity; where it is NaN, or
overflows in its own dtype, the kernel may be anything.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from autoresearch_jax.programs.contract import FLOATS
from autoresearch_jax.runner.kernels.inputs import KINDS, Arrays
from autoresearch_jax.types import KernelSpec

REFERENCE_SLACK = 4.0
TYPICAL_QUANTILE = 0.99  # of the reference's errors; a rarer one allows nothing elsewhere
CAP_QUANTILE, CAP = 0.9, 10.0  # the quantile above is at most CAP times this one
# dtype -> (rtol, atol, what a result that is flushed to zero may lose)
TOLERANCES = {
  'float32': (1e-4, 1e-5, 2.0**-116),
  'bfloat16': (2e-2, 4e-3, 2.0**-116),
  'float16': (2e-3, 1e-3, 2.0**-22),
}
_LOOSE = (0.25, 0.25, 2.0**-4)  # of dtypes with 8 bits


class GateError(Exception):
  """The kernel's outputs differ from the reference's; the message says where and by how much."""


@dataclasses.dataclass(frozen=True)
class Case:
  """Inputs with what the reference makes of them.

  Attributes:
    kind: Kind of the inputs, one of `inputs.KINDS`.
    arguments: Inputs and cotangents.
    own: The reference's outputs, in its own dtypes.
    truth: The same in float64; equal to `own` where the reference cannot be traced in float64.
  """

  kind: str
  arguments: Arrays
  own: Arrays
  truth: Arrays


def check(case: Case, outputs: Arrays, names: Sequence[str], kernel: KernelSpec) -> float:
  """Compares outputs with the reference's, and returns the share of the tolerance that they use.

  Args:
    case: Inputs and reference.
    outputs: What the kernel returned.
    names: Name of each output, for messages.
    kernel: Has the tolerances.

  Raises:
    GateError: An output is further off.
  """
  used = 0.0
  for name, output, own, truth in zip(names, outputs, case.own, case.truth, strict=True):
    dtype = str(own.dtype)
    if dtype in FLOATS:
      tolerances = tolerances_of(dtype, kernel)
      shares = _shares(output, own, truth, *tolerances)
      within = (
        f'the tolerance (rtol {tolerances[0]:g}, atol {tolerances[1]:g} of the largest value)'
      )
    else:
      shares = np.where(output == own, 0.0, np.inf)
      within = 'an integer output, which must be equal'
    used = max(used, float(shares.max(initial=0.0)))
    if not used <= 1:
      raise GateError(_difference(case.kind, name, output, truth, shares, within))
  return used


def tolerances_of(dtype: str, kernel: KernelSpec) -> tuple[float, float, float]:
  """rtol, atol and the loss by flushing to zero of an output."""
  rtol, atol, flushed = TOLERANCES.get(dtype, _LOOSE)
  rtol = rtol if kernel.rtol is None else kernel.rtol
  return rtol, atol if kernel.atol is None else kernel.atol, flushed


def _shares(
  output: np.ndarray, own: np.ndarray, truth: np.ndarray, rtol: float, atol: float, flushed: float
) -> np.ndarray:
  """What each value uses of its tolerance: above 1 is an error, and so is infinity."""
  output, own = output.astype(np.float64), own.astype(np.float64)
  truth = truth.astype(np.float64)
  defined = np.isfinite(truth) & np.isfinite(own)
  infinite = np.isinf(truth) & (own == truth)
  scale = np.abs(truth, where=defined, out=np.zeros_like(truth)).max(initial=0.0)
  with np.errstate(all='ignore'):
    allowed = rtol * np.abs(truth) + atol * scale + flushed
    errors = np.where(defined, np.abs(own - truth) / allowed, 0.0)
    errors = np.maximum(errors, _typical_error(errors[defined]))
    shares = np.abs(output - truth) / allowed / np.maximum(1.0, REFERENCE_SLACK * errors)
  shares = np.where(np.isfinite(output), shares, np.inf)
  return np.where(defined, shares, np.where(infinite & (output != truth), np.inf, 0.0))


def _typical_error(errors: np.ndarray) -> float:
  """A high quantile of the reference's errors, which few inaccurate values do not raise.

  Args:
    errors: [values], as fractions of their tolerances.
  """
  if not errors.size:
    return 0.0
  common, high = np.quantile(errors, (CAP_QUANTILE, TYPICAL_QUANTILE), method='lower')
  return float(min(high, CAP * common))


def _difference(
  kind: str, name: str, output: np.ndarray, truth: np.ndarray, shares: np.ndarray, within: str
) -> str:
  worst = np.unravel_index(int(np.argmax(shares)), shares.shape)
  place = f'[{", ".join(map(str, worst))}]' if worst else ''
  wrong, share = int((shares > 1).sum()), float(shares[worst])
  far = f', {share:.3g} times {within}' if np.isfinite(share) else ''
  return (
    f'The kernel differs from the reference on {KINDS[kind]} inputs: {name}{place} is '
    f'{float(output[worst]):.6g} and must be {float(truth[worst]):.6g}{far}. {wrong:,} of '
    f'{shares.size:,} values differ. Compute what the reference computes, for all inputs.'
  )


def host(arrays: Sequence[object]) -> Arrays:
  """Device arrays on the host."""
  return [np.asarray(each) for each in arrays]


Run = Callable[[Arrays], Arrays]


def case(kind: str, arguments: Arrays, own: Run, exact: Run | None) -> Case:
  """Evaluates the reference on some inputs.

  Args:
    kind: Kind of the inputs.
    arguments: Inputs and cotangents.
    own: The reference in its own dtypes.
    exact: The reference in float64, if it has that.
  """
  outputs = own(arguments)
  if exact is None:
    return Case(kind, arguments, outputs, outputs)
  in_float64 = [x.astype(np.float64) if str(x.dtype) in FLOATS else x for x in arguments]
  truths = exact(in_float64)
  return Case(kind, arguments, outputs, [np.asarray(each) for each in truths])
