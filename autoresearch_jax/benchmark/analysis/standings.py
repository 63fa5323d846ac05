"""Ranks methods: aggregates a comparison's runs into rows with intervals and significance tests.

All methods of a table ran on all of its problems. If some methods cannot run on every problem,
there is a table over all problems without them, and another over the problems they share.
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

RANKING_MEASURE = 'area_runs'  # also tested: anytime performance by training runs
SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class PairwiseTest:
  """One method against another on RANKING_MEASURE.

  Attributes:
    improvement: Probability of improvement, with its interval.
    p: p-value of Wilcoxon's test, adjusted over all pairs of the table.
    better: Whether the first method is better.
  """

  improvement: Estimate
  p: float
  better: bool

  @property
  def verdict(self) -> str:
    if self.p >= SIGNIFICANT:
      return 'not distinguishable'
    return 'better' if self.better else 'worse'


@dataclasses.dataclass(frozen=True)
class RunAverages:
  """Averages over the runs of a method.

  Attributes:
    seconds: Device seconds.
    calls: Proposer calls.
    failed: Fraction of trials that failed.
    duplicates: Fraction of trials that were duplicates.
    kept: Trials kept after the baseline.
    false: Fraction of the kept ones that were worse than the incumbent before, without noise; None
      if nothing was kept.
  """

  seconds: float
  calls: float
  failed: float
  duplicates: float
  kept: float
  false: float | None


@dataclasses.dataclass(frozen=True)
class Standing:
  """A row of a table.

  Attributes:
    method: Label of the method.
    estimates: Interquartile mean of each of MEASURES.
    tests: The method against each reference.
    averages: Averages over its runs.
  """

  method: str
  estimates: Mapping[str, Estimate]
  tests: Mapping[str, PairwiseTest]
  averages: RunAverages


class Standings:
  """A table of methods.

  Attributes:
    comparison: The results.
    problems: Problems that all of the methods ran on.
    scores: RANKING_MEASURE by method, [problems, seeds].
    references: The reference methods in the table.
    methods: Labels of the methods, best first.
  """

  def __init__(self, comparison: Comparison, methods: Sequence[str], problems: Sequence[str]):
    self.comparison, self.problems = comparison, tuple(problems)
    self.scores = {e: comparison.scores(RANKING_MEASURE, e, problems) for e in methods}
    self.references = tuple(r for r in comparison.suite.reference_methods() if r in self.scores)
    self.methods = sorted(methods, key=lambda e: (statistics.interquartile_mean(self.scores[e]), e))

  @functools.cached_property
  def rows(self) -> list[Standing]:
    return [self._standing(method) for method in self.methods]

  def test(self, one: str, other: str) -> PairwiseTest:
    """Compares two methods."""
    ours, theirs = self.scores[one], self.scores[other]
    p, better = self._tests[one, other]
    return PairwiseTest(statistics.probability_of_improvement_interval(ours, theirs), p, better)

  def is_significant(self, one: str, other: str) -> bool:
    """Whether the difference between two methods is significant."""
    return self._tests[one, other][0] < SIGNIFICANT

  def matrix(self) -> np.ndarray:
    """Returns the probability that the row's method beats the column's; NaN on the diagonal.

    [methods, methods].
    """
    found = np.full((len(self.methods), len(self.methods)), np.nan)
    for (i, one), (j, other) in itertools.permutations(enumerate(self.methods), 2):
      found[i, j] = statistics.probability_of_improvement(self.scores[one], self.scores[other])
    return found

  @functools.cached_property
  def _tests(self) -> dict[tuple[str, str], tuple[float, bool]]:
    """Adjusted p-value of each ordered pair, and whether the first method is better."""
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
    tests = {r: self.test(method, r) for r in self.references if r != method}
    runs = [run for problem in self.problems for run in self.comparison.runs_of(method, problem)]
    return Standing(method, estimates, tests, run_averages(runs))


def standings(comparison: Comparison, problems: Sequence[str]) -> list[Standings]:
  """Returns a table for each set of problems that some method can run on, the largest first."""
  runnable = {
    method: tuple(p for p in problems if p in labels)
    for method, labels in comparison.runnable.items()
  }
  sets = sorted({labels for labels in runnable.values() if labels}, key=lambda s: (-len(s), s))
  return [
    Standings(comparison, [e for e, ran in runnable.items() if set(shared) <= set(ran)], shared)
    for shared in sets
  ]


def run_averages(runs: Sequence[BenchmarkRun]) -> RunAverages:
  counts = [run.statuses for run in runs]
  trials = sum(sum(count.values()) for count in counts)
  duplicates = sum(count.get('duplicate', 0) for count in counts)
  ok = sum(count.get('ok', 0) for count in counts)
  kept, false = (sum(getattr(run, f) for run in runs) for f in ('kept', 'false_keeps'))
  return RunAverages(
    seconds=sum(run.seconds for run in runs) / len(runs),
    calls=sum(run.calls for run in runs) / len(runs),
    failed=(trials - ok - duplicates) / trials,
    duplicates=duplicates / trials,
    kept=kept / len(runs),
    false=false / kept if kept else None,
  )
