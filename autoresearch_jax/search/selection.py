"""Arithmetic of the strategies that draw a parent at random: a scale for scores, and the draw.

Published formulas suppose scores between 0 and 1, such as the share of solved tasks. A metric of
any scale is brought there by `unit_interval`.
"""

import numpy as np


def unit_interval(scores: np.ndarray) -> np.ndarray:
  """Scores of any scale on [0, 1]: the best is 1, and the lowest quarter is 0.

  Linear in between. It is min-max but for the lowest quarter: one program that fell far behind
  would otherwise push all others to 1. With fewer than four scores it is min-max. Equal scores
  are all 0.5. scores: float64 [n], finite.
  """
  if not len(scores):
    return scores
  quarter = len(scores) // 4
  low, high = np.partition(scores, quarter)[quarter], scores.max()
  if not high > low:
    return np.where(scores < low, 0.0, 0.5)
  return np.clip((scores - low) / (high - low), 0.0, 1.0)


def probabilities(log_weights: np.ndarray) -> np.ndarray:
  """Weights given by their logarithms, divided by their sum. float64 [n], n > 0."""
  weights = np.exp(log_weights - log_weights.max())
  return weights / weights.sum()


def log_logistic(x: np.ndarray) -> np.ndarray:
  """The logarithm of the logistic function, -log(1 + exp(-x)), without overflow."""
  return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))  # np.logaddexp takes 5 times as long


def draw(odds: np.ndarray, rng: np.random.Generator) -> int:
  """An index, drawn with these probabilities (Generator.choice takes several times as long)."""
  totals = np.cumsum(odds)
  return min(int(np.searchsorted(totals, rng.random() * totals[-1], 'right')), len(odds) - 1)
