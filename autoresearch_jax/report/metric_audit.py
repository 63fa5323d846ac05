"""Metric audit: whether the search split ranks the kept programs as the test split does.

A search overfits the split that it selects on. Then the ranking of its later programs on that split
says less about other data. The agreement is Kendall's rank correlation between the mean scores on
both splits, over all kept programs and for the older and the newer half of them. Its interval draws
each mean from its t distribution: it shows the noise of training seeds, not that of the data.

The test scores are those of the final evaluation and of `autoresearch audit`.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import stats

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import program_scores
from autoresearch_jax.report.final_comparison import LEVEL
from autoresearch_jax.types import test_metric

DRAWS = 4000
MIN_PROGRAMS = 3  # for an agreement; twice as many for those of the halves


@dataclasses.dataclass(frozen=True)
class SplitScores:
  """A program's scores on both splits; larger is better.

  Attributes:
    trial: Its first trial.
    search: On the search split, one a training run.
    test: On the test split.
  """

  trial: int
  search: tuple[float, ...]
  test: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class RankAgreement:
  """Kendall's rank correlation of some programs on the two splits.

  Attributes:
    trials: Their first trials, in the order in which they were kept.
    tau: The correlation.
    interval: Its 95 % interval by the noise of seeds.
  """

  trials: tuple[int, ...]
  tau: float
  interval: tuple[float, float]

  def __str__(self) -> str:
    low, high = self.interval
    return f'{self.tau:+.2f} ({low:+.2f} to {high:+.2f})'


@dataclasses.dataclass(frozen=True)
class MetricAudit:
  """What was found.

  Attributes:
    programs: Baseline and kept programs with scores on both splits, in order.
    agreement: Over all of them.
    halves: Of the older and of the newer half; None for fewer than six programs.
  """

  programs: tuple[SplitScores, ...]
  agreement: RankAgreement
  halves: tuple[RankAgreement, RankAgreement] | None

  @property
  def has_fallen(self) -> bool:
    """Whether the newer half agrees significantly less than the older one."""
    return self.halves is not None and self.halves[1].interval[1] < self.halves[0].interval[0]


def audited_programs(history: History) -> list[int]:
  """Returns the first trials of the kept programs, in the order in which they were kept."""
  return [n for n in dict.fromkeys(map(history.original, history.kept)) if n != BASELINE]


def metric_audit(history: History) -> MetricAudit | None:
  """Compares the splits; None where fewer than three programs have scores on both."""
  found = [
    scores
    for trial in (BASELINE, *audited_programs(history))
    if (scores := _scores(history, trial)).search and scores.test
  ]
  if len(found) < MIN_PROGRAMS:
    return None
  deviations = tuple(
    _pooled([getattr(scores, split) for scores in found]) for split in ('search', 'test')
  )
  halves = None
  if len(found) >= 2 * MIN_PROGRAMS:
    middle = len(found) // 2
    halves = (_agreement(found[:middle], deviations), _agreement(found[middle:], deviations))
  return MetricAudit(tuple(found), _agreement(found, deviations), halves)


def _scores(history: History, trial: int) -> SplitScores:
  objective, metric = history.objective, test_metric(history.objective.metric)
  searched = program_scores(history, trial, objective.metric).values()
  tested = [
    run.metrics[metric]
    for result in history.final_results.get(trial, {}).values()
    for run in result.measurements
    if metric in run.metrics
  ]
  return SplitScores(
    trial,
    tuple(objective.score_of(value) for value in searched),
    tuple(objective.score_of(value) for value in tested),
  )


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
  """Returns the standard deviation between seeds, pooled over programs, and its degrees."""
  several = [values for values in groups if len(values) > 1]
  degrees = sum(len(values) - 1 for values in several)
  squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
  return (math.sqrt(squares / degrees), degrees) if degrees else (0.0, 0)


def _agreement(
  programs: Sequence[SplitScores], deviations: tuple[tuple[float, int], ...]
) -> RankAgreement:
  rng = np.random.default_rng(0)
  means, drawn = [], []
  for split, (deviation, degrees) in zip(('search', 'test'), deviations, strict=True):
    values = [getattr(scores, split) for scores in programs]
    mean = np.array([statistics.fmean(v) for v in values])
    errors = deviation / np.sqrt([len(v) for v in values])
    means.append(mean[None])
    t = rng.standard_t(max(1, degrees), (DRAWS, len(programs)))
    drawn.append(mean + errors * t)
  low, high = np.quantile(_kendall(*drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  trials = tuple(scores.trial for scores in programs)
  return RankAgreement(trials, float(_kendall(*means)[0]), (float(low), float(high)))


def _kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Kendall's tau-a of each row, float64 `[rows]`."""
  upper = np.triu_indices(x.shape[1], 1)
  signs = [np.sign(v[:, upper[0]] - v[:, upper[1]]) for v in (x, y)]
  return (signs[0] * signs[1]).mean(axis=1)


def describe_audit(audit: MetricAudit | None) -> str:
  """Returns a sentence about the agreement; '' without one."""
  if audit is None:
    return ''
  text = (
    f'Search and test split agree on the ranking of {len(audit.programs)} programs with a rank '
    f'correlation (Kendall) of {audit.agreement}'
  )
  if audit.halves is None:
    return f'{text}.'
  older, newer = audit.halves
  text = f'{text}: {older} for the older half, {newer} for the newer one'
  if not audit.has_fallen:
    return f'{text}; no fall is shown.'
  return (
    f'{text}. It has fallen, so later gains on the search split mean less: begin a new run from '
    'the best program with other or more validation data.'
  )


def audit_table(audit: MetricAudit, descriptions: dict[int, str]) -> str:
  """Returns the programs as lines of text, the best on the test split first."""
  ranks = [
    stats.rankdata([-statistics.fmean(getattr(s, split)) for s in audit.programs])
    for split in ('search', 'test')
  ]
  rows = [('trial', 'rank by search split', 'by test split', 'runs', 'edit')]
  for scores, mine, test in sorted(
    zip(audit.programs, *ranks, strict=True), key=lambda row: row[2]
  ):
    runs = f'{len(scores.search)} and {len(scores.test)}'
    text = descriptions.get(scores.trial, '')[:60]
    rows.append((str(scores.trial), f'{mine:g}', f'{test:g}', runs, text))
  widths = [max(len(row[i]) for row in rows) for i in range(4)]
  return '\n'.join(
    '  '.join([*(c.ljust(w) for c, w in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
    for row in rows
  )
