"""Metrics of supervised problems, by name: what the runner computes from the outputs of `predict`.

A problem names those that it measures (`Dataset.metrics`). They are computed in float64 on the
host, over the whole held-out split at once, so that metrics that are no means over examples (AUROC,
F1, R²) are exact. NumPy alone, so that the controller may import this module.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable

import numpy as np

from autoresearch_jax.types import Dataset, Direction

TIE_DECIMALS = 9  # of log-probabilities: what differs less is rounding
TOP_K = re.compile(r'val_top([1-9][0-9]*)_accuracy')


@dataclasses.dataclass(frozen=True)
class Classified:
  """Outputs of a classifier on a held-out split, with what several metrics need of them.

  Attributes:
    logits: float64 [examples, classes].
    targets: Classes, int [examples].
  """

  logits: np.ndarray
  targets: np.ndarray

  @functools.cached_property
  def log_probabilities(self) -> np.ndarray:
    """[examples, classes]; the largest logit is subtracted first, so that none overflows."""
    shifted = self.logits - self.logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

  @functools.cached_property
  def predicted(self) -> np.ndarray:
    """The likeliest class, int [examples]; the first of several."""
    return self.logits.argmax(axis=1)


def _cross_entropy(scored: Classified) -> float:
  return float(-np.take_along_axis(scored.log_probabilities, scored.targets[:, None], 1).mean())


def _accuracy(scored: Classified) -> float:
  return float((scored.predicted == scored.targets).mean())


def _top_k(scored: Classified, k: int) -> float:
  """Share of examples with fewer than k other classes at least as likely as the target."""
  own = np.take_along_axis(scored.logits, scored.targets[:, None], 1)
  return float(((scored.logits >= own).sum(axis=1) <= k).mean())


def _brier(scored: Classified) -> float:
  """Mean over examples of the squared distance to the one-hot target, between 0 and 2."""
  errors = np.exp(scored.log_probabilities)
  errors[np.arange(len(errors)), scored.targets] -= 1
  return float(np.square(errors).sum(axis=1).mean())


def _auroc(scored: Classified) -> float:
  """Area under the ROC curve: the mean over classes of each against the rest, or of the one pair.

  Classes that are absent from the split, or the only one in it, are left out.
  """
  classes = scored.logits.shape[1]
  ranked = np.round(scored.log_probabilities, TIE_DECIMALS)
  if classes == 2:
    areas = [_area(scored.logits[:, 1] - scored.logits[:, 0], scored.targets == 1)]
  else:
    areas = [_area(ranked[:, c], scored.targets == c) for c in range(classes)]
  known = [area for area in areas if not math.isnan(area)]
  return float(np.mean(known)) if known else math.nan


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
  """Probability that a positive example scores above a negative one; ties count half."""
  positives, negatives = int(positive.sum()), int((~positive).sum())
  if not positives or not negatives:
    return math.nan
  _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
  ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of equal scores, from 1
  above = ranks[positive].sum() - positives * (positives + 1) / 2
  return float(above / (positives * negatives))


def _f1(scored: Classified) -> float:
  """Mean over classes of the harmonic mean of precision and recall (macro F1).

  Of two classes the second counts as positive, and its F1 alone is returned.
  """
  classes = scored.logits.shape[1]
  scores = []
  for c in [1] if classes == 2 else range(classes):
    targets, predicted = scored.targets == c, scored.predicted == c
    total = targets.sum() + predicted.sum()
    if total or classes == 2:
      scores.append(2 * (targets & predicted).sum() / total if total else 0.0)
  return float(np.mean(scores))


CLASSIFICATION: dict[str, tuple[Direction, Callable[[Classified], float]]] = {
  'val_loss': ('minimize', _cross_entropy),
  'val_accuracy': ('maximize', _accuracy),
  'val_error': ('minimize', lambda scored: 1 - _accuracy(scored)),
  'val_brier': ('minimize', _brier),
  'val_auroc': ('maximize', _auroc),
  'val_f1': ('maximize', _f1),
}


def _mean_squared(outputs: np.ndarray, targets: np.ndarray) -> float:
  return float(np.square(outputs - targets).mean())


def _r2(outputs: np.ndarray, targets: np.ndarray) -> float:
  """Share of the variance that is explained: 1 - residual / total, the mean over target elements.

  Elements that are constant in the split are left out.
  """
  residual = np.square(outputs - targets).sum(axis=0)
  total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
  varies = total > 0
  return float((1 - residual[varies] / total[varies]).mean()) if varies.any() else math.nan


REGRESSION: dict[str, tuple[Direction, Callable[[np.ndarray, np.ndarray], float]]] = {
  'val_loss': ('minimize', _mean_squared),
  'val_mse': ('minimize', _mean_squared),
  'val_rmse': ('minimize', lambda outputs, targets: math.sqrt(_mean_squared(outputs, targets))),
  'val_mae': ('minimize', lambda outputs, targets: float(np.abs(outputs - targets).mean())),
  'val_r2': ('maximize', _r2),
}


def classification_metrics(num_classes: int, top_k: Iterable[int] = ()) -> dict[str, Direction]:
  """The metrics of a classification with their directions; top-k for those below `num_classes`."""
  more = {f'val_top{k}_accuracy': 'maximize' for k in top_k if 1 < k < num_classes}
  return {**{name: to for name, (to, _) in CLASSIFICATION.items()}, **more}  # pyright: ignore[reportReturnType]


def regression_metrics() -> dict[str, Direction]:
  """The metrics of a regression with their directions."""
  return {name: to for name, (to, _) in REGRESSION.items()}


def measure(dataset: Dataset, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
  """The metrics that a supervised dataset names; all NaN if an output is NaN.

  Args:
    dataset: Names them, and says how its targets were scaled.
    outputs: What `predict` returned: logits `[examples, classes]`, or `[examples, ...]`.
    targets: Classes, int `[examples]`, or floats shaped as the outputs.
  """
  if np.isnan(outputs).any():
    return dict.fromkeys(dataset.metrics, math.nan)
  outputs = outputs.astype(np.float64)
  with np.errstate(over='ignore', invalid='ignore', divide='ignore'):  # then a metric is not finite
    if targets.dtype.kind != 'f':
      scored = Classified(outputs, targets)
      return {name: _of_classes(name, scored) for name in dataset.metrics}
    flat, wanted = (in_own_unit(dataset, array) for array in (outputs, targets))
    return {name: REGRESSION[name][1](flat, wanted) for name in dataset.metrics}


def in_own_unit(dataset: Dataset, array: np.ndarray) -> np.ndarray:
  """Outputs or targets of a regression as before they were scaled, float64 [examples, elements]."""
  flat = array.reshape(len(array), -1).astype(np.float64)
  if not dataset.target_std:
    return flat
  return flat * np.array(dataset.target_std) + np.array(dataset.target_mean)


def _of_classes(name: str, scored: Classified) -> float:
  if found := TOP_K.fullmatch(name):
    return _top_k(scored, int(found[1]))
  return CLASSIFICATION[name][1](scored)
