"""A t-test against the seed noise: keep a trial if its gain exceeds what noise explains.

The seed standard deviation s is measured on trials with several seeds (the baseline first), and
pooled over all of them: s² = Σ squares / Σ degrees of freedom. The difference of two means over m
and n seeds has standard error s·√(1/m + 1/n). The gain must exceed `threshold` standard errors,
or rather the Student's t quantile at the same level, which is larger while s rests on few seeds
(Student, Biometrika 1908).

A program without any effect is therefore kept with probability 1 - Φ(threshold) when it is compared
with a program that was not itself selected for its score, and less often when the incumbent was: a
lucky incumbent is harder to beat.
"""

import dataclasses
import math
from collections.abc import Sequence

import scipy.special

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.strict import (
  describe_comparison,
  gain_over,
  verdict_without_comparison,
)
from autoresearch_jax.types import Decision, Objective, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class NoiseState:
  """The pooled seed noise.

  Attributes:
    objective: The run's objective.
    sum_of_squares: Σ (metric - its trial's mean)² over all trials with several seeds.
    degrees_of_freedom: Σ (seeds - 1) over these trials.
  """

  objective: Objective
  sum_of_squares: float = 0.0
  degrees_of_freedom: int = 0

  @property
  def seed_std(self) -> float | None:
    """Standard deviation between seeds, in the metric's unit; None while it is unknown."""
    degrees = self.degrees_of_freedom
    return math.sqrt(self.sum_of_squares / degrees) if degrees else None

  def pool(self, values: Sequence[float]) -> 'NoiseState':
    """Returns the noise with the values of one trial's seeds; a single one adds nothing."""
    if len(values) < 2:
      return self
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return dataclasses.replace(
      self,
      sum_of_squares=self.sum_of_squares + squares,
      degrees_of_freedom=self.degrees_of_freedom + len(values) - 1,
    )


@ACCEPTANCE.register('noise')
@dataclasses.dataclass(frozen=True)
class Noise(AcceptanceRule):
  """Tests one trial's gain with Student's t.

  With the defaults, 1 - Φ(2) = 2 % of the edits without effect pass when compared with the baseline
  (with a threshold of 1.5, 7 %), and four seeds detect 8 of 10 gains of five seed standard
  deviations; three seeds detect 6. When trials are cheap, use more: eight seeds detect two thirds
  of the gains of three standard deviations.

  Attributes:
    threshold: Standard errors that a gain must exceed if the noise were known exactly.
    baseline_seeds: Training runs of the baseline, from which the noise is first estimated.
  """

  threshold: float = 2.0
  baseline_seeds: int = 4

  def __post_init__(self) -> None:
    if self.baseline_seeds < 2:
      raise ValueError(
        f'baseline_seeds is {self.baseline_seeds}; the acceptance rule noise needs at least 2 to '
        "estimate the noise. The rule 'strict' works with 1."
      )
    if not 0 <= self.threshold < math.inf:
      raise ValueError(f'threshold is {self.threshold}; it must be finite and at least 0.')

  def init(self, objective: Objective) -> NoiseState:
    return NoiseState(objective)

  def decide(
    self, state: NoiseState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, NoiseState]:
    if trial.result.status is Status.OK:
      state = state.pool(metric_values(state.objective, trial))
    verdict = verdict_without_comparison(state.objective, trial, incumbent)
    if verdict is None:
      assert incumbent is not None
      verdict = self._test(state, trial, incumbent)
    return verdict, state

  def _test(self, state: NoiseState, trial: Trial, incumbent: Trial) -> Verdict:
    gain = gain_over(state.objective, trial, incumbent)
    error = standard_error(state, trial, incumbent)
    critical = self.critical_value(state.degrees_of_freedom)
    decision = Decision.KEEP if gain > critical * error else Decision.DISCARD
    comparison = describe_comparison(state.objective, trial, incumbent)
    if not error:
      why = 'seeds agree exactly' if state.degrees_of_freedom else 'no trial has two seeds'
      return Verdict(
        decision,
        f'{comparison}: gain {gain:+.6g}, and no noise was observed ({why}), so any gain counts.',
      )
    test = describe_test(gain, error, state.degrees_of_freedom, critical)
    return Verdict(decision, f'{comparison}: {test}.')

  def critical_value(self, degrees_of_freedom: int) -> float:
    """Returns the critical value of t: the quantile at the level Φ(threshold)."""
    if not degrees_of_freedom:
      return 0.0
    return float(scipy.special.stdtrit(degrees_of_freedom, scipy.special.ndtr(self.threshold)))


def describe_test(
  gain: float, standard_error: float, degrees_of_freedom: int, critical_value: float
) -> str:
  """Returns a t-test in words."""
  relation = 'above' if gain > critical_value * standard_error else 'below'
  return (
    f'gain {gain:+.6g}, t = {gain / standard_error:.2f} (standard error {standard_error:.3g}, '
    f'{degrees_of_freedom} degrees of freedom), {relation} the critical value {critical_value:.2f}'
  )


def standard_error(state: NoiseState, trial: Trial, incumbent: Trial) -> float:
  """Returns the standard error of the difference of two means, s·√(1/m + 1/n); 0 for unknown s."""
  num_seeds = [len(metric_values(state.objective, t)) for t in (trial, incumbent)]
  return (state.seed_std or 0.0) * math.sqrt(sum(1 / n for n in num_seeds))


def metric_values(objective: Objective, trial: Trial) -> list[float]:
  """Returns the trial's metric on each seed that reported it."""
  return [
    m.metrics[objective.metric] for m in trial.result.measurements if objective.metric in m.metrics
  ]
