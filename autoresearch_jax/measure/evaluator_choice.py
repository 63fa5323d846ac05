"""Chooses an evaluator on one half of some programs, and judges it on the other half.

A pair of programs is known if their difference on the metric, after whole trainings on all recorded
seeds, is significant. Gains are in power per device second, over the reference: the metric with the
variance of independent trainings, which the acceptance rules assume. The evaluator with the largest
gain is chosen among those that reverse no known pair of the choosing half, on either split. It is
accepted if its gain on the other half reaches the bar, and if it reverses no more pairs than the
metric does there, and among all programs on the test split.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from autoresearch_jax.measure.evaluators import (
  METRIC,
  MIN_SEEDS,
  REFERENCE,
  Evaluator,
  FittedEvaluator,
  PairDifferences,
  Recording,
  candidates,
  fit,
)

SIGNIFICANCE = 0.01  # of a known difference, two-sided
BAR = 1.5  # gain in power per device second that an accepted evaluator must have
TRIMMED = 0.1  # of the pairs at either end are left out of a mean gain
NEAR_BEST = 0.95  # of the best gain, at which a simpler evaluator is preferred
DRAWS = 300  # of a bootstrap
LEVEL = 0.95
MIN_DISTINCT_SEEDS = 3  # in a draw of the bootstrap

Interval = tuple[float, float]


class TooFewPairs(ValueError):
  """No evaluator can be chosen; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Order:
  """Whether an evaluator orders pairs of programs as they are known to be.

  Attributes:
    pairs: Known pairs.
    reversed: Those of them that it orders the other way round.
    by_metric: Those that the metric itself, on the validation split, orders the other way round.
  """

  pairs: int
  reversed: int
  by_metric: int

  @property
  def is_kept(self) -> bool:
    return self.reversed <= self.by_metric

  def __str__(self) -> str:
    return f'{self.pairs - self.reversed} of {self.pairs}'


@dataclasses.dataclass(frozen=True)
class EvaluatorVerdict:
  """A chosen evaluator, and how it does on the programs that it was not chosen on.

  Attributes:
    fitted: The evaluator, fitted on the choosing half.
    chosen_gain: Power per device second over that of the reference, on the choosing half.
    gain: The same on the held-out half.
    interval: 95 % interval of that, by a bootstrap over programs and seeds.
    order: On known pairs of the held-out half.
    test_order: On all pairs that are known on the test split.
  """

  fitted: FittedEvaluator
  chosen_gain: float
  gain: float
  interval: Interval
  order: Order
  test_order: Order

  @property
  def keeps_order(self) -> bool:
    return self.order.is_kept and self.test_order.is_kept

  @property
  def is_accepted(self) -> bool:
    return self.keeps_order and self.gain >= BAR


def known_signs(differences: PairDifferences) -> np.ndarray:
  """Returns the sign of each significant difference, and else 0, float64 `[programs, programs]`."""
  critical = float(stats.t.ppf(1 - SIGNIFICANCE / 2, differences.seeds - 1))
  return np.where(np.abs(differences.t()) > critical, np.sign(differences.mean), 0.0)


def plain(recording: Recording, evaluator: Evaluator) -> FittedEvaluator:
  """Returns an evaluator that takes nothing from programs."""
  count = len(recording[1.0].search)
  return fit(recording, evaluator, (), np.zeros((count, count)))


def known(recording: Recording) -> np.ndarray:
  """Returns the sign of each known difference of the metric, else 0, `[programs, programs]`."""
  return known_signs(plain(recording, METRIC).differences(recording))


def signs_on_test(recording: Recording) -> np.ndarray:
  """Returns the sign of differences that are significant on the test split, and else 0."""
  losses = recording[1.0]
  paired = losses.test[:, None] - losses.test[None, :]
  seconds = np.ones(paired.shape[:2])
  return known_signs(
    PairDifferences(paired.mean(-1), paired.var(-1, ddof=1), seconds, losses.seeds)
  )


