"""Models fitted to a table of trials: what a program with other constants would have measured.

- Constants are scaled to [0, 1]. The logarithm is scaled instead where a constant is positive,
  spans more than a factor of WIDE, and has its median nearer to the middle on that scale (as it has
  where the constant was sampled log-uniformly). The metric's logarithm is modelled where the metric
  is positive and spans more than a factor of WIDE/2.
- The metric of successful trials is the mean of a Gaussian process with a Matern-5/2 kernel, one
  length scale per constant, and white noise (scikit-learn's, fitted by marginal likelihood;
  Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006).
- The noise is the standard deviation between rows with equal constants, where these leave at least
  MIN_DEGREES degrees of freedom; otherwise it is the fit's white noise, which includes misfit.
- Failure is a kernel vote of all rows, weighted by exp(-d²/2h²): a program fails where failures
  have half of the weight or more. In the distance d, each constant is weighted by how strongly it
  correlates with failure; h is the bandwidth in BANDWIDTHS with the best leave-one-out likelihood.
  The same weights average the seconds.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np

from autoresearch_jax.benchmark.simulations.table import TableError

WIDE = 20.0
MIN_DEGREES = 5
MIN_SUCCESSES = 3
BANDWIDTHS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
MIN_WEIGHT = 0.1  # of a constant in the distance, relative to the largest


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
  """The map from constants to the unit cube and back.

  Attributes:
    low: Smallest recorded value of each constant, [d].
    high: Largest recorded value, [d].
    log: Whether the logarithm is scaled; bool, [d].
  """

  low: np.ndarray
  high: np.ndarray
  log: np.ndarray

  @classmethod
  def of(cls, points: np.ndarray) -> 'Scaling':
    """Returns the scaling for recorded constants, [rows, d]."""
    low, high = points.min(axis=0), points.max(axis=0)
    log = (low > 0) & (high > WIDE * low)
    linear, logarithmic = cls(low, high, np.zeros_like(log)), cls(low, high, log)
    median = np.median(points, axis=0)
    nearer = np.abs(logarithmic.unit(median) - 0.5) < np.abs(linear.unit(median) - 0.5)
    return cls(low, high, log & nearer)

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
    inputs: Unit points of the successful trials, [n, d].
    lengths: Length scales, [d].
    weights: Kernel weights, [n].
    offset: Mean of the modelled quantity.
    log: Whether the metric's logarithm is modelled.
    noise: Standard deviation between training seeds, of the modelled quantity.
    white: Standard deviation of the fit's white noise.
  """

  inputs: np.ndarray
  lengths: np.ndarray
  weights: np.ndarray
  offset: float
  log: bool
  noise: float
  white: float

  def mean(self, unit: np.ndarray) -> np.ndarray:
    """Returns the metric, [...], at unit points, [..., d]."""
    modelled = self.offset + matern(unit, self.inputs, self.lengths) @ self.weights
    return np.exp(modelled) if self.log else modelled


