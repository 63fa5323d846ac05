"""Error spending: how large a gain must be at each look of a test that looks at its data often.

A test that stops at the first look with a low p-value is wrong far more often than the p-value
says. Lan & DeMets (Biometrika 1983) fix in advance how much error may be spent by the time that a
share t of the information is in; each look then gets the bound that spends its part and no more.
The bound comes from the recursion of Armitage, McPherson & Rowe (JRSS A 1969) over the looks
before, as in Jennison & Turnbull, Group Sequential Methods (2000), chapter 19.

Everything is in the normal scale: Z = gain · √information, with the information 1 / variance of
the gain, in seed deviations. It knows nothing of trials; `acceptance/sequential.py` does.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.optimize
import scipy.special

NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)
FARTHEST = 38.0  # the normal tail beyond it is 0 in float64: a bound that is never passed
REACH = 9.0  # standard deviations of the score that are integrated over


@dataclasses.dataclass(frozen=True)
class Look:
  """A look that did not end the test: Z was above `lower` and not above `upper`."""

  information: float
  lower: float
  upper: float


def obrien_fleming(error: float, share: float) -> float:
  """Error spent by then: almost none early, so that the last look is nearly as sharp as one alone.

  2 - 2 Φ(z / √t) with Φ(z) = 1 - error/2: Lan & DeMets' α₁*, like O'Brien & Fleming's bounds.
  """
  return float(2 * scipy.special.ndtr(scipy.special.ndtri(error / 2) / math.sqrt(share)))


def pocock(error: float, share: float) -> float:
  """Error spent by then: nearly in proportion, so that a large gain is seen early.

  error · ln(1 + (e - 1) t): Lan & DeMets' α₂*, like Pocock's bounds.
  """
  return error * math.log1p((math.e - 1) * share)


def kim_demets(error: float, share: float) -> float:
  """Error spent by then: error · t², Kim & DeMets (Biometrika 1987) with the exponent 2.

  Between the two others, and better than both where few degrees of freedom make small levels dear:
  a gain of ten deviations is kept at the first or second look (O'Brien & Fleming's spending takes
  five runs for it), and the last look is only a little less sharp.
  """
  return error * share**2


SPENDING: dict[str, Callable[[float, float], float]] = {
  'kim_demets': kim_demets,
  'obrien_fleming': obrien_fleming,
  'pocock': pocock,
}


@functools.lru_cache(maxsize=4096)
def upper_bound(error: float, before: tuple[Look, ...], information: float) -> float:
  """The bound c of the next look: without effect, P(all looks before go on, Z > c) = error.

  Between 0 and FARTHEST. The looks before stopped below their lower bounds, so what they stopped
  cannot be kept any more: the error counts only what went on (binding futility).
  """
  if error <= 0 or (before and information <= before[-1].information):
    return FARTHEST
  scores, masses, last = _going_on(before)

  def excess(bound: float) -> float:
    reached = bound * math.sqrt(information)
    passed = scipy.special.ndtr((scores - reached) / math.sqrt(information - last))
    return float(masses @ passed) - error

  if excess(0.0) <= 0:
    return 0.0
  if excess(FARTHEST) >= 0:
    return FARTHEST
  return float(scipy.optimize.brentq(excess, 0.0, FARTHEST, xtol=1e-9))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1024)
def _going_on(before: tuple[Look, ...]) -> tuple[np.ndarray, np.ndarray, float]:
  """Where the score Z·√information is after the looks before, without effect: a quadrature.

  Returns points, their probabilities (in all: that the test goes on), and the last information.
  """
  if not before:
    return np.zeros(1), np.ones(1), 0.0
  *earlier, look = before
  scores, masses, last = _going_on(tuple(earlier))
  scale, step = math.sqrt(look.information), math.sqrt(look.information - last)
  low = max(look.lower, -REACH) * scale
  high = max(min(look.upper, REACH) * scale, low)
  points = low + (high - low) * (NODES + 1) / 2
  density = np.exp(-0.5 * ((points[:, None] - scores) / step) ** 2) / (step * math.sqrt(2 * np.pi))
  return points, density @ masses * WEIGHTS * (high - low) / 2, look.information
