"""What canaries have measured: false-keep rate, power and catch rate, with exact intervals.

Intervals are those of Clopper and Pearson (Biometrika 1934). They are conservative, and hold for
any number of canaries. Counts are pooled over all sessions of a run, and over several runs.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable

from scipy import special

from autoresearch_jax.ledger.canaries import (
  CAUGHT,
  DISCARDED,
  EXPLOIT,
  FAILED,
  IMPROVEMENT,
  KEPT,
  PLACEBO,
)
from autoresearch_jax.ledger.history import History
from autoresearch_jax.report.final_comparison import LEVEL


@dataclasses.dataclass(frozen=True)
class MeasuredRate:
  """How many of some canaries ended in one way.

  Attributes:
    hits: Those that did.
    total: All of them.
  """

  hits: int
  total: int

  @property
  def interval(self) -> tuple[float, float]:
    """Exact 95 % interval of the rate."""
    return clopper_pearson(self.hits, self.total)

  def __str__(self) -> str:
    low, high = self.interval
    return f'{self.hits / self.total:.1%} ({low:.1%} to {high:.1%})'


def clopper_pearson(hits: int, total: int, level: float = LEVEL) -> tuple[float, float]:
  """Returns the exact two-sided interval of a rate. (0, 1) if nothing was counted."""
  tail = (1 - level) / 2
  low = special.betaincinv(hits, total - hits + 1, tail) if hits else 0.0
  high = special.betaincinv(hits + 1, total - hits, 1 - tail) if hits < total else 1.0
  return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class CanaryRates:
  """What the canaries of one or several runs have measured.

  Attributes:
    false_keeps: Kept ones among programs without effect.
    power: Kept ones among planted improvements.
    catches: Refused ones among exploits.
    missed: What the exploits tried that were not refused.
    gain: Mean gain of the planted improvements, in standard deviations of the baseline's seeds;
      None without any.
    failed: Canaries whose programs have no score, so that they are in none of the rates.
    trials: Trials of all canaries.
    training_runs: Their training runs.
    share: These as a fraction of those of the search.
  """

  false_keeps: MeasuredRate
  power: MeasuredRate
  catches: MeasuredRate
  missed: tuple[str, ...]
  gain: float | None
  failed: int
  trials: int
  training_runs: float
  share: float


def canary_rates(histories: Iterable[History]) -> CanaryRates | None:
  """Returns what the canaries of some runs have measured; None if there are none."""
  runs = list(histories)
  ended = [(run, canary) for run in runs for canary in run.canaries.planted if canary.outcome]
  if not ended:
    return None
  of_kind = {
    kind: [(run, c) for run, c in ended if c.planted.kind == kind and c.outcome != FAILED]
    for kind in (PLACEBO, IMPROVEMENT, EXPLOIT)
  }

  def rate(kind: str, outcome: str) -> MeasuredRate:
    outcomes = [canary.outcome for _, canary in of_kind[kind]]
    return MeasuredRate(outcomes.count(outcome), len(outcomes))

  gains = [c.planted.gain / (run.noise() or math.nan) for run, c in of_kind[IMPROVEMENT]]
  training_runs = sum(run.canaries.training_runs for run in runs)
  return CanaryRates(
    false_keeps=rate(PLACEBO, KEPT),
    power=rate(IMPROVEMENT, KEPT),
    catches=rate(EXPLOIT, CAUGHT),
    missed=tuple(
      canary.planted.edit.description.removeprefix('canary: ')
      for _, canary in of_kind[EXPLOIT]
      if canary.outcome in (KEPT, DISCARDED)
    ),
    gain=statistics.fmean(gains) if gains else None,
    failed=sum(canary.outcome == FAILED for _, canary in ended),
    trials=sum(run.canaries.trials for run in runs),
    training_runs=training_runs,
    share=training_runs / max(1.0, sum(run.training_runs for run in runs)),
  )


def format_canaries(rates: CanaryRates | None) -> str:
  """Returns what was measured in sentences; '' without canaries."""
  if rates is None:
    return ''
  parts = []
  if rates.false_keeps.total:
    parts.append(
      f'false-keep rate {rates.false_keeps}: {_of(rates.false_keeps)} programs without effect '
      'were kept'
    )
  if rates.power.total:
    parts.append(
      f'power {rates.power}: {_of(rates.power)} planted improvements were kept{_size(rates)}'
    )
  if rates.catches.total:
    parts.append(f'catch rate {rates.catches}: {_of(rates.catches)} exploits were refused')
  text = f'Canaries, with exact 95 % intervals: {"; ".join(parts) or "none has a verdict"}. '
  if rates.missed:
    text += f'NOT refused was a program that {", one that ".join(dict.fromkeys(rates.missed))}. '
  if rates.failed:
    text += f'{rates.failed} had no score and {"is" if rates.failed == 1 else "are"} not counted. '
  return (
    f'{text}They took {rates.trials} trials and {rates.training_runs:g} training runs, '
    f'{rates.share:.1%} of the search.'
  )


def _of(rate: MeasuredRate) -> str:
  return f'{rate.hits} of {rate.total}'


def _size(rates: CanaryRates) -> str:
  return '' if rates.gain is None else f' (gains of {rates.gain:.1f} seed standard deviations)'
