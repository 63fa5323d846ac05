"""What an edit of several factors at once may gain, so that a proposer can choose among drafts.

    model = Prospects.of(tuple(memory.entries.values()))
    best = max(drafts, key=lambda draft: model.gain(factors_of(draft)))

Bayesian linear regression (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3):
the effect of an edit is m + Σ ± w_f + e over its factors f, each w_f normal around 0, with one
deviation for directed factors ('DEPTH up', 'DEPTH down', which are the two signs of one) and
another for the other tags. Both, against that of e, are those of a few that make the effects most
likely (section 3.5). So an edit that moved three things shares its outcome among the three, and
what is undone is expected to do the reverse of what it did.

Tags without a direction are left out unless asked for. Where effects inside an area have
diminishing returns, what an area has given is no promise: on the lineage simulator a proposer
that counted on it did worse than one that drew at random (`published.md`).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from autoresearch_jax.knowledge.memory import Entry
from autoresearch_jax.knowledge.planner import CLIP, factors
from autoresearch_jax.search import effect_model

RECENT = 300  # entries that the model is made from: the last ones
DIRECTED = (0.1, 1.0, 10.0)  # variances of directed factors, over that of e, one of which is taken
OTHERS = (0.03, 0.3)  # and those of the other tags, where these count
SIGNS = {'up': ('up', 1.0), 'down': ('up', -1.0), 'on': ('on', 1.0), 'off': ('on', -1.0)}


@dataclasses.dataclass(frozen=True)
class Prospects:
  """columns: of each factor in `signs` [entries, factors]. priors: variances of the factors'
  weights [factors]; new: of a directed factor and of another tag without entries. mean: m.

  inverse: of the effects' covariance [entries, entries]. solved: inverse · (effects - m).
  noise: deviation of e. failing: Beta means by name, with `overall` for a name without entries.
  """

  columns: Mapping[str, int]
  signs: np.ndarray
  priors: np.ndarray
  new: tuple[float, float]
  mean: float
  inverse: np.ndarray
  solved: np.ndarray
  noise: float
  failing: Mapping[str, float]
  overall: float

  @classmethod
  def of(cls, entries: tuple[Entry, ...], coarse: bool = False) -> 'Prospects':
    """coarse: whether tags without a direction count too, such as 'optimizer'."""
    told = [e for e in entries if e.effect is not None or e.failed][-RECENT:]
    measured = [e for e in told if e.effect is not None]
    effects = effect_model.clip_outliers(np.array([e.effect for e in measured], float), CLIP)
    mean = float(effects.mean()) if len(effects) else 0.0
    names = [factors(e) for e in measured]
    columns: dict[str, int] = {}
    for factor, _, _ in itertools.chain.from_iterable(map(_directed, names)):
      columns.setdefault(factor, len(columns))
    signs, is_directed = np.zeros((len(measured), len(columns))), np.zeros(len(columns), bool)
    for row, found in enumerate(names):
      for factor, sign, directed in _directed(found):
        signs[row, columns[factor]] += sign
        is_directed[columns[factor]] = directed
    others = OTHERS if coarse else (0.0,)
    fits = (_Fit.of(signs, is_directed, effects - mean, d, o) for d in DIRECTED for o in others)
    fit = max(fits, key=lambda fit: fit.evidence)
    failing, overall = _failing(told, coarse)
    variance = fit.scale
    return cls(
      columns,
      signs,
      variance * fit.priors,
      (variance * fit.directed, variance * fit.others),
      mean,
      fit.inverse / variance if variance else fit.inverse * 0,
      fit.inverse @ (effects - mean) / variance if variance else 0 * effects,
      math.sqrt(variance),
      failing,
      overall,
    )

  @property
  def effects(self) -> int:
    """How many are known."""
    return len(self.signs)

  def expects(self, names: Iterable[str]) -> tuple[float, float]:
    """The effect of an edit with these factors, and its standard deviation, that of e included."""
    mine, unknown = np.zeros(len(self.columns)), 0.0
    for factor, sign, directed in _directed(names):
      if factor in self.columns:
        mine[self.columns[factor]] += sign
      else:
        unknown += self.new[0 if directed else 1]
    weighted = self.priors * mine
    shared = self.signs @ weighted
    variance = float(mine @ weighted - shared @ self.inverse @ shared)
    spread = math.sqrt(max(0.0, variance) + unknown + self.noise**2)
    return self.mean + float(shared @ self.solved), spread

  def gain(self, names: Sequence[str]) -> float:
    """(1 - P(it fails)) · E max(0, effect); it fails as likely as the worst of its factors."""
    mean, spread = self.expects(names)
    failing = max((self.failing.get(name, self.overall) for name in names), default=self.overall)
    improved = effect_model.expected_improvement(np.array(mean), np.array(spread))
    return float(improved) * (1 - failing)


@dataclasses.dataclass(frozen=True)
class _Fit:
  """One choice of variances, over that of e, whose most likely value is `scale`."""

  directed: float
  others: float
  priors: np.ndarray
  inverse: np.ndarray
  scale: float
  evidence: float

  @classmethod
  def of(
    cls,
    signs: np.ndarray,
    is_directed: np.ndarray,
    effects: np.ndarray,
    directed: float,
    others: float,
  ) -> '_Fit':
    priors = np.where(is_directed, directed, others)
    count = len(effects)
    covariance = (signs * priors) @ signs.T + np.eye(count)
    inverse = np.linalg.inv(covariance)
    scale = float(effects @ inverse @ effects) / max(1, count)
    volume = float(np.linalg.slogdet(covariance)[1])
    evidence = -0.5 * (volume + count * math.log(scale)) if scale > 0 else 0.0
    return cls(directed, others, priors, inverse, scale, evidence)


def _directed(names: Iterable[str]) -> list[tuple[str, float, bool]]:
  """(factor, sign, whether it has a direction) of each name; opposites are one factor."""
  return [_split(name) for name in names]


@functools.lru_cache(maxsize=2**14)
def _split(name: str) -> tuple[str, float, bool]:
  what, _, way = name.rpartition(' ')
  if what and way in SIGNS:
    positive, sign = SIGNS[way]
    return f'{what} {positive}', sign, True
  return name, 1.0, False


def _failing(told: list[Entry], coarse: bool) -> tuple[dict[str, float], float]:
  """Probability of failing by name, and for all: Betas, see `beliefs.failure_rates`."""
  failed: dict[str, int] = {}
  tried: dict[str, int] = {}
  for entry in told:
    for name in filter(lambda name: coarse or _split(name)[2], factors(entry)):
      tried[name] = tried.get(name, 0) + 1
      failed[name] = failed.get(name, 0) + (entry.effect is None)
  overall = (sum(e.effect is None for e in told) + 0.5) / (len(told) + 1)
  rates = effect_model.failure_rates(
    np.array(list(failed.values()), float), np.array(list(tried.values()), float), overall
  )
  return dict(zip(tried, rates.tolist(), strict=True)), overall
