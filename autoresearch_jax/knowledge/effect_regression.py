"""Predicts the effect of an edit that changes several factors, to choose among drafts.

    model = EffectRegression.fit(tuple(memory.hypotheses.values()))
    best = max(drafts, key=lambda draft: model.expected_gain(factors_of(draft)))

Bayesian linear regression (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3).
The effect of an edit is m + Σ ± w_f + e over its factors f. Each weight w_f is normal around 0,
with one variance for directed factors ('DEPTH up' and 'DEPTH down' are one factor with two signs)
and another for all other tags. The two variances, relative to that of e, are those of a small grid
with the largest marginal likelihood (section 3.5). So an edit that moved three things shares its
outcome among the three, and undoing an edit is expected to reverse its effect.

Tags without a direction are left out by default. Where effects inside an area have diminishing
returns, past gains of an area are no promise: on the lineage simulation a proposer that relied on
them did worse than one that drew at random (`published.md`).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.planner import CLIP_STDS, factors
from autoresearch_jax.search import effect_model

MAX_HYPOTHESES = 300  # the latest, which the model is fitted to
DIRECTED_VARIANCES = (0.1, 1.0, 10.0)  # of directed factors, relative to the variance of e
OTHER_VARIANCES = (0.03, 0.3)  # of other tags, if these count
# Direction -> (the positive direction of the same factor, sign).
SIGNS = {'up': ('up', 1.0), 'down': ('up', -1.0), 'on': ('on', 1.0), 'off': ('on', -1.0)}


@dataclasses.dataclass(frozen=True)
class EffectRegression:
  """The fitted model.

  Attributes:
    columns: Column of each factor in `signs`.
    signs: Sign of each factor in each measured edit. [edits, factors].
    prior_variances: Prior variances of the weights. [factors].
    new_variances: Prior variance of a new directed factor and of another new tag.
    mean: Mean effect, m.
    precision: Inverse of the covariance of the effects. [edits, edits].
    weighted_residuals: precision · (effects - m). [edits].
    noise: Standard deviation of e.
    failure_rates: Probability of failure by factor.
    overall_failure_rate: Probability of failure of a factor that was never tried.
  """

  columns: Mapping[str, int]
  signs: np.ndarray
  prior_variances: np.ndarray
  new_variances: tuple[float, float]
  mean: float
  precision: np.ndarray
  weighted_residuals: np.ndarray
  noise: float
  failure_rates: Mapping[str, float]
  overall_failure_rate: float

  @classmethod
  def fit(
    cls, hypotheses: tuple[HypothesisOutcome, ...], undirected: bool = False
  ) -> 'EffectRegression':
    """Fits the model.

    Args:
      hypotheses: What was tried, oldest first.
      undirected: Whether tags without a direction count too, such as 'optimizer'.
    """
    ended = [h for h in hypotheses if h.effect is not None or h.failed][-MAX_HYPOTHESES:]
    measured = [h for h in ended if h.effect is not None]
    effects = effect_model.clip_outliers(np.array([h.effect for h in measured], float), CLIP_STDS)
    mean = float(effects.mean()) if len(effects) else 0.0
    names = [factors(h) for h in measured]
    columns: dict[str, int] = {}
    for factor, _, _ in itertools.chain.from_iterable(map(_split_all, names)):
      columns.setdefault(factor, len(columns))
    signs, is_directed = np.zeros((len(measured), len(columns))), np.zeros(len(columns), bool)
    for row, found in enumerate(names):
      for factor, sign, directed in _split_all(found):
        signs[row, columns[factor]] += sign
        is_directed[columns[factor]] = directed
    others = OTHER_VARIANCES if undirected else (0.0,)
    candidates = (
      _Candidate.fit(signs, is_directed, effects - mean, d, o)
      for d in DIRECTED_VARIANCES
      for o in others
    )
    best = max(candidates, key=lambda candidate: candidate.log_evidence)
    rates, overall = _failure_rates(ended, undirected)
    variance = best.noise_variance
    return cls(
      columns,
      signs,
      variance * best.prior_variances,
      (variance * best.directed_variance, variance * best.other_variance),
      mean,
      best.precision / variance if variance else best.precision * 0,
      best.precision @ (effects - mean) / variance if variance else 0 * effects,
      math.sqrt(variance),
      rates,
      overall,
    )

  @property
  def num_effects(self) -> int:
    """Number of measured effects."""
    return len(self.signs)

  def predict(self, names: Iterable[str]) -> tuple[float, float]:
    """Returns mean and standard deviation of the effect of an edit with these factors.

    The standard deviation includes that of e.
    """
    row, unknown = np.zeros(len(self.columns)), 0.0
    for factor, sign, directed in _split_all(names):
      if factor in self.columns:
        row[self.columns[factor]] += sign
      else:
        unknown += self.new_variances[0 if directed else 1]
    weighted = self.prior_variances * row
    covariances = self.signs @ weighted
    variance = float(row @ weighted - covariances @ self.precision @ covariances)
    sd = math.sqrt(max(0.0, variance) + unknown + self.noise**2)
    return self.mean + float(covariances @ self.weighted_residuals), sd

  def expected_gain(self, names: Sequence[str]) -> float:
    """Returns (1 - P(failure)) · E max(0, effect); P is that of the worst of the factors."""
    mean, sd = self.predict(names)
    overall = self.overall_failure_rate
    rate = max((self.failure_rates.get(name, overall) for name in names), default=overall)
    gain = effect_model.expected_improvement(np.array(mean), np.array(sd))
    return float(gain) * (1 - rate)


@dataclasses.dataclass(frozen=True)
class _Candidate:
  """A fit with one choice of prior variances, all relative to the variance of e.

  Attributes:
    directed_variance: Prior variance of directed factors.
    other_variance: Prior variance of other tags.
    prior_variances: Prior variances of the weights. [factors].
    precision: Inverse of the covariance of the effects. [edits, edits].
    noise_variance: Most likely variance of e.
    log_evidence: Logarithm of the marginal likelihood, up to a constant.
  """

  directed_variance: float
  other_variance: float
  prior_variances: np.ndarray
  precision: np.ndarray
  noise_variance: float
  log_evidence: float

  @classmethod
  def fit(
    cls,
    signs: np.ndarray,
    is_directed: np.ndarray,
    effects: np.ndarray,
    directed_variance: float,
    other_variance: float,
  ) -> '_Candidate':
    variances = np.where(is_directed, directed_variance, other_variance)
    count = len(effects)
    covariance = (signs * variances) @ signs.T + np.eye(count)
    precision = np.linalg.inv(covariance)
    noise = float(effects @ precision @ effects) / max(1, count)
    log_determinant = float(np.linalg.slogdet(covariance)[1])
    log_evidence = -0.5 * (log_determinant + count * math.log(noise)) if noise > 0 else 0.0
    return cls(directed_variance, other_variance, variances, precision, noise, log_evidence)


def _split_all(names: Iterable[str]) -> list[tuple[str, float, bool]]:
  """Returns (factor, sign, whether it is directed) for each name; opposites are one factor."""
  return [_split(name) for name in names]


@functools.lru_cache(maxsize=2**14)
def _split(name: str) -> tuple[str, float, bool]:
  what, _, direction = name.rpartition(' ')
  if what and direction in SIGNS:
    positive, sign = SIGNS[direction]
    return f'{what} {positive}', sign, True
  return name, 1.0, False


def _failure_rates(
  ended: list[HypothesisOutcome], undirected: bool
) -> tuple[dict[str, float], float]:
  """Returns the probability of failure by factor and overall; see `effect_model.failure_rates`."""
  failed: dict[str, int] = {}
  tried: dict[str, int] = {}
  for hypothesis in ended:
    for name in filter(lambda name: undirected or _split(name)[2], factors(hypothesis)):
      tried[name] = tried.get(name, 0) + 1
      failed[name] = failed.get(name, 0) + (hypothesis.effect is None)
  overall = (sum(h.effect is None for h in ended) + 0.5) / (len(ended) + 1)
  rates = effect_model.failure_rates(
    np.array(list(failed.values()), float), np.array(list(tried.values()), float), overall
  )
  return dict(zip(tried, rates.tolist(), strict=True)), overall
