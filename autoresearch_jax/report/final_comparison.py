"""The result of the final evaluation: best program against baseline on the test split.

Both are trained on the same unused seeds, so each seed gives one paired difference. The mean gain
has a 95 % confidence interval by Student's t (Student, Biometrika 1908). It covers the variance
over training seeds, not that over test data, since both are scored on the same split.
"""

import dataclasses
import math
import statistics

from scipy import stats

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Result, test_metric

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class FinalComparison:
  """Paired differences between the best program and the baseline.

  Attributes:
    gains: Improvement of the score, one per seed.
    unscored: Why other seeds have no gain, one sentence each.
  """

  gains: tuple[float, ...]
  unscored: tuple[str, ...]

  @property
  def gain(self) -> float:
    return statistics.fmean(self.gains)

  @property
  def half_width(self) -> float | None:
    """Half width of the confidence interval; None for fewer than two seeds."""
    if len(self.gains) < 2:
      return None
    error = statistics.stdev(self.gains) / math.sqrt(len(self.gains))
    return critical_value(len(self.gains) - 1) * error


def critical_value(degrees: int) -> float:
  """Half width of a 95 % interval in standard errors, by Student's t; infinite for 0 degrees."""
  return float(stats.t.ppf((1 + LEVEL) / 2, degrees)) if degrees else math.inf


def best_program(history: History) -> int | None:
  """Returns the first trial of the best program; None if it is the baseline, or there is none."""
  return None if history.best == BASELINE else history.best


def final_comparison(history: History) -> FinalComparison:
  """Compares the present best program with the baseline, on all seeds that both have."""
  best = best_program(history)
  ours = history.final_results.get(best, {}) if best is not None else {}
  theirs = history.final_results.get(BASELINE, {})
  gains, unscored = [], []
  for seed in sorted(ours.keys() & theirs.keys()):
    best_score, base_score = _score(history, ours[seed]), _score(history, theirs[seed])
    if best_score is None or base_score is None:
      failed = ours[seed] if best_score is None else theirs[seed]
      unscored.append(f'{failed.status}: {failed.reason}')
    else:
      gains.append(best_score - base_score)
  return FinalComparison(tuple(gains), tuple(unscored))


def conclusion(history: History) -> str:
  """Describes the final comparison in a sentence; '' if no trial has a score."""
  if history.incumbent is None:
    return ''
  best = best_program(history)
  if best is None:
    return 'The baseline is still the best, so there is nothing to confirm on the test split.'
  found = final_comparison(history)
  if not found.gains and not found.unscored:
    return 'Best and baseline were not compared on the test split.'
  sentence = f'{_verdict(history, found)} on the test split ({_basis(best, found)})'
  if not found.unscored:
    return f'{sentence}.'
  seeds = len(found.gains) + len(found.unscored)
  why = one_line(found.unscored[0], 120)
  return f'{sentence}; {len(found.unscored)} of {seeds} seeds have no score: {why}'


def _verdict(history: History, found: FinalComparison) -> str:
  """Returns for instance 'Best beats baseline by 0.096981 ± 0.009935 test_loss'."""
  if not found.gains:
    return 'Best and baseline could not be compared'
  metric, width = test_metric(history.objective.metric), found.half_width
  if width is None:
    return f'Best has a gain of {found.gain:+.6f} {metric} over baseline'
  if abs(found.gain) <= width:
    return (
      f'Best was not shown to beat baseline: its gain is {found.gain:+.6f} ± {width:.6f} {metric}'
    )
  word = 'beats' if found.gain > 0 else 'is worse than'
  return f'Best {word} baseline by {abs(found.gain):.6f} ± {width:.6f} {metric}'


def _basis(best: int, found: FinalComparison) -> str:
  seeds = len(found.gains)
  if seeds > 1:
    return f'trial {best}; {LEVEL:.0%} confidence interval over {seeds} paired seeds'
  return f'trial {best}' + ('; a single seed gives no interval' if seeds else '')


def _score(history: History, result: Result) -> float | None:
  """Returns the score on the test split; larger is better."""
  metric = test_metric(history.objective.metric)
  values = [m.metrics[metric] for m in result.measurements if metric in m.metrics]
  return history.objective.score_of(values[0]) if values else None
