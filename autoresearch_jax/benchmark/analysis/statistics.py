"""The statistics of the comparison: numpy arrays in, numbers with intervals out.

Scores here are regrets or areas under regret: smaller is better, 1 is the start, 0 the optimum.
An array has the shape [problems, seeds]; seeds are paired: the same column of two strategies is
the same instance. Bootstraps draw seeds anew within each problem (strata), and the same seeds for
both sides of a comparison.

Sources: Agarwal et al., 2021, Deep Reinforcement Learning at the Edge of the Statistical
Precipice, arXiv 2108.13264 (interquartile mean, stratified bootstrap, performance profiles,
probability of improvement); Wilcoxon, 1945, by scipy; Holm, 1979, A simple sequentially rejective
multiple test procedure.
"""

import dataclasses
import functools
import math

import numpy as np
import scipy.stats

DRAWS = 2000  # bootstrap resamples, as in the paper's figures
LEVEL = 0.95
EXACT = 50
_ORIGIN = 20260804  # seeds every bootstrap, so that a table is the same each time it is made


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with its 95 % interval; NaN where one seed gives none."""

  value: float
  low: float
  high: float


def interquartile_mean(scores: np.ndarray) -> float:
  """The mean of the middle half of all runs, problems taken together."""
  return float(scipy.stats.trim_mean(scores.ravel(), 0.25))


def interquartile_mean_interval(scores: np.ndarray, draws: int = DRAWS) -> Estimate:
  """With its stratified bootstrap interval, of which one seed gives none."""
  problems, seeds = scores.shape
  if seeds == 1:
    return Estimate(interquartile_mean(scores), math.nan, math.nan)
  drawn = np.take_along_axis(scores[None], _indices(draws, problems, seeds), axis=2)
  means = scipy.stats.trim_mean(drawn.reshape(draws, -1), 0.25, axis=1)
  return _estimate(interquartile_mean(scores), means)


def curve_interval(heights: np.ndarray, draws: int = 500) -> tuple[np.ndarray, ...]:
  """Interquartile mean of curves with its band: three arrays [points]. heights: [seeds, points]."""
  seeds = len(heights)
  drawn = heights[_indices(draws, 1, seeds)[:, 0]]  # [draws, seeds, points]
  cut = seeds // 4  # np.sort is faster than trim_mean, which sorts by a slower way
  means = np.sort(drawn, axis=1)[:, cut : seeds - cut].mean(axis=1)
  low, high = np.quantile(means, _tails(), axis=0)
  return scipy.stats.trim_mean(heights, 0.25, axis=0), low, high


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """The share of runs whose score is at most each threshold. Returns [thresholds]."""
  return np.searchsorted(np.sort(scores, axis=None), thresholds, side='right') / scores.size


def performance_profile_interval(
  scores: np.ndarray, thresholds: np.ndarray, draws: int = DRAWS
) -> tuple[np.ndarray, ...]:
  """The profile with its pointwise band: three arrays [thresholds]. scores: [problems, seeds]."""
  problems, seeds = scores.shape
  below = (scores[:, :, None] <= thresholds).astype(float)  # [problems, seeds, thresholds]
  times = _counts(draws, problems, seeds)
  shares = np.einsum('bps,pst->bt', times, below, optimize=True) / scores.size
  low, high = np.quantile(shares, _tails(), axis=0)
  return performance_profile(scores, thresholds), low, high


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> float:
  """P(a run of ours is better than one of theirs), ties half, mean over problems.

  The two runs are of different seeds: those of one seed share their instance, so that they say
  how alike they are and not how two runs compare. With one seed there is that pair alone.
  """
  wins = _wins(ours, theirs)
  return float(wins.sum() / (len(wins) * _pairs(ours.shape[1])))


def probability_of_improvement_interval(
  ours: np.ndarray, theirs: np.ndarray, draws: int = DRAWS
) -> Estimate:
  """With its bootstrap interval; both sides get the same seeds, since these are paired.

  A seed that was drawn twice does not meet itself either. A problem for which one seed alone was
  drawn has no pair, so it does not count in that draw. With one seed there is no interval.
  """
  value = probability_of_improvement(ours, theirs)
  problems, seeds = ours.shape
  if seeds == 1:
    return Estimate(value, math.nan, math.nan)
  wins, times = _wins(ours, theirs), _counts(draws, problems, seeds)
  met = np.matmul(times.transpose(1, 0, 2), wins.transpose(0, 2, 1))  # [problems, draws, our seeds]
  won = np.einsum('pbs,bps->bp', met, times, optimize=True)
  pairs = seeds**2 - (times**2).sum(axis=2)  # [draws, problems]
  shares = won / np.maximum(pairs, 1)
  counted = (pairs > 0).sum(axis=1)
  return _estimate(value, shares.sum(axis=1)[counted > 0] / counted[counted > 0])


@dataclasses.dataclass(frozen=True)
class SignedRank:
  """p: two-sided. better: whether the ranks of pairs where ours is smaller weigh more."""

  p: float
  better: bool


def wilcoxon(ours: np.ndarray, theirs: np.ndarray) -> SignedRank:
  """The signed-rank test over paired runs; pairs that are equal are left out.

  Exact for up to EXACT pairs without ties, else by the normal approximation with its correction
  for ties, which is rough below some ten pairs.
  """
  difference = (ours - theirs).ravel()
  difference = difference[difference != 0]
  if not difference.size:
    return SignedRank(1.0, False)
  ranks = scipy.stats.rankdata(np.abs(difference))
  exact = len(difference) <= EXACT and len(np.unique(ranks)) == len(ranks)
  method = 'exact' if exact else 'asymptotic'  # 'auto' permutes ties, which takes a second a pair
  p = np.asarray(scipy.stats.wilcoxon(difference, method=method))[1]
  return SignedRank(float(p), bool(np.sign(difference) @ ranks < 0))


def holm(ps: list[float]) -> list[float]:
  """Adjusted p-values, in the order given: max over smaller ones of (m - rank) · p, at most 1."""
  adjusted, worst = [0.0] * len(ps), 0.0
  for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
    worst = max(worst, min(1.0, (len(ps) - rank) * ps[index]))
    adjusted[index] = worst
  return adjusted


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
  """[problems, our seeds, their seeds]: 1 where ours is smaller, ½ where equal; 0 for one seed."""
  a, b = ours[:, :, None], theirs[:, None, :]
  return ((a < b) + 0.5 * (a == b)) * _met(ours.shape[1])


def _met(seeds: int) -> np.ndarray:
  """[seeds, seeds]: True where two runs are compared: of different seeds, if there are two."""
  return ~np.eye(seeds, dtype=bool) if seeds > 1 else np.ones((1, 1), bool)


def _pairs(seeds: int) -> int:
  return int(_met(seeds).sum())


def _indices(draws: int, problems: int, seeds: int) -> np.ndarray:
  """Seeds drawn with replacement: [draws, problems, seeds]."""
  return np.random.default_rng(_ORIGIN).integers(seeds, size=(draws, problems, seeds))


@functools.lru_cache(maxsize=8)
def _counts(draws: int, problems: int, seeds: int) -> np.ndarray:
  """The same draws as how often each seed came: float [draws, problems, seeds]."""
  drawn = _indices(draws, problems, seeds)
  return (drawn[..., None] == np.arange(seeds)).sum(axis=2).astype(float)


def _tails() -> tuple[float, float]:
  return (1 - LEVEL) / 2, (1 + LEVEL) / 2


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
  low, high = np.quantile(drawn, _tails())
  return Estimate(value, float(low), float(high))
