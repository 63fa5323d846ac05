"""The effect of each kind of edit, estimated from few trials by a hierarchical normal model.

The effect of an edit of kind k is m + a_k + e, where a_k is normal with standard deviation
`between_std` (between kinds) and e with `within_std` (within a kind). Both are estimated by the
moments of a one-way analysis of variance with unequal groups (Searle, Casella, McCulloch, Variance
Components, 1992), and each kind's mean is shrunk towards m, the more the fewer trials it has (Efron
and Morris, 1975). Effects have heavy tails, so outliers are clipped first. An edit is worth its
expected improvement over what there is (Jones, Schonlau, Welch, 1998).

Used by the strategy `surrogate` and by `knowledge/`. Arrays in, arrays out.
"""

import dataclasses
import math

import numpy as np

MAD_TO_STD = 1.4826  # standard deviation of a normal divided by its median absolute deviation
# The variance between kinds is at least this fraction of the variance within them: with few trials,
# the moments often say that kinds do not differ, and nothing would ever be learnt.
MIN_BETWEEN = 0.05
WITHIN_PRIOR = 4.0  # trials that the common variance counts as, against a kind's own
MAX_Z = 38.0  # standard deviations beyond which a normal tail is 0 in float64
MAX_EFFECT = 1e100  # effects are clipped to it, so that their squares are finite
FAILURE_PRIOR = 2.0  # trials that the overall failure rate counts as, against a kind's own


@dataclasses.dataclass(frozen=True)
class EffectEstimates:
  """The fitted model, in the unit of the effects. All arrays are [kinds].

  Attributes:
    mean: Mean of all effects, m.
    between_std: Standard deviation of the kinds' means.
    within_std: Standard deviation of effects within a kind.
    counts: Number of effects of each kind.
    means: Posterior mean of each kind's mean effect.
    stds: Posterior standard deviation of each kind's mean effect.
    edit_stds: Standard deviation of single edits around their kind's mean.
  """

  mean: float
  between_std: float
  within_std: float
  counts: np.ndarray
  means: np.ndarray
  stds: np.ndarray
  edit_stds: np.ndarray

  @property
  def std_reductions(self) -> np.ndarray:
    """How much one more trial would reduce each kind's `stds`. [kinds]."""
    return self.stds - posterior_std(self.counts + 1, self.between_std, self.within_std)

  @property
  def predictive_stds(self) -> np.ndarray:
    """Standard deviation of the effect of each kind's next edit. [kinds]."""
    return np.hypot(self.stds, self.edit_stds)


def estimate_effects(effects: np.ndarray, kinds: np.ndarray, num_kinds: int) -> EffectEstimates:
  """Fits the model.

  Args:
    effects: Effects with outliers clipped, float64 [n].
    kinds: Kind of each effect, int [n].
    num_kinds: Number of kinds.
  """
  counts = np.bincount(kinds, minlength=num_kinds).astype(float)
  total = len(effects)
  mean = float(effects.mean()) if total else 0.0
  sums = np.bincount(kinds, effects, num_kinds)
  kind_means = np.divide(sums, counts, out=np.full(num_kinds, mean), where=counts > 0)
  residuals = np.bincount(kinds, np.square(effects - kind_means[kinds]), num_kinds)
  num_groups = int(np.count_nonzero(counts))
  within_std = math.sqrt(_within_variance(effects, mean, float(residuals.sum()), num_groups))
  between_std = _between_std(counts, kind_means, mean, within_std, num_groups)
  weights = counts * between_std**2
  weights = np.divide(weights, weights + within_std**2, out=np.zeros(num_kinds), where=weights > 0)
  edit_stds = np.sqrt((WITHIN_PRIOR * within_std**2 + residuals) / (WITHIN_PRIOR + counts))
  return EffectEstimates(
    mean,
    between_std,
    within_std,
    counts,
    mean + weights * (kind_means - mean),
    posterior_std(counts, between_std, within_std),
    edit_stds,
  )


def posterior_std(counts: np.ndarray, between_std: float, within_std: float) -> np.ndarray:
  """Standard deviation of a kind's mean after so many trials: `between_std` before the first."""
  if not between_std:
    return np.zeros_like(counts)
  return between_std * within_std / np.sqrt(counts * between_std**2 + within_std**2)


def _within_variance(effects: np.ndarray, mean: float, residuals: float, num_groups: int) -> float:
  """Variance of effects within kinds; of all effects, when no kind has two."""
  degrees = len(effects) - num_groups
  if degrees > 0 and residuals > 0:
    return residuals / degrees
  return float(np.square(effects - mean).mean()) if len(effects) else 0.0


def _between_std(
  counts: np.ndarray, kind_means: np.ndarray, mean: float, within_std: float, num_groups: int
) -> float:
  """Standard deviation between kinds, from the expected mean square between them."""
  total, minimum = counts.sum(), MIN_BETWEEN * within_std**2
  if num_groups < 2:
    return math.sqrt(minimum)
  size = (total - np.square(counts).sum() / total) / (num_groups - 1)
  mean_square = float((counts * np.square(kind_means - mean)).sum()) / (num_groups - 1)
  return math.sqrt(max(minimum, (mean_square - within_std**2) / size))


def clip_outliers(effects: np.ndarray, num_stds: float) -> np.ndarray:
  """Clips effects to `num_stds` standard deviations around their median.

  The standard deviation is estimated from the median absolute deviation. When that is 0, because
  half of the effects are equal, the root mean square is used.
  """
  if not len(effects):
    return effects
  effects = np.clip(effects, -MAX_EFFECT, MAX_EFFECT)
  median = np.median(effects)
  deviations = np.abs(effects - median)
  std = MAD_TO_STD * np.median(deviations) or math.sqrt(np.square(deviations).mean())
  return np.clip(effects, median - num_stds * std, median + num_stds * std)


def failure_rates(failed: np.ndarray, tried: np.ndarray, overall: float) -> np.ndarray:
  """Posterior mean of each kind's failure rate, under a Beta prior at the overall rate.

  Args:
    failed: Failed trials of each kind, [kinds].
    tried: All trials of each kind, [kinds].
    overall: Failure rate over all kinds; the prior counts as FAILURE_PRIOR trials.

  Returns:
    float64 [kinds].
  """
  return (failed + FAILURE_PRIOR * overall) / (tried + FAILURE_PRIOR)


def expected_improvement(means: np.ndarray, stds: np.ndarray) -> np.ndarray:
  """E max(0, X) of a normal X: mean·Φ(z) + std·φ(z) with z = mean/std. Shapes broadcast."""
  means, stds = np.broadcast_arrays(np.asarray(means, float), np.asarray(stds, float))
  with np.errstate(over='ignore'):
    z = np.divide(means, stds, out=np.zeros(means.shape), where=stds > 0)
  z = np.clip(z, -MAX_Z, MAX_Z)
  density = np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)
  uncertain = np.maximum(0.0, means * _normal_cdf(z, density) + stds * density)
  return np.where(stds > 0, uncertain, np.maximum(means, 0.0))


def _normal_cdf(z: np.ndarray, density: np.ndarray) -> np.ndarray:
  """Φ(z) within 1e-7 (Abramowitz and Stegun, 1964, 26.2.17); numpy has no error function."""
  t = 1 / (1 + 0.2316419 * np.abs(z))
  series = 1.330274429
  for factor in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
    series = series * t + factor
  tail = density * series * t
  return np.where(z < 0, tail, 1 - tail)
