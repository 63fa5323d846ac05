"""How well the gains of programs in one setting predict those in another one.

Gains are paired differences from the baseline on the same seeds. A share is a quotient of two
uncertain numbers, so its interval is found by drawing both from their t distributions; a program
whose gain in the source is not significant has none. The rank correlation is Spearman's. For its
interval the mean of every program, the baseline's too, is drawn by itself, with half of the
variance of a gain; it shows the noise of seeds alone, not that of the choice of programs.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from autoresearch_jax.knowledge.paired_gains import PairedGain, paired_differences, paired_gains
from autoresearch_jax.transfer.measurements import Scores

DRAWS = 20_000
LEVEL = 0.95

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Share:
  """How much of a program's gain is left in the target.

  Attributes:
    mean: Gain in the target divided by that in the source.
    interval: 95 % interval.
  """

  mean: float
  interval: Interval


@dataclasses.dataclass(frozen=True)
class Transferred:
  """A program of the run in both settings.

  Attributes:
    trial: Its first trial.
    source: Its gain over the baseline in the setting of the run; None without a score.
    target: The same in the other setting.
    share: How much of the gain is left; None unless the gain in the source is significant.
    failure: Why it has no score, a sentence or ''.
  """

  trial: int
  source: PairedGain | None
  target: PairedGain | None
  share: Share | None
  failure: str = ''


@dataclasses.dataclass(frozen=True)
class TransferSummary:
  """What a transfer found.

  Attributes:
    programs: The programs, but for the baseline.
    rank_correlation: Spearman's, over the baseline and all programs with scores in both settings;
      None for fewer than three.
    interval: Its 95 % interval.
  """

  programs: tuple[Transferred, ...]
  rank_correlation: float | None
  interval: Interval | None


def summarize(
  source: Mapping[int, Scores],
  target: Mapping[int, Scores],
  baseline: int,
  failures: Mapping[int, str],
) -> TransferSummary:
  """Compares gains in two settings.

  Args:
    source: Scores of each program by seed in the setting of the run; programs are named by their
      first trial.
    target: The same in the other setting.
    baseline: Name of the starting program.
    failures: Why programs have no score.
  """
  here, there = (_gains(scores, baseline) for scores in (source, target))
  rng = np.random.default_rng(0)
  drawn_here, drawn_there = (
    {n: _draws(g, rng) for n, g in gains.items()} for gains in (here, there)
  )
  programs = []
  for name in source.keys() | target.keys() | failures.keys():
    if name == baseline:
      continue
    before, after, share = here.get(name), there.get(name), None
    if before and after and before.is_shown:
      quotients = drawn_there[name] / drawn_here[name]
      share = Share(after.mean / before.mean, _interval(quotients))
    programs.append(Transferred(name, before, after, share, failures.get(name, '')))
  programs.sort(key=lambda program: program.trial)
  common = [name for name in here if name in there]
  rank_correlation = interval = None
  if len(common) >= 2:  # with the baseline three
    means = [np.array([[0.0, *(gains[name].mean for name in common)]]) for gains in (here, there)]
    rank_correlation = float(_spearman(*means)[0])
    draws = [
      mean + np.stack(_means_drawn([gains[name] for name in common], rng), axis=1)
      for mean, gains in zip(means, (here, there), strict=True)
    ]
    interval = _interval(_spearman(*draws))
  return TransferSummary(tuple(programs), rank_correlation, interval)


def _gains(scores: Mapping[int, Scores], baseline: int) -> dict[int, PairedGain]:
  """Returns the gain of each program over the baseline, where there are two pairs at least."""
  differences = {
    name: paired_differences(own, scores.get(baseline, {}))
    for name, own in scores.items()
    if name != baseline
  }
  return paired_gains(differences)


def _draws(gain: PairedGain, rng: np.random.Generator) -> np.ndarray:
  """Draws what the gain may be, float64 `[DRAWS]`."""
  return gain.mean + _standard_error(gain) * rng.standard_t(_degrees(gain), DRAWS)


def _means_drawn(gains: Sequence[PairedGain], rng: np.random.Generator) -> list[np.ndarray]:
  """Draws errors of the means of the baseline and of each program, float64 `[DRAWS]` each."""
  errors = [_standard_error(gain) / math.sqrt(2) for gain in gains]
  degrees = min(map(_degrees, gains))
  return [error * rng.standard_t(degrees, DRAWS) for error in (max(errors), *errors)]


def _degrees(gain: PairedGain) -> int:
  return max(1, gain.pairs - 1)


def _standard_error(gain: PairedGain) -> float:
  return gain.half_width / float(stats.t.ppf((1 + LEVEL) / 2, _degrees(gain)))


def _interval(values: np.ndarray) -> Interval:
  low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return float(low), float(high)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Rank correlation of each row, float64 `[rows]`; 0 where all values of a row are equal."""
  ranks = [stats.rankdata(values, axis=1) for values in (x, y)]
  a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
  norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
  return np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(x)), where=norms > 0)


def table(summary: TransferSummary, descriptions: Mapping[int, str]) -> str:
  """Returns the summary as lines of text."""
  rows: list[Sequence[str]] = [('trial', 'gain in the run', 'gain there', 'share left', 'edit')]
  for program in summary.programs:
    share = '-'
    if program.share is not None:
      low, high = program.share.interval
      share = f'{program.share.mean:.0%} ({low:.0%} to {high:.0%})'
    rows.append((
      str(program.trial), _words(program.source), _words(program.target), share,
      descriptions.get(program.trial, '')[:60],
    ))  # fmt: skip
  widths = [max(len(row[i]) for row in rows) for i in range(4)]
  lines = [
    '  '.join([*(cell.ljust(w) for cell, w in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
    for row in rows
  ]
  lines += [f'trial {p.trial} has no score: {p.failure}' for p in summary.programs if p.failure]
  if summary.rank_correlation is None or summary.interval is None:
    lines.append('Rank correlation: too few programs.')
  else:
    low, high = summary.interval
    lines.append(
      f'Rank correlation (Spearman) {summary.rank_correlation:.2f} '
      f'({low:.2f} to {high:.2f} by the noise of seeds).'
    )
  return '\n'.join(lines)


def _words(gain: PairedGain | None) -> str:
  if gain is None or math.isnan(gain.mean):
    return '-'
  return f'{gain.mean:+.4f} ± {gain.half_width:.4f}'
