"""What the closing act found: best against baseline, on data and seeds that no search ever saw.

Both are trained on the same fresh seeds, so each seed gives one gain, and their mean has the 95 %
interval of Student's t (Student, Biometrika 1908). It answers for the luck of training seeds, not
for another slice of data: both programs are scored on the same one.
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
  """gains: of the score, one for each pair of runs. unscored: why other pairs have none."""

  gains: tuple[float, ...]
  unscored: tuple[str, ...]

  @property
  def gain(self) -> float:
    return statistics.fmean(self.gains)

  @property
  def half_width(self) -> float | None:
    """Of the interval around `gain`; None for a single pair, which tells nothing of the noise."""
    if len(self.gains) < 2:
      return None
    error = statistics.stdev(self.gains) / math.sqrt(len(self.gains))
    return float(stats.t.ppf((1 + LEVEL) / 2, len(self.gains) - 1)) * error


def best_program(history: History) -> int | None:
  """The first trial with the best program; None while that is the baseline, or there is none."""
  best = history.incumbent
  first = BASELINE if best is None else history.original(best.id)
  return None if first == BASELINE else first


def final_comparison(history: History) -> FinalComparison:
  """Of all pairs that are complete, with the best program as it stands now."""
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
  """The last line of a run; '' while nothing has a score."""
  if history.incumbent is None:
    return ''
  best = best_program(history)
  if best is None:
    return 'The baseline is still the best, so there is nothing to confirm on the test split.'
  found = final_comparison(history)
  if not found.gains and not found.unscored:
    return 'Best and baseline were not compared on data never used for selection.'
  sentence = f'{_verdict(history, found)} on data never used for selection ({_basis(best, found)})'
  if not found.unscored:
    return f'{sentence}.'
  pairs = len(found.gains) + len(found.unscored)
  why = one_line(found.unscored[0], 120)
  return f'{sentence}; {len(found.unscored)} of {pairs} pairs got no score: {why}'


def _verdict(history: History, found: FinalComparison) -> str:
  """'Best beats baseline by 0.096981 ± 0.009935 test_loss', where the interval says so."""
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
  pairs = len(found.gains)
  if pairs > 1:
    return f'trial {best}; {LEVEL:.0%} interval over {pairs} pairs of fresh seeds'
  return f'trial {best}' + ('; a single pair of fresh seeds gives no interval' if pairs else '')


def _score(history: History, result: Result) -> float | None:
  """On the test split, turned so that larger is better."""
  metric = test_metric(history.objective.metric)
  values = [m.metrics[metric] for m in result.measurements if metric in m.metrics]
  if not values:
    return None
  return -values[0] if history.objective.direction == 'minimize' else values[0]
