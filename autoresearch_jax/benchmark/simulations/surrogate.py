"""Models fitted to a table of trials: what a program with other constants would have measured.

- Constants are scaled to [0, 1]. The logarithm is scaled instead where a constant is positive,
  spans more than a factor of WIDE, and has its median nearer to the middle on that scale (as it has
  where the constant was sampled log-uniformly). The metric's logarithm is modelled where the metric
  is positive and spans more than a factor of WIDE/2.
- A category with k values is k features, 0 or √½, so that two different values have distance 1.
- The metric of successful trials is the mean of a Gaussian process with a Matern-5/2 kernel, one
  length scale per feature, and white noise (scikit-learn's, fitted by marginal likelihood;
  Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006). Above EXACT_ROWS trials,
  the likelihood is that of LIKELIHOOD_ROWS random ones, and the mean is that of the subset of
  regressors: all trials, seen through INDUCING of them (Quiñonero-Candela and Rasmussen, A Unifying
  View of Sparse Approximate Gaussian Process Regression, JMLR 6, 2005).
- The noise is the standard deviation between rows with equal constants, where these leave at least
  MIN_DEGREES degrees of freedom; otherwise it is the fit's white noise, which includes misfit.
- Failure is a kernel vote of all rows, weighted by exp(-d²/2h²): a program fails where failures
  have half of the weight or more. In the distance d, each feature is weighted by how strongly it
  correlates with failure; h is the bandwidth in BANDWIDTHS with the best leave-one-out likelihood
  (of EXACT_ROWS random rows, if there are more). The same weights average the seconds. At most
  MAX_VOTES random rows vote.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from autoresearch_jax.benchmark.simulations.table import TableError

WIDE = 20.0
MIN_DEGREES = 5
MIN_SUCCESSES = 3
MIN_WHITE_NOISE = 1e-6  # variance, of the standardised metric
BANDWIDTHS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
MIN_WEIGHT = 0.1  # of a feature in the distance, relative to the largest
EXACT_ROWS = 1000  # up to which the Gaussian process is exact
LIKELIHOOD_ROWS = 300
INDUCING = 500
MAX_VOTES = 3000  # rows that vote on failure, drawn at random from more
EXACT_ENTRIES = 2**20  # of a matrix of distances, up to which no digits are traded for speed
BLOCK = 2**22  # entries of the largest matrix of distances
JITTER = 1e-9  # directions with less of a covariance, relative to the largest, are left out


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
  """The map from constants to the unit cube and back.

  Attributes:
    low: Smallest recorded value of each constant, [d].
    high: Largest recorded value, [d].
    log: Whether the logarithm is scaled; bool, [d].
    level_counts: Number of values of each category, and 0 for each number; () for numbers only.
  """

  low: np.ndarray
  high: np.ndarray
  log: np.ndarray
  level_counts: tuple[int, ...] = ()

  @classmethod
  def of(cls, points: np.ndarray, level_counts: tuple[int, ...] = ()) -> 'Scaling':
    """Returns the scaling for recorded constants, [rows, d]."""
    low, high = points.min(axis=0), points.max(axis=0)
    log = (low > 0) & (high > WIDE * low) & ~np.array(level_counts or [0] * len(low), bool)
    linear, logarithmic = cls(low, high, np.zeros_like(log)), cls(low, high, log)
    median = np.median(points, axis=0)
    nearer = np.abs(logarithmic.unit(median) - 0.5) < np.abs(linear.unit(median) - 0.5)
    return cls(low, high, log & nearer, level_counts)

  def features(self, points: np.ndarray) -> np.ndarray:
    """Maps constants, [..., d], to the inputs of the models, [..., features]."""
    unit = self.unit(points)
    if not any(self.level_counts):
      return unit
    columns = []
    for place, count in enumerate(self.level_counts):
      if count:
        level = np.round(points[..., place, None])
        columns.append(np.where(level == np.arange(count), 0.5**0.5, 0.0))
      else:
        columns.append(unit[..., place, None])
    return np.concatenate(columns, axis=-1)

  def unit(self, points: np.ndarray) -> np.ndarray:
    """Maps constants, [..., d], to the unit cube."""
    low, high = self._ends
    return (self._transformed(points) - low) / (high - low)

  def constants(self, unit: np.ndarray) -> np.ndarray:
    """Maps unit points, [..., d], to constants, which lie in their ranges despite rounding."""
    low, high = self._ends
    transformed = low + unit * (high - low)
    points = np.where(self.log, np.exp(np.where(self.log, transformed, 0.0)), transformed)
    return np.clip(points, self.low, self.high)

  @property
  def _ends(self) -> tuple[np.ndarray, np.ndarray]:
    return self._transformed(self.low), self._transformed(self.high)

  def _transformed(self, points: np.ndarray) -> np.ndarray:
    return np.where(self.log, np.log(np.where(self.log, points, 1.0)), points)


@dataclasses.dataclass(frozen=True, eq=False)
class MetricModel:
  """The mean of the fitted Gaussian process, in numpy.

  Attributes:
    inputs: Features of the trials whose kernel carries a weight, [n, d].
    lengths: Length scales, [d].
    weights: Kernel weights, [n].
    offset: Mean of the modelled quantity.
    log: Whether the metric's logarithm is modelled.
    noise: Standard deviation between training seeds, of the modelled quantity.
    white: Standard deviation of the fit's white noise.
    height: Variance of the process, of the standardised quantity.
    level: Variance of the white noise, of the standardised quantity.
  """

  inputs: np.ndarray
  lengths: np.ndarray
  weights: np.ndarray
  offset: float
  log: bool
  noise: float
  white: float
  height: float
  level: float

  def mean(self, features: np.ndarray) -> np.ndarray:
    """Returns the metric, [...], at features, [..., d]."""
    modelled = self.offset + _in_blocks(self._sum, features, len(self.inputs))
    return np.exp(modelled) if self.log else modelled

  def _sum(self, features: np.ndarray) -> np.ndarray:
    return matern(features, self.inputs, self.lengths) @ self.weights


@dataclasses.dataclass(frozen=True, eq=False)
class FailureModel:
  """A kernel vote on whether a program fails, and the mean of the seconds.

  Attributes:
    inputs: Features of all rows times `stretch`, [n, d].
    stretch: Weight of each feature in the distance, divided by the bandwidth, [d].
    failed: 1 for failures and 0 for successes, [n].
    seconds: Seconds of each row, [n].
  """

  inputs: np.ndarray
  stretch: np.ndarray
  failed: np.ndarray
  seconds: np.ndarray

  def at(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of failures and the mean seconds, both [...], around features [..., d]."""
    both = _in_blocks(self._vote, features, len(self.inputs))
    return both[..., 0], both[..., 1]

  def _vote(self, features: np.ndarray) -> np.ndarray:
    square = square_distances(features * self.stretch, self.inputs)
    weight = np.exp(0.5 * (square.min(axis=-1, keepdims=True) - square))
    total = weight.sum(axis=-1)
    return np.stack([weight @ self.failed / total, weight @ self.seconds / total], axis=-1)


