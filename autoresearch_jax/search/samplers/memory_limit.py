"""Predicts from earlier trials whether a program fits in the device's memory.

Samplers use it to avoid points that would run out of memory: Bayesian optimisation with an unknown
constraint (Gelbart et al., 2014, arXiv 1403.5607), with a regression instead of a Gaussian process,
because a program's memory is nearly a product of its sizes:

    log bytes = w0 + w · z + noise,  z: each constant's logarithm, scaled to [-1, 1]

Squares and products of the most important constants are added if they increase the evidence. Each
weight has a prior width of its own, also set by the evidence (MacKay, 1992, Bayesian
Interpolation), so that the many constants that take no memory do not add uncertainty. A trial that
did not fit, and whose size is unknown, is imputed as the mean of the distribution above the limit.

The limit is the device's memory if a trial reports it, otherwise a value between the largest
program that fitted and the smallest that did not. Nothing here is random.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.search.samplers.space import Dimension, Value
from autoresearch_jax.types import Status, Trial

MIN_TRIALS = 3  # with a known size, before anything is predicted
MAX_TRIALS = 200  # the newest, which a fit uses
EVIDENCE_ROUNDS = 12  # updates of the prior widths; they change little after that
# Bounds of a weight's prior standard deviation: 3 is the square of a size that spans a factor of
# 16.
PRIOR_WIDTHS = (0.1, 3.0)
# Prior standard deviation of the noise, and how many trials it counts as: with as many weights as
# trials the fit is perfect, and its residuals say nothing about the noise.
PRIOR_NOISE, PRIOR_NOISE_TRIALS = 0.2, 3
MIN_PRODUCT_WEIGHT = 0.25  # a constant with a smaller weight gets no products
MAX_PRODUCTS = 6  # constants with products
IMPUTATION_ROUNDS = 4  # for programs of unknown size above the limit


class Footprint(msgspec.Struct, frozen=True, omit_defaults=True):
  """A program's memory on one device.

  Attributes:
    values: The program's constants.
    fits: Whether it fitted.
    bytes: Memory that it takes; 0 for unknown.
    device: Memory of the device; 0 for unknown.
  """

  values: tuple[Value, ...]
  fits: bool
  bytes: int = 0
  device: int = 0


def footprint(trial: Trial, values: tuple[Value, ...]) -> Footprint | None:
  """Returns a trial's footprint, None when it was never compiled.

  A refused trial has the facts `needed_bytes` and `device_bytes`, if the executor knows them;
  `memory_bytes` is the device's memory when the runner started.
  """
  facts = trial.result.facts
  if trial.result.status is Status.OOM:
    device = _size(facts.get('device_bytes')) or _size(facts.get('memory_bytes'))
    return Footprint(values, False, _size(facts.get('needed_bytes')), device)
  costs = [m.cost for m in trial.result.measurements]
  size = max((_size(c.analysis_bytes) or _size(c.peak_bytes) for c in costs), default=0)
  size = size or _size(facts.get('analysis_bytes'))
  return Footprint(values, True, size) if size else None


@dataclasses.dataclass(frozen=True)
class MemoryLimit:
  """Predicts from footprints, once one of them did not fit.

  Attributes:
    space: The search space.
    footprints: What is known, in order of completion.
    margin: Fraction of the memory to leave free.
  """

  space: tuple[Dimension, ...]
  footprints: tuple[Footprint, ...]
  margin: float = 0.0

  def oom_probability(self, values: tuple[Value, ...]) -> float:
    """Returns the probability that a program does not fit; 0 with too few trials to say."""
    known = {f.values: f.fits for f in self.footprints}
    if values in known:
      return float(not known[values])
    if self._model is None:
      return 0.0
    model, limit, limit_std = self._model
    mean, std = model.predict(_coordinates(self.space, [values]))
    excess = (mean - limit - math.log1p(-self.margin)) / math.hypot(std, limit_std)
    return 0.5 * math.erfc(-excess / math.sqrt(2))

  @functools.cached_property
  def _model(self) -> 'tuple[MemoryRegression, float, float] | None':
    """The fit, the log of the limit and its standard deviation; None with too few trials."""
    known = [f for f in self.footprints if f.bytes][-MAX_TRIALS:]
    refused = [f for f in self.footprints if not f.fits]
    unknown = [f for f in refused if not f.bytes][-MAX_TRIALS:]
    if len(known) < MIN_TRIALS or not refused:
      return None
    points = _coordinates(self.space, [f.values for f in known])
    logs = np.log([float(f.bytes) for f in known])
    model = _fit(points, logs)
    beyond = _coordinates(self.space, [f.values for f in unknown])
    limit, limit_std = _limit(self.footprints, [model.predict(row[None]) for row in beyond])
    for _ in range(IMPUTATION_ROUNDS if unknown else 0):
      imputed = [_mean_above(limit, *model.predict(row[None])) for row in beyond]
      model = _fit(np.concatenate([points, beyond]), np.concatenate([logs, imputed]))
    return model, limit, limit_std


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryRegression:
  """A Bayesian linear regression of log bytes.

  Attributes:
    pairs: Pairs of columns whose products are features.
    mean: Posterior mean of the weights, [features].
    covariance: Posterior covariance of the weights, [features, features].
    offset: Mean of the log bytes that it was fitted to.
    noise: Standard deviation of the noise.
    evidence: Log marginal likelihood, up to a constant.
  """

  pairs: tuple[tuple[int, int], ...]
  mean: np.ndarray
  covariance: np.ndarray
  offset: float
  noise: float
  evidence: float

  def predict(self, point: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of the log bytes at a point [1, columns]."""
    row = _features(point, self.pairs)[0]
    variance = self.noise**2 + float(row @ self.covariance @ row)
    return self.offset + float(row @ self.mean), math.sqrt(variance)


