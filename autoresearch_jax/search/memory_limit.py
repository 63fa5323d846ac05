"""What fits in the device's memory, learnt from trials: so that samplers ask for little else.

Source: the unknown constraint of Bayesian optimisation (Gelbart et al., 2014, arXiv 1403.5607),
with a regression in place of a process, since a program's memory is nearly a product of its sizes:

    log bytes = w0 + w · z + noise,  z: each constant's logarithm, scaled to [-1, 1]

Squares and products of the constants that matter join where they raise the evidence. Each weight
has a prior width of its own, set by the evidence too (MacKay, 1992, Bayesian Interpolation), so
that the many constants that take no memory cost no certainty. A trial that did not fit, and of
which nobody knows what it needed, is worth the mean of what lies above the limit.

The limit is the device's where a trial says it, else somewhere between the largest program that
fit and the smallest that did not. Nothing here is random.
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

FEWEST = 3  # trials whose bytes are known, before anything is predicted
MOST = 200  # trials that a fit looks at, the newest
ROUNDS = 12  # of setting the widths; they change little after that
WIDTHS = (0.1, 3.0)  # of a weight's prior: 3 is the square of a size that spans a factor of 16
# Deviation of log bytes from the model, before any was seen, and how many trials that is worth:
# with as many weights as trials the fit is perfect, and says nothing of its errors.
MISFIT, BELIEF = 0.2, 3
MATTERS = 0.25  # a weight as large as this may have products
MAX_PRODUCTS = 6  # constants that have them
IMPUTED = 4  # rounds of guessing what unknown programs above the limit take


class Footprint(msgspec.Struct, frozen=True, omit_defaults=True):
  """What a trial says of memory. bytes: of one device; device: its limit; 0: nobody knows."""

  values: tuple[Value, ...]
  fits: bool
  bytes: int = 0
  device: int = 0


def footprint(trial: Trial, values: tuple[Value, ...]) -> Footprint | None:
  """None where the trial says nothing: it never came to be compiled.

  A trial that was refused has `needed_bytes` and `device_bytes` among its facts, if the executor
  knows them; `memory_bytes` is what the device had when the runner began.
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
  """Predicts from `footprints`, once one of them did not fit. margin: share to leave free."""

  space: tuple[Dimension, ...]
  footprints: tuple[Footprint, ...]
  margin: float = 0.0

  def risk(self, values: tuple[Value, ...]) -> float:
    """The probability that a program with these constants does not fit; 0 where nobody knows."""
    known = {f.values: f.fits for f in self.footprints}
    if values in known:
      return float(not known[values])
    if self._model is None:
      return 0.0
    model, limit, deviation = self._model
    mean, spread = model.at(_coordinates(self.space, [values]))
    excess = (mean - limit - math.log1p(-self.margin)) / math.hypot(spread, deviation)
    return 0.5 * math.erfc(-excess / math.sqrt(2))

  @functools.cached_property
  def _model(self) -> 'tuple[Model, float, float] | None':
    """The fit, and the logarithm of the limit with its deviation; None with too few trials."""
    known = [f for f in self.footprints if f.bytes][-MOST:]
    refused = [f for f in self.footprints if not f.fits]
    unknown = [f for f in refused if not f.bytes][-MOST:]
    if len(known) < FEWEST or not refused:
      return None
    points = _coordinates(self.space, [f.values for f in known])
    logs = np.log([float(f.bytes) for f in known])
    model = _fit(points, logs)
    beyond = _coordinates(self.space, [f.values for f in unknown])
    limit, deviation = _limit(self.footprints, [model.at(row[None]) for row in beyond])
    for _ in range(IMPUTED if unknown else 0):
      guessed = [_mean_above(limit, *model.at(row[None])) for row in beyond]
      model = _fit(np.concatenate([points, beyond]), np.concatenate([logs, guessed]))
    return model, limit, deviation


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A Bayesian linear regression. pairs: columns whose products join. mean, covariance: weights."""

  pairs: tuple[tuple[int, int], ...]
  mean: np.ndarray
  covariance: np.ndarray
  offset: float
  noise: float
  evidence: float

  def at(self, point: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the log bytes at a point [1, columns]."""
    row = _features(point, self.pairs)[0]
    variance = self.noise**2 + float(row @ self.covariance @ row)
    return self.offset + float(row @ self.mean), math.sqrt(variance)


