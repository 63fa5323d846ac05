"""Sampling a parent: a common scale for scores, and draws from a discrete distribution.

Published selection formulas assume scores in [0, 1], such as the fraction of solved tasks.
`normalize_scores` maps a metric of any scale there.
"""

import numpy as np


def normalize_scores(scores: np.ndarray) -> np.ndarray:
  """Scales scores to [0, 1]: the best is 1, the lower quartile and everything below it 0.

  Min-max scaling, except that the minimum is the lower quartile: a single program that is far
  worse would otherwise move all others close to 1. With fewer than four scores it is min-max
  scaling. Equal scores all become 0.5.

  Args:
    scores: Finite, float64 [n].

  Returns:
    float64 [n].
  """
  if not len(scores):
    return scores
  quarter = len(scores) // 4
  low, high = np.partition(scores, quarter)[quarter], scores.max()
  if not high > low:
    return np.where(scores < low, 0.0, 0.5)
  return np.clip((scores - low) / (high - low), 0.0, 1.0)


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities proportional to exp(logits). float64 [n], n > 0."""
  weights = np.exp(logits - logits.max())
  return weights / weights.sum()


def log_sigmoid(x: np.ndarray) -> np.ndarray:
  """The logarithm of the logistic function, -log(1 + exp(-x)), without overflow."""
  return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))  # np.logaddexp takes 5 times as long


def sample_index(weights: np.ndarray, rng: np.random.Generator) -> int:
  """Draws an index with probability proportional to its weight.

  Does what `Generator.choice` does with probabilities, several times as fast.
  """
  totals = np.cumsum(weights)
  return min(int(np.searchsorted(totals, rng.random() * totals[-1], 'right')), len(weights) - 1)