def _fit(points: np.ndarray, logs: np.ndarray) -> MemoryRegression:
  """Fits a regression, with products if they increase the evidence.

  Args:
    points: [n, columns].
    logs: Log bytes, [n].
  """
  plain = _regression(points, logs, ())
  weights = np.abs(plain.mean[1:])
  strong = np.argsort(-weights, kind='stable')[:MAX_PRODUCTS]
  chosen = sorted(int(i) for i in strong if weights[i] > MIN_PRODUCT_WEIGHT)
  if not chosen:
    return plain
  pairs = tuple(itertools.combinations_with_replacement(chosen, 2))
  return max(plain, _regression(points, logs, pairs), key=lambda model: model.evidence)


def _regression(
  points: np.ndarray, logs: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> MemoryRegression:
  """Sets prior widths and noise by MacKay's updates, within bounds; weight 0 is the intercept."""
  features, offset = _features(points, pairs), float(logs.mean())
  target, count = logs - offset, len(logs)
  precision = np.ones(features.shape[1])
  beta, (mean, covariance) = 100.0, (np.empty(0), np.empty(0))
  for _ in range(EVIDENCE_ROUNDS):
    covariance = np.linalg.inv(np.diag(precision) + beta * features.T @ features)
    mean = beta * covariance @ features.T @ target
    used = np.clip(1 - precision * np.diag(covariance), 1e-9, 1)
    residual = target - features @ mean
    free = max(count - float(used.sum()), 0.0) + PRIOR_NOISE_TRIALS
    square = float(residual @ residual) + PRIOR_NOISE_TRIALS * PRIOR_NOISE**2
    beta = free / square
    precision = np.clip(used / np.maximum(mean**2, 1e-12), *_inverse_square(PRIOR_WIDTHS))
    precision[0] = PRIOR_WIDTHS[1] ** -2
  covariance = np.linalg.inv(np.diag(precision) + beta * features.T @ features)
  mean = beta * covariance @ features.T @ target
  total = np.eye(count) / beta + (features / precision) @ features.T
  _, size = np.linalg.slogdet(total)
  evidence = -0.5 * float(size + target @ np.linalg.solve(total, target))
  return MemoryRegression(tuple(pairs), mean, covariance, offset, beta**-0.5, evidence)


def _features(points: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
  products = [points[:, i] * points[:, j] for i, j in pairs]
  return np.column_stack([np.ones(len(points)), points, *products])


def _coordinates(space: tuple[Dimension, ...], rows: Sequence[tuple[Value, ...]]) -> np.ndarray:
  """Returns a column in [-1, 1] per constant, or one-hot columns for choices. [rows, columns]."""
  columns = []
  for place, dimension in enumerate(space):
    values = [row[place] for row in rows]
    if dimension.choices:
      columns += [[float(repr(v) == repr(c)) for v in values] for c in dimension.choices]
    else:
      columns.append([_scaled(dimension, float(v)) for v in values])
  return np.array(columns, float).T.reshape(len(rows), len(columns))


def _scaled(dimension: Dimension, value: float) -> float:
  low, high = float(dimension.low), float(dimension.high)
  if low > 0:
    low, high, value = math.log(low), math.log(high), math.log(value)
  return 2 * (value - low) / (high - low) - 1 if high > low else 0.0


def _limit(
  footprints: Sequence[Footprint], predictions: list[tuple[float, float]]
) -> tuple[float, float]:
  """Returns the log of the memory limit, and its standard deviation.

  Args:
    footprints: All footprints.
    predictions: Mean and standard deviation of the log bytes of programs that did not fit and whose
      size is unknown.
  """
  floor = max((math.log(f.bytes) for f in footprints if f.fits and f.bytes), default=-math.inf)
  refused = [f for f in footprints if not f.fits]
  reported = [math.log(f.device) for f in refused if f.device]
  needed = [math.log(f.bytes) for f in refused if f.bytes]
  if reported and floor <= reported[-1] <= min(needed, default=math.inf):
    return reported[-1], 0.0
  ceiling, std = min([(size, 0.0) for size in (*needed, *reported)] or predictions)
  if floor == -math.inf:
    return ceiling, std
  gap = abs(ceiling - floor)  # the ceiling is below when the limit moves, as on a shared machine
  return (ceiling + floor) / 2, math.hypot(gap / math.sqrt(12), std)


def _mean_above(limit: float, mean: float, std: float) -> float:
  """Returns the mean of a normal variable given that it is above the limit."""
  z = (limit - mean) / std
  tail = 0.5 * math.erfc(z / math.sqrt(2))
  if tail < 1e-12:
    return limit
  return mean + std * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / tail


def _inverse_square(bounds: tuple[float, float]) -> tuple[float, float]:
  low, high = bounds
  return high**-2, low**-2


def _size(value: Any) -> int:
  """Returns a positive number of bytes; 0 for any other content of a fact."""
  valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**62
  return int(value) if valid else 0