@dataclasses.dataclass(frozen=True, eq=False)
class FailureModel:
  """A kernel vote on whether a program fails, and the mean of the seconds.

  Attributes:
    inputs: Unit points of all rows times `stretch`, [n, d].
    stretch: Weight of each constant in the distance, divided by the bandwidth, [d].
    failed: 1 for failures and 0 for successes, [n].
    seconds: Seconds of each row, [n].
  """

  inputs: np.ndarray
  stretch: np.ndarray
  failed: np.ndarray
  seconds: np.ndarray

  def at(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of failures and the mean seconds, both [...], around points [..., d]."""
    difference = unit[..., None, :] * self.stretch - self.inputs
    square = (difference * difference).sum(axis=-1)
    weight = np.exp(0.5 * (square.min(axis=-1, keepdims=True) - square))
    total = weight.sum(axis=-1)
    return weight @ self.failed / total, weight @ self.seconds / total


def fit_metric(unit: np.ndarray, metric: np.ndarray) -> MetricModel:
  """Fits the Gaussian process.

  Args:
    unit: Unit points of the successful trials, [n, d].
    metric: Their metric, [n].

  Raises:
    TableError: There are fewer than `MIN_SUCCESSES` of them.
  """
  if len(metric) < MIN_SUCCESSES:
    raise TableError(f'Only {len(metric)} trials succeeded; a fit needs {MIN_SUCCESSES} or more.')
  from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415 - slow to import
  from sklearn.gaussian_process.kernels import (  # noqa: PLC0415
    ConstantKernel,
    Matern,
    WhiteKernel,
  )

  log = bool(metric.min() > 0 and metric.max() > WIDE / 2 * metric.min())
  target = np.log(metric) if log else metric
  offset, scale = float(target.mean()), float(target.std()) or 1.0
  lengths: Any = np.full(unit.shape[1], 0.5)
  kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(lengths, (0.05, 20.0), nu=2.5)
  kernel = kernel + WhiteKernel(0.1, (1e-6, 1.0))
  process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # a length scale at its bound: the constant is irrelevant
    process.fit(unit, (target - offset) / scale)
  fitted: Any = process.kernel_
  lengths = three_digits(fitted.k1.k2.length_scale) * np.ones(unit.shape[1])
  height = float(three_digits(fitted.k1.k1.constant_value)[0])
  level = float(three_digits(fitted.k2.noise_level)[0])
  covariance = height * matern(unit, unit, lengths) + level * np.eye(len(unit))
  weights = scale * height * np.linalg.solve(covariance, (target - offset) / scale)
  white, noise = scale * level**0.5, _replicate_noise(unit, target)
  return MetricModel(unit, lengths, weights, offset, log, white if noise is None else noise, white)


def matern(one: np.ndarray, other: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Returns the Matern-5/2 correlations, [..., n], of points [..., d] with points [n, d]."""
  difference = one[..., None, :] / lengths - other / lengths
  distance = np.sqrt(5 * (difference * difference).sum(axis=-1))
  return (1 + distance + distance**2 / 3) * np.exp(-distance)


def three_digits(value: Any) -> np.ndarray:
  """Rounds to three digits: the last bits of an optimiser's result depend on threads."""
  return np.array([float(f'{v:.3g}') for v in np.atleast_1d(value)])


def fit_failures(unit: np.ndarray, ok: np.ndarray, seconds: np.ndarray) -> FailureModel:
  """Fits the failure model.

  Args:
    unit: Unit points of all rows, [n, d].
    ok: Whether each succeeded; bool, [n].
    seconds: What each took, [n].
  """
  failed = (~ok).astype(float)
  relevance = np.full(unit.shape[1], 1.0)
  if failed.any() and ok.any():
    centred = unit - unit.mean(axis=0)
    covariance = np.abs(centred.T @ (failed - failed.mean()))
    relevance = covariance / np.sqrt((centred * centred).sum(axis=0) + 1e-12)
    relevance = np.maximum(relevance / (relevance.max() or 1.0), MIN_WEIGHT)
  models = [FailureModel(unit * relevance / h, relevance / h, failed, seconds) for h in BANDWIDTHS]
  return max(models, key=_leave_one_out_likelihood)


def _leave_one_out_likelihood(model: FailureModel) -> float:
  """Returns the log-likelihood of each row's outcome under the vote of the other rows."""
  square = ((model.inputs[:, None] - model.inputs) ** 2).sum(axis=-1)
  np.fill_diagonal(square, np.inf)
  weight = np.exp(0.5 * (square.min(axis=1, keepdims=True) - square))
  share = np.clip(weight @ model.failed / weight.sum(axis=1), 0.01, 0.99)
  return float(np.log(np.where(model.failed > 0, share, 1 - share)).sum())


def _replicate_noise(unit: np.ndarray, target: np.ndarray) -> float | None:
  """Returns the pooled standard deviation of rows with equal constants; None with too few."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  count = np.bincount(group)
  residual = target - (np.bincount(group, target) / count)[group]
  degrees = len(target) - len(count)
  return float(np.sqrt((residual**2).sum() / degrees)) if degrees >= MIN_DEGREES else None
