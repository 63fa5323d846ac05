"""Statistics of a comparison, from numpy arrays to estimates with confidence intervals.

Scores are regrets or areas under regret curves: smaller is better, 1 is the start, 0 the optimum.
Arrays are [problems, seeds]. Seeds are paired: the same column of two methods is the same instance.
Bootstraps are stratified by problem, and resample the same seeds for both sides of a comparison.

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
MAX_EXACT = 50  # pairs for which Wilcoxon's test is exact
_BOOTSTRAP_SEED = 20260804  # of every bootstrap, so that tables are reproducible


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with its 95 % confidence interval.

  Attributes:
    value: The number.
    low: Lower end of the interval; NaN with one seed.
    high: Upper end of the interval; NaN with one seed.
  """

  value: float
  low: float
  high: float


def interquartile_mean(scores: np.ndarray) -> float:
  """Returns the mean of the middle half of all runs over all problems."""
  return float(scipy.stats.trim_mean(scores.ravel(), 0.25))


def interquartile_mean_interval(scores: np.ndarray, draws: int = DRAWS) -> Estimate:
  """Returns the interquartile mean with its stratified bootstrap interval."""
  problems, seeds = scores.shape
  if seeds == 1:
    return Estimate(interquartile_mean(scores), math.nan, math.nan)
  drawn = np.take_along_axis(scores[None], _indices(draws, problems, seeds), axis=2)
  means = scipy.stats.trim_mean(drawn.reshape(draws, -1), 0.25, axis=1)
  return _estimate(interquartile_mean(scores), means)


def curve_interval(heights: np.ndarray, draws: int = 500) -> tuple[np.ndarray, ...]:
  """Returns the interquartile mean of curves, and the ends of its band, each [points].

  Args:
    heights: The curves, [seeds, points].
    draws: Number of bootstrap resamples.
  """
  seeds = len(heights)
  drawn = heights[_indices(draws, 1, seeds)[:, 0]]  # [draws, seeds, points]
  cut = seeds // 4  # np.sort is faster than trim_mean
  means = np.sort(drawn, axis=1)[:, cut : seeds - cut].mean(axis=1)
  low, high = np.quantile(means, _tails(), axis=0)
  return scipy.stats.trim_mean(heights, 0.25, axis=0), low, high


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """Returns the fraction of runs whose score is at most each threshold, [thresholds]."""
  return np.searchsorted(np.sort(scores, axis=None), thresholds, side='right') / scores.size


def performance_profile_interval(
  scores: np.ndarray, thresholds: np.ndarray, draws: int = DRAWS
) -> tuple[np.ndarray, ...]:
  """Returns the profile and the ends of its pointwise band, each [thresholds]."""
  problems, seeds = scores.shape
  below = (scores[:, :, None] <= thresholds).astype(float)  # [problems, seeds, thresholds]
  times = _counts(draws, problems, seeds)
  shares = np.einsum('bps,pst->bt', times, below, optimize=True) / scores.size
  low, high = np.quantile(shares, _tails(), axis=0)
  return performance_profile(scores, thresholds), low, high


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> float:
  """Returns P(a run of ours is better than one of theirs), averaged over problems; a tie is half.

  Runs of different seeds are compared, because two runs of one seed share their instance and are
  not independent. With a single seed, its pair is compared nevertheless.
  """
  wins = _wins(ours, theirs)
  return float(wins.sum() / (len(wins) * _num_pairs(ours.shape[1])))


def probability_of_improvement_interval(
  ours: np.ndarray, theirs: np.ndarray, draws: int = DRAWS
) -> Estimate:
  """Returns the probability of improvement with its bootstrap interval.

  Both sides are resampled with the same seeds, since these are paired. Copies of a seed are not
  compared with each other. A problem for which only one seed was drawn has no pair and is ignored
  in that resample.
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
  """Result of Wilcoxon's signed-rank test.

  Attributes:
    p: Two-sided p-value.
    better: Whether the rank sum of pairs where ours is smaller is larger.
  """

  p: float
  better: bool


def wilcoxon(ours: np.ndarray, theirs: np.ndarray) -> SignedRank:
  """Returns the signed-rank test over paired runs; equal pairs are dropped.

  Exact for up to MAX_EXACT pairs without ties, else by the normal approximation with a
  correction for ties, which is inaccurate below about ten pairs.
  """
  difference = (ours - theirs).ravel()
  difference = difference[difference != 0]
  if not difference.size:
    return SignedRank(1.0, False)
  ranks = scipy.stats.rankdata(np.abs(difference))
  exact = len(difference) <= MAX_EXACT and len(np.unique(ranks)) == len(ranks)
  method = 'exact' if exact else 'asymptotic'  # 'auto' permutes ties, which takes a second
  p = np.asarray(scipy.stats.wilcoxon(difference, method=method))[1]
  return SignedRank(float(p), bool(np.sign(difference) @ ranks < 0))


def holm(ps: list[float]) -> list[float]:
  """Returns p-values adjusted by Holm's procedure: max over smaller ones of (m - rank) · p."""
  adjusted, worst = [0.0] * len(ps), 0.0
  for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
    worst = max(worst, min(1.0, (len(ps) - rank) * ps[index]))
    adjusted[index] = worst
  return adjusted


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
  """Returns 1 where ours is smaller, ½ for ties, 0 for pairs that are not compared.

  [problems, our seeds, their seeds].
  """
  a, b = ours[:, :, None], theirs[:, None, :]
  return ((a < b) + 0.5 * (a == b)) * _compared_pairs(ours.shape[1])


def _compared_pairs(seeds: int) -> np.ndarray:
  """Returns which pairs are compared: those of different seeds. [seeds, seeds]."""
  return ~np.eye(seeds, dtype=bool) if seeds > 1 else np.ones((1, 1), bool)


def _num_pairs(seeds: int) -> int:
  return int(_compared_pairs(seeds).sum())


def _indices(draws: int, problems: int, seeds: int) -> np.ndarray:
  """Returns seeds drawn with replacement, [draws, problems, seeds]."""
  return np.random.default_rng(_BOOTSTRAP_SEED).integers(seeds, size=(draws, problems, seeds))


@functools.lru_cache(maxsize=8)
def _counts(draws: int, problems: int, seeds: int) -> np.ndarray:
  """Returns how often each seed was drawn by `_indices`, float [draws, problems, seeds]."""
  drawn = _indices(draws, problems, seeds)
  return (drawn[..., None] == np.arange(seeds)).sum(axis=2).astype(float)


def _tails() -> tuple[float, float]:
  return (1 - LEVEL) / 2, (1 + LEVEL) / 2


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
  low, high = np.quantile(drawn, _tails())
  return Estimate(value, float(low), float(high))
