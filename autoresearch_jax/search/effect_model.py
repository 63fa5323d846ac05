"""What kinds of edit do, believed from few trials: a hierarchical normal model, by its moments.

The effect of an edit of kind k is m + a_k + e, where a_k is normal with the deviation `between`
kinds and e with the deviation `within` them. Both deviations are estimated by the moments of a
one-way analysis of variance with unequal groups (Searle, Casella, McCulloch, Variance Components,
1992), and each kind's mean is drawn towards m the more, the fewer its trials (Efron and Morris,
1975). Effects have heavy tails, so they are clipped around their median before. What an edit
promises is the expected improvement (Jones, Schonlau, Welch, 1998) over what there is.

Used by the strategy `surrogate` and by the planner in `knowledge/`. Arrays in, arrays out.
"""

import dataclasses
import math

import numpy as np

NORMAL = 1.4826  # times the median absolute deviation: the deviation of normal numbers
# Kinds differ by this share of the variance inside them at least: with few trials, the moments
# often say that they do not differ, and nothing would be learnt ever.
MIN_BETWEEN = 0.05
OWN_SCATTER = 4.0  # trials whose weight the common deviation has against a kind's own
FARTHEST = 38.0  # deviations from which on nothing is left of a normal tail
LARGEST = 1e100  # effects are cut to it, so that their squares are numbers
DOUBT = 2.0  # trials whose weight the overall rate of failures has against a kind's own


@dataclasses.dataclass(frozen=True)
class Beliefs:
  """By kind, arrays [kinds]; in the unit of the effects.

  mean: of all effects. between, within: deviations, see the module. counts: effects. means,
  deviations: of a kind's mean effect, after its trials. scatter: deviation of single edits around
  their kind's mean.
  """

  mean: float
  between: float
  within: float
  counts: np.ndarray
  means: np.ndarray
  deviations: np.ndarray
  scatter: np.ndarray

  @property
  def teaches(self) -> np.ndarray:
    """By how much one more trial would reduce each kind's deviation. [kinds]."""
    return self.deviations - deviation_after(self.counts + 1, self.between, self.within)

  @property
  def spreads(self) -> np.ndarray:
    """Deviation of the next edit's effect of each kind: of its mean, and around it. [kinds]."""
    return np.hypot(self.deviations, self.scatter)


def believed(effects: np.ndarray, kinds: np.ndarray, count: int) -> Beliefs:
  """Beliefs about `count` kinds. effects: float64 [n], clipped. kinds: of each effect, int [n]."""
  counts = np.bincount(kinds, minlength=count).astype(float)
  total = len(effects)
  mean = float(effects.mean()) if total else 0.0
  sums = np.bincount(kinds, effects, count)
  own = np.divide(sums, counts, out=np.full(count, mean), where=counts > 0)
  around = np.bincount(kinds, np.square(effects - own[kinds]), count)
  groups = int(np.count_nonzero(counts))
  within = math.sqrt(_variance(effects, mean, float(around.sum()), groups))
  between = _between(counts, own, mean, within, groups)
  weights = counts * between**2
  weights = np.divide(weights, weights + within**2, out=np.zeros(count), where=weights > 0)
  scatter = np.sqrt((OWN_SCATTER * within**2 + around) / (OWN_SCATTER + counts))
  return Beliefs(
    mean,
    between,
    within,
    counts,
    mean + weights * (own - mean),
    deviation_after(counts, between, within),
    scatter,
  )


def deviation_after(counts: np.ndarray, between: float, within: float) -> np.ndarray:
  """Of a kind's mean after so many trials: from `between` down to none."""
  if not between:
    return np.zeros_like(counts)
  return between * within / np.sqrt(counts * between**2 + within**2)


def _variance(effects: np.ndarray, mean: float, around: float, groups: int) -> float:
  """Of effects inside kinds; of all, where no kind has two."""
  freedom = len(effects) - groups
  if freedom > 0 and around > 0:
    return around / freedom
  return float(np.square(effects - mean).mean()) if len(effects) else 0.0


def _between(counts: np.ndarray, own: np.ndarray, mean: float, within: float, groups: int) -> float:
  """The deviation between kinds, by the expected mean square between them."""
  total, least = counts.sum(), MIN_BETWEEN * within**2
  if groups < 2:
    return math.sqrt(least)
  size = (total - np.square(counts).sum() / total) / (groups - 1)
  square = float((counts * np.square(own - mean)).sum()) / (groups - 1)
  return math.sqrt(max(least, (square - within**2) / size))


def clipped(effects: np.ndarray, width: float) -> np.ndarray:
  """Effects no farther from their median than `width` deviations, which the median gives too.

  Where half of the effects are equal, so that it gives none, the root mean square does.
  """
  if not len(effects):
    return effects
  effects = np.clip(effects, -LARGEST, LARGEST)
  median = np.median(effects)
  apart = np.abs(effects - median)
  deviation = NORMAL * np.median(apart) or math.sqrt(np.square(apart).mean())
  return np.clip(effects, median - width * deviation, median + width * deviation)


def failure_rates(failed: np.ndarray, tried: np.ndarray, overall: float) -> np.ndarray:
  """By kind: the mean of a Beta, whose prior is DOUBT trials at the overall rate. All [kinds]."""
  return (failed + DOUBT * overall) / (tried + DOUBT)


def expected_improvement(means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
  """E max(0, X) of normal X: mean·Φ(z) + d·φ(z) with z = mean/d. Any equal shapes."""
  means, deviations = np.broadcast_arrays(np.asarray(means, float), np.asarray(deviations, float))
  with np.errstate(over='ignore'):
    z = np.divide(means, deviations, out=np.zeros(means.shape), where=deviations > 0)
  z = np.clip(z, -FARTHEST, FARTHEST)
  density = np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)
  uncertain = np.maximum(0.0, means * _below(z, density) + deviations * density)
  return np.where(deviations > 0, uncertain, np.maximum(means, 0.0))


def _below(z: np.ndarray, density: np.ndarray) -> np.ndarray:
  """Φ(z) within 1e-7 (Abramowitz and Stegun, 1964, 26.2.17); numpy has no error function."""
  t = 1 / (1 + 0.2316419 * np.abs(z))
  series = 1.330274429
  for factor in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
    series = series * t + factor
  tail = density * series * t
  return np.where(z < 0, tail, 1 - tail)
