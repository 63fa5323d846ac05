"""Who is better than whom: a comparison's runs reduced to rows with intervals and tests.

A table only holds methods that all ran on all of its problems. Where some cannot run everywhere,
there is one table over all problems without them, and one with them over the problems they share.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from autoresearch_jax.benchmark.analysis import statistics
from autoresearch_jax.benchmark.analysis.statistics import Estimate
from autoresearch_jax.benchmark.comparison import MEASURES, Comparison
from autoresearch_jax.benchmark.results import BenchmarkRun

MAIN = 'area_runs'  # what ranks, and what is tested: anytime performance by training runs
SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Duel:
  """One method against another on MAIN. p: Wilcoxon's, adjusted over all pairs of the table."""

  improvement: Estimate
  p: float
  better: bool

  @property
  def verdict(self) -> str:
    if self.p >= SIGNIFICANT:
      return 'not distinguishable'
    return 'better' if self.better else 'worse'


@dataclasses.dataclass(frozen=True)
class Use:
  """What an method's runs used and met, means over runs.

  failed, duplicates: share of trials. kept: trials after the baseline. false: share of the kept
  that were not truly better; None when nothing was kept.
  """

  seconds: float
  calls: float
  failed: float
  duplicates: float
  kept: float
  false: float | None


@dataclasses.dataclass(frozen=True)
class Standing:
  """A row. estimates: interquartile means by measure. duels: with each reference."""

  method: str
  estimates: Mapping[str, Estimate]
  duels: Mapping[str, Duel]
  use: Use


class Standings:
  """Entrants that share `problems`, best first."""

  def __init__(self, comparison: Comparison, methods: Sequence[str], problems: Sequence[str]):
    self.comparison, self.problems = comparison, tuple(problems)
    self.scores = {e: comparison.scores(MAIN, e, problems) for e in methods}
    self.references = tuple(r for r in comparison.suite.held_against() if r in self.scores)
    self.methods = sorted(methods, key=lambda e: (statistics.interquartile_mean(self.scores[e]), e))

  @functools.cached_property
  def rows(self) -> list[Standing]:
    return [self._standing(method) for method in self.methods]

  def duel(self, one: str, other: str) -> Duel:
    ours, theirs = self.scores[one], self.scores[other]
    p, better = self._tests[one, other]
    return Duel(statistics.probability_of_improvement_interval(ours, theirs), p, better)

  def apart(self, one: str, other: str) -> bool:
    """Whether the test tells them apart."""
    return self._tests[one, other][0] < SIGNIFICANT

  def matrix(self) -> np.ndarray:
    """Probability that the row's method beats the column's; NaN on the diagonal."""
    found = np.full((len(self.methods), len(self.methods)), np.nan)
    for (i, one), (j, other) in itertools.permutations(enumerate(self.methods), 2):
      found[i, j] = statistics.probability_of_improvement(self.scores[one], self.scores[other])
    return found

  @functools.cached_property
  def _tests(self) -> dict[tuple[str, str], tuple[float, bool]]:
    """Adjusted p of each ordered pair, and whether the first is the better one."""
    pairs = list(itertools.combinations(self.methods, 2))
    tests = [statistics.wilcoxon(self.scores[a], self.scores[b]) for a, b in pairs]
    adjusted = statistics.holm([test.p for test in tests])
    both = {}
    for (one, other), test, p in zip(pairs, tests, adjusted, strict=True):
      both[one, other], both[other, one] = (p, test.better), (p, not test.better)
    return both

  def _standing(self, method: str) -> Standing:
    estimates = {
      measure: statistics.interquartile_mean_interval(
        self.comparison.scores(measure, method, self.problems)
      )
      for measure in MEASURES
    }
    duels = {r: self.duel(method, r) for r in self.references if r != method}
    runs = [run for problem in self.problems for run in self.comparison.of(method, problem)]
    return Standing(method, estimates, duels, _use(runs))


def standings(comparison: Comparison, problems: Sequence[str]) -> list[Standings]:
  """A table for each set of problems that some method can run on, the largest set first."""
  able = {
    method: tuple(p for p in problems if p in labels)
    for method, labels in comparison.runnable.items()
  }
  sets = sorted({labels for labels in able.values() if labels}, key=lambda s: (-len(s), s))
  return [
    Standings(comparison, [e for e, labels in able.items() if set(shared) <= set(labels)], shared)
    for shared in sets
  ]


def _use(runs: Sequence[BenchmarkRun]) -> Use:
  counts = [run.statuses for run in runs]
  trials = sum(sum(count.values()) for count in counts)
  duplicates = sum(count.get('duplicate', 0) for count in counts)
  ok = sum(count.get('ok', 0) for count in counts)
  kept, false = (sum(getattr(run, f) for run in runs) for f in ('kept', 'false_keeps'))
  return Use(
    seconds=sum(run.seconds for run in runs) / len(runs),
    calls=sum(run.calls for run in runs) / len(runs),
    failed=(trials - ok - duplicates) / trials,
    duplicates=duplicates / trials,
    kept=kept / len(runs),
    false=false / kept if kept else None,
  )
