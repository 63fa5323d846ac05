"""One look of the sequential test: keep, give up, or go on. Arithmetic alone, of one gain.

The error that may be spent by now, less what was spent before, gives a bound in the normal scale
(`group_sequential.py`); Student's t with the same tail turns it into a critical value for the
measured standard error. Which programs are looked at, and when, `acceptance/sequential.py` knows.
"""

import dataclasses
import math

import scipy.special

from autoresearch_jax.acceptance.group_sequential import SPENDING, Look, upper_bound
from autoresearch_jax.acceptance.noise import NoiseState

MIN_TAIL = 1e-100  # smaller ones are no chance at all, and SciPy's quantile fails from 1e-238 on


@dataclasses.dataclass(frozen=True)
class Plan:
  """How one test is done. error: in all; spending: how early, a name in SPENDING.

  whole: the information when both programs have all their runs. min_gain: seed deviations below
  which a gain is not pursued.
  """

  error: float
  spending: str
  whole: float
  min_gain: float

  def spent(self, share: float) -> float:
    return SPENDING[self.spending](self.error, share)


@dataclasses.dataclass(frozen=True)
class Evidence:
  """gain: of the means, above 0 is better. information: 1 / its variance, in seed deviations.

  before: earlier looks of this test. spent: error up to them. last: no more runs will come.
  """

  gain: float
  information: float
  before: tuple[Look, ...]
  spent: float
  last: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a look says. spent: error up to it. ends: without a keep it is the last one."""

  look: Look
  spent: float
  said: str
  keeps: bool = False
  ends: bool = False


def taken(plan: Plan, noise: NoiseState, seen: Evidence) -> Outcome:
  """The look's outcome; without a measured noise it only goes on or ends."""
  gain, information, deviation = seen.gain, seen.information, noise.deviation
  if deviation is None:
    said = f'a gain of {gain:+.6g}, but no trial has two seeds, so the noise is not known'
    return Outcome(Look(information, 0.0, 0.0), seen.spent, said, ends=seen.last or gain <= 0)
  share = 1.0 if seen.last else min(1.0, information / plan.whole)
  error = max(seen.spent, plan.spent(share))
  bound = upper_bound(error - seen.spent, seen.before, information)
  look = Look(information, plan.min_gain * math.sqrt(information), bound)
  if not deviation:
    said = f'a gain of {gain:+.6g}; no noise was seen (seeds agree exactly), so any gain counts'
    return Outcome(look, error, said, keeps=gain > 0, ends=True)
  asked, spread = critical(bound, noise.degrees), deviation / math.sqrt(information)
  line = (
    'no error is left for this look' if math.isinf(asked) else f'more than {asked:.2f} are asked'
  )
  said = (
    f'a gain of {gain:+.6g} is {gain / spread:+.2f} deviations of the difference '
    f'({spread:.3g}, {noise.degrees} degrees of freedom); {line}'
  )
  futile = gain < plan.min_gain * deviation
  if futile:
    said = (
      f'a gain of {gain:+.6g} is {gain / deviation:+.2f} seed deviations ({deviation:.3g}); '
      f'less than {plan.min_gain:g} is not pursued'
    )
  keeps = not futile and gain > asked * spread
  return Outcome(look, error, said, keeps, ends=seen.last or share == 1.0 or gain <= 0 or futile)


def critical(bound: float, degrees: int) -> float:
  """How many measured deviations have the normal tail beyond `bound` under Student's t.

  Infinite where no tail is left: there SciPy's quantile is infinite with the wrong sign.
  """
  tail = scipy.special.ndtr(-bound)
  asked = -float(scipy.special.stdtrit(degrees, tail)) if tail > MIN_TAIL else math.inf
  return asked if asked >= 0 else math.inf