def halves(count: int, seed: int) -> tuple[list[int], list[int]]:
  """Splits programs at random into a choosing and a held-out half, by index."""
  order = np.random.default_rng(seed).permutation(count).tolist()
  return sorted(order[: count // 2]), sorted(order[count // 2 :])


def choose(
  recording: Recording,
  choosing: Sequence[int],
  held_out: Sequence[int],
  allowed: Sequence[Evaluator] | None = None,
  draws: int = DRAWS,
) -> EvaluatorVerdict:
  """Chooses an evaluator on some programs, and judges it on others.

  Args:
    recording: Losses of all programs.
    choosing: Indices of the programs that it is chosen on.
    held_out: Indices of those that it is judged on.
    allowed: What to choose from; None for all `candidates`.
    draws: Of the bootstrap; 0 for no interval.

  Raises:
    TooFewPairs: A half has no pair whose difference is known.
  """
  metric, signs = plain(recording, REFERENCE).differences(recording), known(recording)
  halves_of_pairs = [pairs_among(signs, programs) for programs in (choosing, held_out)]
  for name, pairs in zip(('choosing', 'held-out'), halves_of_pairs, strict=True):
    if not len(pairs[0]):
      raise TooFewPairs(
        f'No two programs of the {name} half differ significantly: record more seeds (--seeds) or '
        'more programs (--programs).'
      )
  on_test = signs_on_test(recording)
  choosing_on_test = pairs_among(on_test, choosing)
  best: list[tuple[float, FittedEvaluator]] = []
  for evaluator in candidates(recording) if allowed is None else allowed:
    fitted = fit(recording, evaluator, choosing, signs)
    found = fitted.differences(recording)
    if not _reversed(found, signs, halves_of_pairs[0]) and (
      _reversed(found, on_test, choosing_on_test) <= _reversed(metric, on_test, choosing_on_test)
    ):
      best.append((gain(found, metric, signs, halves_of_pairs[0]), fitted))
  largest = max(value for value, _ in best)
  chosen = next(fitted for value, fitted in best if value >= NEAR_BEST * largest)
  return judged(recording, chosen, choosing, held_out, draws)


def judged(
  recording: Recording,
  fitted: FittedEvaluator,
  choosing: Sequence[int],
  held_out: Sequence[int],
  draws: int = DRAWS,
) -> EvaluatorVerdict:
  """Judges a fitted evaluator on held-out programs; arguments are those of `choose`."""
  metric, signs = plain(recording, REFERENCE).differences(recording), known(recording)
  found = fitted.differences(recording)
  pairs, on_test = pairs_among(signs, held_out), signs_on_test(recording)
  everywhere = pairs_among(on_test, range(len(signs)))
  return EvaluatorVerdict(
    fitted,
    gain(found, metric, signs, pairs_among(signs, choosing)),
    gain(found, metric, signs, pairs),
    _interval(recording, fitted, held_out, signs, draws) if draws else (np.nan, np.nan),
    Order(len(pairs[0]), _reversed(found, signs, pairs), _reversed(metric, signs, pairs)),
    Order(
      len(everywhere[0]),
      _reversed(found, on_test, everywhere),
      _reversed(metric, on_test, everywhere),
    ),
  )


Pairs = tuple[np.ndarray, np.ndarray]  # indices of the first and the second programs


def pairs_among(signs: np.ndarray, programs: Sequence[int]) -> Pairs:
  """Returns the pairs of some programs whose difference is known."""
  chosen = np.array(sorted(programs), dtype=int)
  first, second = np.tril_indices(len(chosen), -1)
  first, second = chosen[first], chosen[second]
  significant = signs[first, second] != 0
  return first[significant], second[significant]


def gain(found: PairDifferences, metric: PairDifferences, signs: np.ndarray, pairs: Pairs) -> float:
  """Returns the trimmed geometric mean of an evaluator's power over that of the reference."""
  ratios = np.log(found.power(signs)[pairs]) - np.log(metric.power(signs)[pairs])
  return float(np.exp(stats.trim_mean(ratios, TRIMMED)))


def _reversed(found: PairDifferences, signs: np.ndarray, pairs: Pairs) -> int:
  return int((found.mean[pairs] * signs[pairs] <= 0).sum())


def _interval(
  recording: Recording,
  fitted: FittedEvaluator,
  held_out: Sequence[int],
  signs: np.ndarray,
  draws: int,
) -> Interval:
  """Bootstrap over the held-out programs and the seeds, which are those of all budgets alike."""
  rng, gains = np.random.default_rng(0), []
  found, metric = fitted.measured(recording), plain(recording, REFERENCE).measured(recording)
  while len(gains) < draws:
    programs = rng.choice(np.array(held_out), len(held_out))
    drawn = rng.integers(0, max(found.seeds, metric.seeds), max(found.seeds, metric.seeds))
    seeds = [drawn[drawn < scores.seeds] for scores in (found, metric)]
    if any(len(set(s.tolist())) < MIN_DISTINCT_SEEDS or len(s) < MIN_SEEDS for s in seeds):
      continue
    own = signs[np.ix_(programs, programs)]
    pairs = pairs_among(own, range(len(programs)))
    if len(pairs[0]):
      one, other = (
        scores.resampled(programs, s).differences()
        for scores, s in zip((found, metric), seeds, strict=True)
      )
      gains.append(gain(one, other, own, pairs))
  low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Stability:
  """What repeated splits into halves would have chosen.

  Attributes:
    splits: Number of splits with known pairs in both halves.
    accepted: Fraction of them in which the chosen evaluator was accepted.
    gains: Gains on the held-out halves, float64 `[splits]`.
    choices: How often each evaluator was chosen, the most frequent first.
  """

  splits: int
  accepted: float
  gains: np.ndarray
  choices: tuple[tuple[Evaluator, int], ...]


def stability(
  recording: Recording, seeds: Sequence[int], allowed: Sequence[Evaluator] | None = None
) -> Stability:
  """Chooses and judges anew for each split of the programs; arguments are those of `choose`."""
  verdicts = []
  count = len(recording[1.0].search)
  for seed in seeds:
    try:
      verdicts.append(choose(recording, *halves(count, seed), allowed, draws=0))
    except TooFewPairs:
      continue
  counted: dict[Evaluator, int] = {}
  for verdict in verdicts:
    counted[verdict.fitted.evaluator] = counted.get(verdict.fitted.evaluator, 0) + 1
  return Stability(
    len(verdicts),
    float(np.mean([v.is_accepted for v in verdicts])) if verdicts else 0.0,
    np.array([v.gain for v in verdicts]),
    tuple(sorted(counted.items(), key=lambda item: -item[1])),
  )