def _in_blocks(
  function: Callable[[np.ndarray], np.ndarray], features: np.ndarray, size: int
) -> np.ndarray:
  """Applies a function of features, [..., d], to some rows at a time, to bound its memory."""
  if features.ndim != 2 or len(features) * size <= BLOCK:
    return function(features)
  count = -(-len(features) * size // BLOCK)
  return np.concatenate([function(part) for part in np.array_split(features, count)])


def square_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Returns the squared distances, [..., n], of points [..., d] from points [n, d]."""
  if len(other) <= EXACT_ROWS and one[..., 0].size * len(other) <= EXACT_ENTRIES:
    difference = one[..., None, :] - other
    return (difference * difference).sum(axis=-1)
  norms = (one * one).sum(axis=-1)[..., None] + (other * other).sum(axis=-1)
  return np.maximum(norms - 2 * one @ other.T, 0.0)


def fit_metric(
  unit: np.ndarray, metric: np.ndarray, like: MetricModel | None = None
) -> MetricModel:
  """Fits the Gaussian process.

  Args:
    unit: Features of the successful trials, [n, d].
    metric: Their metric, [n].
    like: A model whose length scales and variances are taken instead of fitting them.

  Raises:
    TableError: There are fewer than `MIN_SUCCESSES` of them.
  """
  if len(metric) < MIN_SUCCESSES:
    raise TableError(f'Only {len(metric)} trials succeeded; a fit needs {MIN_SUCCESSES} or more.')
  log = bool(metric.min() > 0 and metric.max() > WIDE / 2 * metric.min())
  target = np.log(metric) if log else metric
  offset, scale = float(target.mean()), float(target.std()) or 1.0
  if like is None:
    lengths, height, level = _hyperparameters(unit, (target - offset) / scale)
  else:
    lengths, height, level = like.lengths, like.height, like.level
  inputs, weights = _weights(unit, (target - offset) / scale, lengths, height, level)
  weights = scale * height * weights
  white, noise = scale * level**0.5, _replicate_noise(unit, target)
  deviation = white if noise is None else noise
  return MetricModel(inputs, lengths, weights, offset, log, deviation, white, height, level)


def _hyperparameters(unit: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, float]:
  """Returns length scales [d], the variance of the process and that of the white noise.

  Args:
    unit: Features, [n, d].
    target: The standardised metric, [n].
  """
  from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415 - slow to import
  from sklearn.gaussian_process.kernels import (  # noqa: PLC0415
    ConstantKernel,
    Matern,
    WhiteKernel,
  )

  lengths: Any = np.full(unit.shape[1], 0.5)
  kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(lengths, (0.05, 20.0), nu=2.5)
  kernel = kernel + WhiteKernel(0.1, (MIN_WHITE_NOISE, 1.0))
  process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0)
  chosen = _sample(len(unit), LIKELIHOOD_ROWS if len(unit) > EXACT_ROWS else len(unit))
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # a length scale at its bound: the constant is irrelevant
    process.fit(unit[chosen], target[chosen])
  fitted: Any = process.kernel_
  scales = three_digits(fitted.k1.k2.length_scale) * np.ones(unit.shape[1])
  height = float(three_digits(fitted.k1.k1.constant_value)[0])
  return scales, height, float(three_digits(fitted.k2.noise_level)[0])


def _sample(rows: int, size: int) -> np.ndarray:
  """Returns the indices of random rows, in order; all of them if there are no more than `size`."""
  if rows <= size:
    return np.arange(rows)
  return np.sort(np.random.default_rng(0).permutation(rows)[:size])


def _weights(
  unit: np.ndarray, target: np.ndarray, lengths: np.ndarray, height: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns inputs [m, d] and their weights [m]; the mean is height times their weighted kernels.

  Args:
    unit: Features, [n, d].
    target: The standardised metric, [n].
    lengths: Length scales, [d].
    height: Variance of the process.
    level: Variance of the white noise.
  """
  if len(unit) <= EXACT_ROWS:
    covariance = height * matern(unit, unit, lengths) + level * np.eye(len(unit))
    return unit, np.linalg.solve(covariance, target)
  inputs = unit[_sample(len(unit), INDUCING)]
  # The normal equations, in the directions that the inputs' kernels span: long length scales make
  # the kernels nearly equal, and the equations for their weights singular.
  spread, directions = np.linalg.eigh(matern(inputs, inputs, lengths))
  wide = spread > JITTER * spread[-1]
  whitened = directions[:, wide] / np.sqrt(spread[wide])
  gram, projected = level * np.eye(whitened.shape[1]), np.zeros(whitened.shape[1])
  for rows, part in zip(*(np.array_split(v, -(-len(unit) // 1000)) for v in (unit, target)),
                        strict=True):  # fmt: skip
    cross = matern(rows, inputs, lengths) @ whitened
    gram += height * cross.T @ cross
    projected += cross.T @ part
  return inputs, whitened @ np.linalg.solve(gram, projected)


def matern(one: np.ndarray, other: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Returns the Matern-5/2 correlations, [..., n], of points [..., d] with points [n, d]."""
  distance = np.sqrt(5 * square_distances(one / lengths, other / lengths))
  return (1 + distance + distance**2 / 3) * np.exp(-distance)


def three_digits(value: Any) -> np.ndarray:
  """Rounds to three digits: the last bits of an optimiser's result depend on threads."""
  return np.array([float(f'{v:.3g}') for v in np.atleast_1d(value)])


def fit_failures(
  unit: np.ndarray, ok: np.ndarray, seconds: np.ndarray, like: FailureModel | None = None
) -> FailureModel:
  """Fits the failure model.

  Args:
    unit: Features of all rows, [n, d].
    ok: Whether each succeeded; bool, [n].
    seconds: What each took, [n].
    like: A model whose distance is taken instead of fitting it.
  """
  chosen = _sample(len(unit), MAX_VOTES)
  unit, ok, seconds = unit[chosen], ok[chosen], seconds[chosen]
  failed = (~ok).astype(float)
  if like is not None:
    return FailureModel(unit * like.stretch, like.stretch, failed, seconds)
  relevance = np.full(unit.shape[1], 1.0)
  if failed.any() and ok.any():
    centred = unit - unit.mean(axis=0)
    covariance = np.abs(centred.T @ (failed - failed.mean()))
    relevance = covariance / np.sqrt((centred * centred).sum(axis=0) + 1e-12)
    relevance = np.maximum(relevance / (relevance.max() or 1.0), MIN_WEIGHT)
  models = [FailureModel(unit * relevance / h, relevance / h, failed, seconds) for h in BANDWIDTHS]
  return max(models, key=_leave_one_out_likelihood)


def _leave_one_out_likelihood(model: FailureModel) -> float:
  """Returns the log-likelihood of rows' outcomes under the vote of all other rows."""
  chosen = _sample(len(model.inputs), EXACT_ROWS)
  square = square_distances(model.inputs[chosen], model.inputs)
  square[np.arange(len(chosen)), chosen] = np.inf
  weight = np.exp(0.5 * (square.min(axis=1, keepdims=True) - square))
  share = np.clip(weight @ model.failed / weight.sum(axis=1), 0.01, 0.99)
  return float(np.log(np.where(model.failed[chosen] > 0, share, 1 - share)).sum())


def _replicate_noise(unit: np.ndarray, target: np.ndarray) -> float | None:
  """Returns the pooled standard deviation of rows with equal constants; None with too few."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  count = np.bincount(group)
  residual = target - (np.bincount(group, target) / count)[group]
  degrees = len(target) - len(count)
  return float(np.sqrt((residual**2).sum() / degrees)) if degrees >= MIN_DEGREES else None
