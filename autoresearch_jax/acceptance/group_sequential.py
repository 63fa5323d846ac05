"""Group sequential tests: spending functions, boundaries, and the decision at one interim look.

A test that stops at the first look with a low p-value is wrong far more often than that p-value.
Lan & DeMets (Biometrika 1983) fix in advance how much of alpha may be spent by the time that the
information fraction is t; each look then gets the boundary that spends its part and no more. The
boundary comes from the recursion of Armitage, McPherson & Rowe (JRSS A 1969) over the previous
looks, as in Jennison & Turnbull, Group Sequential Methods (2000), chapter 19.

Boundaries are on the z scale: z = gain · √information, where information is 1 / variance of the
gain, in units of the seed variance. Student's t quantile with the same tail probability turns a
boundary into a critical value for the estimated standard error. Nothing here knows about trials;
`sequential.py` does.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special

from autoresearch_jax.acceptance.noise import NoiseState, describe_test

NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)
MAX_BOUNDARY = 38.0  # the normal tail beyond it is 0 in float64: a boundary that is never crossed
MAX_Z = 9.0  # standard deviations of the score that are integrated over
MAX_LOOK = 1000  # runs or pairs at the last look
MIN_TAIL = 1e-100  # a smaller tail is no chance at all, and SciPy's quantile fails below 1e-238


def obrien_fleming(alpha: float, fraction: float) -> float:
  """Alpha spent so far: almost none early, so that the last look is nearly as sharp as one test.

  2 - 2 Φ(z / √t) with Φ(z) = 1 - alpha/2: Lan & DeMets' α₁*, similar to O'Brien & Fleming's bounds.
  """
  return float(2 * scipy.special.ndtr(scipy.special.ndtri(alpha / 2) / math.sqrt(fraction)))


def pocock(alpha: float, fraction: float) -> float:
  """Alpha spent so far: nearly proportional to t, so that a large gain is detected early.

  alpha · ln(1 + (e - 1) t): Lan & DeMets' α₂*, similar to Pocock's bounds.
  """
  return alpha * math.log1p((math.e - 1) * fraction)


def kim_demets(alpha: float, fraction: float) -> float:
  """Alpha spent so far: alpha · t², Kim & DeMets (Biometrika 1987) with exponent 2.

  Between the other two, and better than both where few degrees of freedom make small levels
  expensive: a gain of ten standard deviations is kept at the first or second look (O'Brien &
  Fleming's function needs five runs for it), and the last look is only slightly less sharp.
  """
  return alpha * fraction**2


SPENDING_FUNCTIONS: dict[str, Callable[[float, float], float]] = {
  'kim_demets': kim_demets,
  'obrien_fleming': obrien_fleming,
  'pocock': pocock,
}


def require_options(name: str, options: Any) -> None:
  """Raises ValueError for common options out of range. name: that of the acceptance rule."""
  if options.baseline_seeds < 2:
    raise ValueError(
      f'baseline_seeds is {options.baseline_seeds}; the acceptance rule {name} needs at least 2 to '
      "estimate the noise. The rule 'strict' works with 1."
    )
  if not 0 < options.alpha < 1:
    raise ValueError(f'alpha is {options.alpha}; it must be between 0 and 1.')
  if options.horizon < 1:
    raise ValueError(f'horizon is {options.horizon}; it must be at least 1.')
  if not 0 <= options.min_gain < math.inf:
    raise ValueError(f'min_gain is {options.min_gain}; it must be finite and at least 0.')
  looks = options.looks
  increasing = all(a < b for a, b in zip((0, *looks), looks, strict=False))
  if not looks or not increasing or looks[-1] > MAX_LOOK:
    raise ValueError(
      f'looks is {looks}; it must be increasing, such as (2, 4, 8), and end at {MAX_LOOK} or below.'
    )
  if options.spending_function not in SPENDING_FUNCTIONS:
    raise ValueError(
      f'spending_function is {options.spending_function!r}; it must be one of: '
      f'{", ".join(SPENDING_FUNCTIONS)}.'
    )


@dataclasses.dataclass(frozen=True)
class Look:
  """A look that did not end the test: z was above `lower` and not above `upper`.

  Attributes:
    information: 1 / variance of the gain, in units of the seed variance.
    lower: The futility boundary.
    upper: The efficacy boundary.
  """

  information: float
  lower: float
  upper: float


@dataclasses.dataclass(frozen=True)
class SequentialDesign:
  """The design of one test.

  Attributes:
    alpha: Probability of keeping a program without effect, over all looks.
    spending_function: A name in SPENDING_FUNCTIONS.
    max_information: Information when both programs have all their runs.
    min_gain: Futility: a smaller gain, in seed standard deviations, ends the test.
  """

  alpha: float
  spending_function: str
  max_information: float
  min_gain: float

  def alpha_spent(self, fraction: float) -> float:
    """Returns the alpha that may be spent by this information fraction."""
    return SPENDING_FUNCTIONS[self.spending_function](self.alpha, fraction)


@dataclasses.dataclass(frozen=True)
class InterimData:
  """What is known at a look.

  Attributes:
    gain: Difference of the means; positive is better.
    information: 1 / variance of the gain, in units of the seed variance.
    previous_looks: Earlier looks of this test.
    alpha_spent: Alpha spent by them.
    is_final: Whether no more runs will follow.
  """

  gain: float
  information: float
  previous_looks: tuple[Look, ...]
  alpha_spent: float
  is_final: bool


@dataclasses.dataclass(frozen=True)
class InterimResult:
  """The result of a look.

  Attributes:
    look: The look, with its boundaries.
    alpha_spent: Alpha spent, this look included.
    reason: The test in words.
    keep: Whether the efficacy boundary was crossed.
    stop: Whether the test ends here, kept or not.
  """

  look: Look
  alpha_spent: float
  reason: str
  keep: bool = False
  stop: bool = False


def analyze(design: SequentialDesign, noise: NoiseState, data: InterimData) -> InterimResult:
  """Decides at one look. While the noise is unknown, the test can only continue or end."""
  gain, information, seed_std = data.gain, data.information, noise.seed_std
  if seed_std is None:
    reason = f'gain {gain:+.6g}, but the noise is unknown because no trial has two seeds'
    look = Look(information, 0.0, 0.0)
    return InterimResult(look, data.alpha_spent, reason, stop=data.is_final or gain <= 0)
  fraction = 1.0 if data.is_final else min(1.0, information / design.max_information)
  alpha_spent = max(data.alpha_spent, design.alpha_spent(fraction))
  boundary = upper_boundary(alpha_spent - data.alpha_spent, data.previous_looks, information)
  look = Look(information, design.min_gain * math.sqrt(information), boundary)
  if not seed_std:
    reason = (
      f'gain {gain:+.6g}, and no noise was observed (seeds agree exactly), so any gain counts'
    )
    return InterimResult(look, alpha_spent, reason, keep=gain > 0, stop=True)
  critical = critical_value(boundary, noise.degrees_of_freedom)
  standard_error = seed_std / math.sqrt(information)
  is_futile = gain < design.min_gain * seed_std
  if is_futile:
    reason = (
      f'gain {gain:+.6g} is {gain / seed_std:.2f} seed standard deviations ({seed_std:.3g}), less '
      f'than min_gain {design.min_gain:g} (futility)'
    )
  elif math.isinf(critical):
    reason = f'gain {gain:+.6g}, and no alpha is left for this look'
  else:
    reason = describe_test(gain, standard_error, noise.degrees_of_freedom, critical)
  keep = not is_futile and gain > critical * standard_error
  stop = data.is_final or fraction == 1.0 or gain <= 0 or is_futile
  return InterimResult(look, alpha_spent, reason, keep, stop)


def critical_value(boundary: float, degrees_of_freedom: int) -> float:
  """Returns the critical value of Student's t with the normal tail probability beyond `boundary`.

  Infinite when there is no tail left; SciPy's quantile is then infinite with the wrong sign.
  """
  tail = scipy.special.ndtr(-boundary)
  value = math.inf
  if tail > MIN_TAIL:
    value = -float(scipy.special.stdtrit(degrees_of_freedom, tail))
  return value if value >= 0 else math.inf


@functools.lru_cache(maxsize=4096)
def upper_boundary(alpha: float, previous_looks: tuple[Look, ...], information: float) -> float:
  """Returns the boundary c of the next look that spends `alpha`.

  Without effect, P(all previous looks continue, z > c) = alpha. Previous looks stopped below their
  lower boundaries, and what they stopped cannot be kept, so alpha counts only what continued
  (binding futility).

  Returns:
    Between 0 and MAX_BOUNDARY.
  """
  if alpha <= 0 or (previous_looks and information <= previous_looks[-1].information):
    return MAX_BOUNDARY
  scores, probabilities, last = _continuation(previous_looks)

  def excess(boundary: float) -> float:
    score = boundary * math.sqrt(information)
    crossing = scipy.special.ndtr((scores - score) / math.sqrt(information - last))
    return float(probabilities @ crossing) - alpha

  if excess(0.0) <= 0:
    return 0.0
  if excess(MAX_BOUNDARY) >= 0:
    return MAX_BOUNDARY
  root: Any = scipy.optimize.brentq(excess, 0.0, MAX_BOUNDARY, xtol=1e-9)
  return float(root)


@functools.lru_cache(maxsize=1024)
def _continuation(previous_looks: tuple[Look, ...]) -> tuple[np.ndarray, np.ndarray, float]:
  """Returns the distribution of the score z·√information given that all looks continued.

  Without effect, by Gauss-Legendre quadrature.

  Returns:
    The points; their probabilities, which sum to that of continuing; the last information.
  """
  if not previous_looks:
    return np.zeros(1), np.ones(1), 0.0
  *earlier, look = previous_looks
  scores, probabilities, last = _continuation(tuple(earlier))
  scale, step = math.sqrt(look.information), math.sqrt(look.information - last)
  low = max(look.lower, -MAX_Z) * scale
  high = max(min(look.upper, MAX_Z) * scale, low)
  points = low + (high - low) * (NODES + 1) / 2
  density = np.exp(-0.5 * ((points[:, None] - scores) / step) ** 2) / (step * math.sqrt(2 * np.pi))
  return points, density @ probabilities * WEIGHTS * (high - low) / 2, look.information