def _fit(points: np.ndarray, logs: np.ndarray) -> Model:
  """With products where they pay. points: [n, columns]. logs: [n]."""
  plain = _regression(points, logs, ())
  weights = np.abs(plain.mean[1:])
  strong = np.argsort(-weights, kind='stable')[:MAX_PRODUCTS]
  chosen = sorted(int(i) for i in strong if weights[i] > MATTERS)
  if not chosen:
    return plain
  pairs = tuple(itertools.combinations_with_replacement(chosen, 2))
  return max(plain, _regression(points, logs, pairs), key=lambda model: model.evidence)


def _regression(points: np.ndarray, logs: np.ndarray, pairs: Sequence[tuple[int, int]]) -> Model:
  """Widths and noise by MacKay's updates, inside their bounds; the first weight is the level."""
  features, offset = _features(points, pairs), float(logs.mean())
  target, count = logs - offset, len(logs)
  precision = np.ones(features.shape[1])
  beta, (mean, covariance) = 100.0, (np.empty(0), np.empty(0))
  for _ in range(ROUNDS):
    covariance = np.linalg.inv(np.diag(precision) + beta * features.T @ features)
    mean = beta * covariance @ features.T @ target
    used = np.clip(1 - precision * np.diag(covariance), 1e-9, 1)
    residual = target - features @ mean
    free = max(count - float(used.sum()), 0.0) + BELIEF
    square = float(residual @ residual) + BELIEF * MISFIT**2
    beta = free / square
    precision = np.clip(used / np.maximum(mean**2, 1e-12), *_inverse_square(WIDTHS))
    precision[0] = WIDTHS[1] ** -2
  covariance = np.linalg.inv(np.diag(precision) + beta * features.T @ features)
  mean = beta * covariance @ features.T @ target
  total = np.eye(count) / beta + (features / precision) @ features.T
  _, size = np.linalg.slogdet(total)
  evidence = -0.5 * float(size + target @ np.linalg.solve(total, target))
  return Model(tuple(pairs), mean, covariance, offset, beta**-0.5, evidence)


def _features(points: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
  products = [points[:, i] * points[:, j] for i, j in pairs]
  return np.column_stack([np.ones(len(points)), points, *products])


def _coordinates(space: tuple[Dimension, ...], rows: Sequence[tuple[Value, ...]]) -> np.ndarray:
  """[rows, columns]: a number in [-1, 1] a constant, and a column of 0 and 1 for each choice."""
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
  footprints: Sequence[Footprint], guessed: list[tuple[float, float]]
) -> tuple[float, float]:
  """Logarithm of the limit, and its deviation.

  guessed: log bytes and their deviation, of what did not fit and nobody knows better.
  """
  floor = max((math.log(f.bytes) for f in footprints if f.fits and f.bytes), default=-math.inf)
  refused = [f for f in footprints if not f.fits]
  told = [math.log(f.device) for f in refused if f.device]
  needed = [math.log(f.bytes) for f in refused if f.bytes]
  if told and floor <= told[-1] <= min(needed, default=math.inf):
    return told[-1], 0.0
  ceiling, deviation = min([(size, 0.0) for size in (*needed, *told)] or guessed)
  if floor == -math.inf:
    return ceiling, deviation
  apart = abs(ceiling - floor)  # below it where the limit moves, as that of a shared machine does
  return (ceiling + floor) / 2, math.hypot(apart / math.sqrt(12), deviation)


def _mean_above(limit: float, mean: float, deviation: float) -> float:
  """The mean of a normal number that is known to be above the limit."""
  z = (limit - mean) / deviation
  tail = 0.5 * math.erfc(z / math.sqrt(2))
  if tail < 1e-12:
    return limit
  return mean + deviation * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / tail


def _inverse_square(bounds: tuple[float, float]) -> tuple[float, float]:
  low, high = bounds
  return high**-2, low**-2


def _size(value: Any) -> int:
  """A positive number of bytes; 0 for whatever else a fact may hold."""
  sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**62
  return int(value) if sound else 0
