"""A model of a table of trials: what a program with other constants would have measured.

- Constants become coordinates in [0, 1]; by their logarithm where they are above 0, span more than
  a factor of WIDE, and their median comes nearer to the middle that way, as it does for those that
  were sampled so. A metric above 0 that spans more than WIDE/2 is modelled by its logarithm.
- The metric of successes is the mean of a Gaussian process with a Matern-5/2 kernel, a length for
  each constant and white noise (scikit-learn's, fitted by marginal likelihood; Rasmussen and
  Williams, Gaussian Processes for Machine Learning, 2006).
- The noise is the deviation between rows with the same constants where there are DEGREES or more
  of them to spare; else it is the white noise of the fit, which has the misfit in it.
- Whether a program fails is a vote of all rows, weighted by exp(-d²/2h²): it fails when failures
  have half of the weight or more. In the distance d each constant counts by how strongly it
  correlates with failing; h is the one of BANDWIDTHS with the best leave-one-out likelihood.
  The same weights average the seconds.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np

from autoresearch_jax.benchmark.simulations.table import TableError

WIDE = 20.0
DEGREES = 5
FEWEST = 3
BANDWIDTHS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
MIN_WEIGHT = 0.1  # of a constant in the distance, as a share of the largest


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
  """From constants to the unit cube and back. low, high, log: [d]."""

  low: np.ndarray
  high: np.ndarray
  log: np.ndarray

  @classmethod
  def of(cls, points: np.ndarray) -> 'Scaling':
    low, high = points.min(axis=0), points.max(axis=0)
    log = (low > 0) & (high > WIDE * low)
    straight, by_log = cls(low, high, np.zeros_like(log)), cls(low, high, log)
    middle = np.median(points, axis=0)
    nearer = np.abs(by_log.unit(middle) - 0.5) < np.abs(straight.unit(middle) - 0.5)
    return cls(low, high, log & nearer)

  def unit(self, points: np.ndarray) -> np.ndarray:
    low, high = self._ends
    return (self._straight(points) - low) / (high - low)

  def constants(self, unit: np.ndarray) -> np.ndarray:
    """Inside the table's ranges, whatever rounding does."""
    low, high = self._ends
    straight = low + unit * (high - low)
    points = np.where(self.log, np.exp(np.where(self.log, straight, 0.0)), straight)
    return np.clip(points, self.low, self.high)

  @property
  def _ends(self) -> tuple[np.ndarray, np.ndarray]:
    return self._straight(self.low), self._straight(self.high)

  def _straight(self, points: np.ndarray) -> np.ndarray:
    return np.where(self.log, np.log(np.where(self.log, points, 1.0)), points)


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """The mean of the fitted process, in numpy. inputs: [n, d] unit points; lengths: [d].

  log: whether it models the metric's logarithm. noise: deviation between seeds, of what is
  modelled. white: the fit's own noise.
  """

  inputs: np.ndarray
  lengths: np.ndarray
  weights: np.ndarray
  offset: float
  log: bool
  noise: float
  white: float

  def mean(self, unit: np.ndarray) -> np.ndarray:
    """The metric at points [..., d]; deviations are small against it."""
    modelled = self.offset + matern(unit, self.inputs, self.lengths) @ self.weights
    return np.exp(modelled) if self.log else modelled


@dataclasses.dataclass(frozen=True, eq=False)
class Vote:
  """inputs: [n, d] unit points of all rows, times `stretch` [d], over the bandwidth."""

  inputs: np.ndarray
  stretch: np.ndarray
  failed: np.ndarray
  seconds: np.ndarray

  def at(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of failures and mean seconds around points [..., d]."""
    apart = unit[..., None, :] * self.stretch - self.inputs
    square = (apart * apart).sum(axis=-1)
    weight = np.exp(0.5 * (square.min(axis=-1, keepdims=True) - square))
    total = weight.sum(axis=-1)
    return weight @ self.failed / total, weight @ self.seconds / total


def fit_surface(unit: np.ndarray, metric: np.ndarray) -> Surface:
  """unit: [n, d] of successes. metric: [n]. Raises TableError with fewer than FEWEST rows."""
  if len(metric) < FEWEST:
    raise TableError(f'Only {len(metric)} trials succeeded; a fit needs {FEWEST} or more.')
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
    warnings.simplefilter('ignore')  # that a length is at its bound: the constant does not matter
    process.fit(unit, (target - offset) / scale)
  fitted: Any = process.kernel_
  lengths = three_digits(fitted.k1.k2.length_scale) * np.ones(unit.shape[1])
  height = float(three_digits(fitted.k1.k1.constant_value)[0])
  level = float(three_digits(fitted.k2.noise_level)[0])
  covariance = height * matern(unit, unit, lengths) + level * np.eye(len(unit))
  weights = scale * height * np.linalg.solve(covariance, (target - offset) / scale)
  white, seen = scale * level**0.5, _replicate_noise(unit, target)
  return Surface(unit, lengths, weights, offset, log, white if seen is None else seen, white)


def matern(one: np.ndarray, other: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Matern-5/2 correlations of points [..., d] with points [n, d]: [..., n]."""
  apart = one[..., None, :] / lengths - other / lengths
  distance = np.sqrt(5 * (apart * apart).sum(axis=-1))
  return (1 + distance + distance**2 / 3) * np.exp(-distance)


def three_digits(value: Any) -> np.ndarray:
  """So that the last bits of an optimiser's path, which threads change, do not matter."""
  return np.array([float(f'{v:.3g}') for v in np.atleast_1d(value)])


def fit_vote(unit: np.ndarray, ok: np.ndarray, seconds: np.ndarray) -> Vote:
  failed = (~ok).astype(float)
  relevance = np.full(unit.shape[1], 1.0)
  if failed.any() and ok.any():
    spread = unit - unit.mean(axis=0)
    covariance = np.abs(spread.T @ (failed - failed.mean()))
    relevance = covariance / np.sqrt((spread * spread).sum(axis=0) + 1e-12)
    relevance = np.maximum(relevance / (relevance.max() or 1.0), MIN_WEIGHT)
  votes = [Vote(unit * relevance / h, relevance / h, failed, seconds) for h in BANDWIDTHS]
  return max(votes, key=_left_out_likelihood)


def _left_out_likelihood(vote: Vote) -> float:
  """Log-likelihood of each row's outcome under the vote of the others."""
  apart = ((vote.inputs[:, None] - vote.inputs) ** 2).sum(axis=-1)
  np.fill_diagonal(apart, np.inf)
  weight = np.exp(0.5 * (apart.min(axis=1, keepdims=True) - apart))
  share = np.clip(weight @ vote.failed / weight.sum(axis=1), 0.01, 0.99)
  return float(np.log(np.where(vote.failed > 0, share, 1 - share)).sum())


def _replicate_noise(unit: np.ndarray, target: np.ndarray) -> float | None:
  """Pooled deviation of rows with equal constants; None with too few of them."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  count = np.bincount(group)
  residual = target - (np.bincount(group, target) / count)[group]
  degrees = len(target) - len(count)
  return float(np.sqrt((residual**2).sum() / degrees)) if degrees >= DEGREES else None
