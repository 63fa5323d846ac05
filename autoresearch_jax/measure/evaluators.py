"""Evaluators: how two programs are compared, from the losses of single rows.

An evaluator says for how long programs are trained, which states are scored, on which rows, and
with which weights. Applied to recorded losses it gives the paired differences of all programs,
its variance over seeds, and what a seed of both costs. `evaluator_choice` looks for a better one.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import digamma

MIN_SEEDS = 4  # with fewer, the variance of a difference says nothing
MIN_EFFECT = 0.1  # of mean² / variance, in units of its noise 1 / seeds: below, it counts as this


@dataclasses.dataclass(frozen=True)
class RowLosses:
  """Losses of programs that were trained on the same seeds with one budget.

  A row's loss is per unit (nats per target, bits per byte); the metric is the mean over units. The
  first program is the starting program.

  Attributes:
    progress: Fraction of the training after which each state was scored, increasing to 1,
      `[states]`.
    search: Losses on the validation split, float64 `[programs, seeds, states, rows]`.
    shares: Fraction of the units in each row, float64 `[rows]`.
    test: Metric on the test split, float64 `[programs, seeds]`.
    train_seconds: Duration of a training of each program, float64 `[programs]`.
    evaluate_seconds: Duration of its evaluation on all rows, float64 `[programs]`.
  """

  progress: tuple[float, ...]
  search: np.ndarray
  shares: np.ndarray
  test: np.ndarray
  train_seconds: np.ndarray
  evaluate_seconds: np.ndarray

  @property
  def seeds(self) -> int:
    return self.search.shape[1]


Recording = Mapping[float, RowLosses]  # by fraction of the budget; has 1.0; the same programs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
  """A way to compare programs. The default is the metric after a whole training, on shared seeds.

  Attributes:
    shared_seeds: Whether the variance is that of paired differences; else the sum of both
      programs' variances, as if they had been trained on different seeds.
    budget: Fraction of the budget that programs are trained for, with schedules to match.
    stop: Fraction of that training after which it is cut off, in the middle of its schedules.
    averaged: So many states, up to `stop`, whose losses are averaged.
    stride: One of so many rows is scored: those at equal distances, or, with weights, those that
      would have the largest.
    clip: Quantile of the starting program's row losses, to which larger ones are clipped; 1: none.
    power: Exponent of the losses of rows. Below 1, rows with large losses count for less.
    ridge: Rows are weighted by mean / variance of the differences of the programs it is fitted
      on; this times the mean variance is added to every variance. 0: all rows alike.
    cheap_runs: Cut-off runs for each whole one, on further seeds, as a control variate: the
      difference after `cheap_until` is subtracted from that of whole runs, times a coefficient,
      and its mean over all runs added. 0: no control variate.
    cheap_until: Fraction of the training at which the cheap runs are cut off.
  """

  shared_seeds: bool = True
  budget: float = 1.0
  stop: float = 1.0
  averaged: int = 1
  stride: int = 1
  clip: float = 1.0
  power: float = 1.0
  ridge: float = 0.0
  cheap_runs: int = 0
  cheap_until: float = 1.0

  @property
  def changes(self) -> int:
    """How many fields differ from the default."""
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(METRIC), strict=True)
    return sum(a != b for a, b in pairs)

  @property
  def is_unbiased(self) -> bool:
    """Whether differences have the same expectation as those of the metric, so keep their order."""
    neutral = dataclasses.replace(
      METRIC,
      shared_seeds=self.shared_seeds,
      stride=self.stride,
      cheap_runs=self.cheap_runs,
      cheap_until=self.cheap_until,
    )
    return self == neutral

  def __str__(self) -> str:
    parts = [
      (self.budget < 1, f'{self.budget:.0%} of the budget'),
      (self.stop < 1, f'cut off after {self.stop:.0%} of the training'),
      (self.averaged > 1, f'mean of the last {self.averaged} states'),
      (self.stride > 1, f'1 in {self.stride} rows'),
      (self.clip < 1, f'losses clipped at quantile {self.clip:g}'),
      (self.power != 1, f'losses to the power {self.power:g}'),
      (self.ridge > 0, f'weighted rows (ridge {self.ridge:g})'),
      (
        self.cheap_runs > 0,
        f'{self.cheap_runs} runs cut off at {self.cheap_until:.0%} as control variate',
      ),
    ]
    what = ', '.join(text for applies, text in parts if applies) or 'the metric after the budget'
    return what if self.shared_seeds else f'{what}, as on different seeds'


METRIC = Evaluator()
REFERENCE = Evaluator(shared_seeds=False)  # the variance that all acceptance rules assume


@dataclasses.dataclass(frozen=True)
class PairDifferences:
  """Differences of all pairs of programs on the same seeds: program i minus program j.

  Attributes:
    mean: Over seeds, float64 `[programs, programs]`.
    variance: Between seeds, unbiased; of what one seed (of a control variate: one whole run and
      its cheap ones) gives, float64 `[programs, programs]`.
    seconds: Device seconds of both programs for one seed, float64 `[programs, programs]`.
    seeds: Number of seeds.
    degrees: Degrees of freedom of the variance; 0 for seeds - 1.
  """

  mean: np.ndarray
  variance: np.ndarray
  seconds: np.ndarray
  seeds: int
  degrees: int = 0

  def effects(self, signs: np.ndarray | float = 1.0) -> np.ndarray:
    """Returns mean² / variance without the part that noise adds, float64 `[programs, programs]`.

    The mean over n seeds adds 1 / n. A variance with d degrees of freedom is too small on average
    in its logarithm, by log(d / 2) - digamma(d / 2), and gains are means of logarithms.

    Args:
      signs: The true sign of each difference; one of the wrong sign has no effect.
    """
    n, degrees = self.seeds, self.degrees or self.seeds - 1
    with np.errstate(divide='ignore', invalid='ignore'):
      factor = np.exp(digamma(degrees / 2)) / (degrees / 2)
      squared = factor * self.mean**2 / self.variance - 1 / n
    squared = np.where(np.isfinite(squared) & (self.mean * signs > 0), squared, 0.0)
    return np.maximum(squared, MIN_EFFECT / n)

  def power(self, signs: np.ndarray | float = 1.0) -> np.ndarray:
    """Returns effects per device second, float64 `[programs, programs]`."""
    return self.effects(signs) / self.seconds

  def t(self) -> np.ndarray:
    """Returns the t statistics of the means, float64 `[programs, programs]`."""
    with np.errstate(divide='ignore', invalid='ignore'):
      t = self.mean / np.sqrt(self.variance / self.seeds)
    return np.where(np.isfinite(t), t, 0.0)


@dataclasses.dataclass(frozen=True)
class FittedEvaluator:
  """An evaluator with what it takes from recorded programs.

  Attributes:
    evaluator: The evaluator.
    limit: Loss of a row to which larger ones are clipped.
    weights: Weight of each row, float64 `[rows]`, the sum being 1.
    coefficient: That of the control variate; 0 without.
  """

  evaluator: Evaluator
  limit: float
  weights: np.ndarray
  coefficient: float = 0.0

  def differences(self, recording: Recording) -> PairDifferences:
    """Compares all pairs of the recorded programs."""
    return self.measured(recording).differences()

  def measured(self, recording: Recording) -> 'MeasuredScores':
    """Returns the score of each recorded training run, and what it costs."""
    evaluator, losses = self.evaluator, recording[self.evaluator.budget]
    evaluate = losses.evaluate_seconds * np.mean(self.weights > 0)
    seconds = losses.train_seconds * evaluator.stop + evaluate * evaluator.averaged
    scores = self.scores(losses, evaluator.stop)
    if not evaluator.cheap_runs:
      return MeasuredScores(scores, seconds, evaluator.shared_seeds)
    cut = losses.train_seconds * evaluator.cheap_until + evaluate
    return MeasuredScores(
      scores,
      seconds + evaluate + evaluator.cheap_runs * cut,  # whole runs are scored there, too
      True,
      self.scores(losses, evaluator.cheap_until),
      evaluator.cheap_runs,
      self.coefficient,
    )

  def scores(self, losses: RowLosses, stop: float) -> np.ndarray:
    """Returns the score of each training run, smaller is better, float64 `[programs, seeds]`."""
    last = losses.progress.index(stop)
    states = slice(last + 1 - self.evaluator.averaged, last + 1)
    chosen = self.weights > 0
    rows = losses.search[:, :, states][..., chosen]
    return _transformed(rows, self.evaluator, self.limit).mean(axis=2) @ self.weights[chosen]


@dataclasses.dataclass(frozen=True)
class MeasuredScores:
  """Scores of training runs under an evaluator, smaller is better.

  Attributes:
    whole: Of whole runs, float64 `[programs, seeds]`.
    seconds: Device seconds of each program for one seed, float64 `[programs]`.
    shared_seeds: As of the evaluator.
    cheap: With a control variate, the scores of the same runs when they are cut off.
    cheap_runs: Cut-off runs on further seeds for each whole one.
    coefficient: That of the control variate.
  """

  whole: np.ndarray
  seconds: np.ndarray
  shared_seeds: bool = True
  cheap: np.ndarray | None = None
  cheap_runs: int = 0
  coefficient: float = 0.0

  @property
  def seeds(self) -> int:
    return self.whole.shape[1]

  def resampled(self, programs: np.ndarray, seeds: np.ndarray) -> 'MeasuredScores':
    """Returns the same of other programs and seeds, by index; they may repeat."""
    cheap = None if self.cheap is None else self.cheap[np.ix_(programs, seeds)]
    return dataclasses.replace(
      self, whole=self.whole[np.ix_(programs, seeds)], seconds=self.seconds[programs], cheap=cheap
    )

  def differences(self) -> PairDifferences:
    """Compares all pairs of programs."""
    whole, degrees = _paired(self.whole), self.seeds - 1
    variance = whole.var(axis=-1, ddof=1)
    if not self.shared_seeds:
      own, degrees = self.whole.var(axis=-1, ddof=1), 2 * degrees
      variance = own[:, None] + own[None, :]
    if self.cheap is not None:
      # The estimator is mean(whole) + coefficient (mean of all cheap runs - mean(cheap)), which is
      # mean(whole - g cheap) + g mean(further cheap runs).
      extra, cheap = self.cheap_runs, _paired(self.cheap)
      g = self.coefficient * extra / (1 + extra)
      variance = (whole - g * cheap).var(axis=-1, ddof=1) + g**2 * cheap.var(-1, ddof=1) / extra
    seconds = self.seconds[:, None] + self.seconds[None, :]
    return PairDifferences(whole.mean(axis=-1), variance, seconds, self.seeds, degrees)


def fit(
  recording: Recording, evaluator: Evaluator, programs: Sequence[int], known: np.ndarray
) -> FittedEvaluator:
  """Takes from some programs what an evaluator needs.

  Args:
    recording: The recorded losses.
    evaluator: The evaluator.
    programs: Indices of the programs that it may see.
    known: Sign of the difference of each two programs where it is known, else 0, `[all, all]`.
  """
  losses = recording[evaluator.budget]
  limit = np.inf
  if evaluator.clip < 1:
    first = recording[1.0].search[0, :, -1]
    limit = float(np.quantile(first[:, losses.shares > 0], evaluator.clip))
  used, stride = np.zeros(len(losses.shares)), 1 if evaluator.ridge else evaluator.stride
  used[::stride] = losses.shares[::stride]
  fitted = FittedEvaluator(evaluator, limit, used / used.sum())
  if evaluator.ridge:
    weights = _weights(losses, fitted, programs, known)
    fitted = dataclasses.replace(fitted, weights=weights)
  if evaluator.cheap_runs:
    coefficient = _coefficient(losses, fitted, programs)
    fitted = dataclasses.replace(fitted, coefficient=coefficient)
  return fitted


def _paired(scores: np.ndarray) -> np.ndarray:
  """Differences of all pairs, `[programs, programs, seeds]` from `[programs, seeds]`."""
  return scores[:, None] - scores[None, :]


def _transformed(rows: np.ndarray, evaluator: Evaluator, limit: float) -> np.ndarray:
  clipped = np.minimum(rows, limit) if np.isfinite(limit) else rows
  return clipped if evaluator.power == 1 else np.maximum(clipped, 0.0) ** evaluator.power


def _weights(
  losses: RowLosses, fitted: FittedEvaluator, programs: Sequence[int], known: np.ndarray
) -> np.ndarray:
  """Weights of rows by the mean / variance of their differences, none negative, `[rows]`.

  Each pair counts by its own noise, so that a large difference does not decide alone.
  """
  last = losses.progress.index(fitted.evaluator.stop)
  rows = _transformed(losses.search[:, :, last], fitted.evaluator, fitted.limit)
  means, variances = [], []
  for place, i in enumerate(programs):
    for j in programs[:place]:
      if known[i, j]:
        difference = (rows[i] - rows[j]) * known[i, j]  # [seeds, rows]
        total = difference @ fitted.weights
        scale = max(float(total.std(ddof=1)), 1e-12)
        means.append(difference.mean(axis=0) / scale)
        variances.append(difference.var(axis=0, ddof=1) / scale**2)
  if not means:
    return fitted.weights
  mean, variance = np.mean(means, axis=0), np.mean(variances, axis=0)
  noise = variance + fitted.evaluator.ridge * variance.mean()
  ratio = np.divide(np.maximum(mean, 0.0), noise, out=np.zeros_like(mean), where=noise > 0)
  weights = fitted.weights * ratio
  if fitted.evaluator.stride > 1:
    weights[np.argsort(-weights)[len(weights) // fitted.evaluator.stride :]] = 0.0
  return weights / weights.sum() if weights.sum() > 0 else fitted.weights


def _coefficient(losses: RowLosses, fitted: FittedEvaluator, programs: Sequence[int]) -> float:
  """The regression of whole differences on those of cut-off runs, pooled over pairs."""
  evaluator, chosen = fitted.evaluator, list(programs)
  whole, cheap = (
    _paired(fitted.scores(losses, stop)[chosen]) for stop in (evaluator.stop, evaluator.cheap_until)
  )
  whole, cheap = (d - d.mean(axis=-1, keepdims=True) for d in (whole, cheap))
  total = float((cheap * cheap).sum())
  return float((whole * cheap).sum()) / total if total > 0 else 0.0


def candidates(recording: Recording) -> list[Evaluator]:
  """Returns the evaluators that a recording can judge, the simplest ones first."""
  found = [METRIC, REFERENCE]
  for budget, losses in sorted(recording.items(), reverse=True):
    for power in (1.0, 0.5):
      for clip in (1.0, 0.95, 0.8) if power == 1 else (1.0,):
        for ridge in (0.0, 0.1, 1.0):
          for stride in (1, 2, 4):
            plain = Evaluator(budget=budget, stride=stride, clip=clip, power=power, ridge=ridge)
            found.append(plain)
            if ridge or stride > 1:
              continue
            found += [dataclasses.replace(plain, stop=stop) for stop in losses.progress[:-1]]
            if len(losses.progress) > 1:
              found.append(dataclasses.replace(plain, averaged=2))
    for until in losses.progress[:-1]:
      found += [
        Evaluator(budget=budget, cheap_runs=extra, cheap_until=until, clip=clip)
        for extra in (1, 3)
        for clip in (1.0, 0.95)
      ]
  return sorted(dict.fromkeys(found), key=lambda evaluator: evaluator.changes)
