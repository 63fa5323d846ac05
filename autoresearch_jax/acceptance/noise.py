"""Keep only what the seeds cannot explain: the gain must exceed the noise of the difference.

The seed-to-seed deviation s is measured where a program was trained on several seeds (the
baseline first), and pooled over all such trials: s² = Σ squares / Σ degrees of freedom. The
difference of two means over m and n seeds then has the deviation s·√(1/m + 1/n). The gain must
exceed `threshold` such deviations, made larger while s rests on few seeds: the quantile of
Student's t at the level where a normal variable passes `threshold` (Student, Biometrika 1908).

A program without any effect is therefore kept with probability 1 - Φ(threshold) when it is
compared with a program that was not itself chosen for its score, and less often with an
incumbent that was: a lucky incumbent is harder to pass.
"""

import dataclasses
import math
from collections.abc import Sequence

import scipy.special

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.strict import comparison, gain_over, without_comparison
from autoresearch_jax.types import Decision, Objective, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class NoiseState:
  """squares: Σ (score - its trial's mean)² over multi-seed trials; degrees: Σ (seeds - 1)."""

  objective: Objective
  squares: float = 0.0
  degrees: int = 0

  @property
  def deviation(self) -> float | None:
    """Seed-to-seed standard deviation in the metric's unit; None before it was measured."""
    return math.sqrt(self.squares / self.degrees) if self.degrees else None

  def pooled(self, values: Sequence[float]) -> 'NoiseState':
    """With the values of one trial's seeds; a single one says nothing of the noise."""
    if len(values) < 2:
      return self
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return dataclasses.replace(
      self, squares=self.squares + squares, degrees=self.degrees + len(values) - 1
    )


@ACCEPTANCE.register('noise')
@dataclasses.dataclass(frozen=True)
class Noise(AcceptanceRule):
  """threshold: standard deviations of the difference that a gain must exceed (see the module).

  baseline_seeds: training runs of the baseline; from these the noise is known from the start.
  The defaults let 1 - Φ(2) = 2 % of the edits without effect pass when compared with the baseline
  (1.5 would be 7 %), and with four seeds see 8 of 10 gains of five seed-to-seed deviations; three
  seeds would see 6. Cheap trials deserve more: eight seeds see two gains of three deviations in 3.
  """

  threshold: float = 2.0
  baseline_seeds: int = 4

  def __post_init__(self) -> None:
    if self.baseline_seeds < 2:
      raise ValueError(
        f'baseline_seeds is {self.baseline_seeds}; the acceptance rule noise needs 2 or more to '
        "measure the noise. The rule 'strict' does with one."
      )
    if not 0 <= self.threshold < math.inf:
      raise ValueError(f'threshold is {self.threshold}; a finite number from 0 on is needed.')

  def init(self, objective: Objective) -> NoiseState:
    return NoiseState(objective)

  def decide(
    self, state: NoiseState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, NoiseState]:
    """Takes the trial's seeds into the noise, then judges its gain; see the Protocol."""
    if trial.result.status is Status.OK:
      state = state.pooled(measured_values(state.objective, trial))
    verdict = without_comparison(state.objective, trial, incumbent)
    if verdict is None:
      assert incumbent is not None
      verdict = self._compare(state, trial, incumbent)
    return verdict, state

  def _compare(self, state: NoiseState, trial: Trial, incumbent: Trial) -> Verdict:
    gain = gain_over(state.objective, trial, incumbent)
    deviation, asked = difference_deviation(state, trial, incumbent), self.critical(state.degrees)
    decision = Decision.KEEP if gain > asked * deviation else Decision.DISCARD
    compared = comparison(state.objective, trial, incumbent)
    if not deviation:
      why = 'seeds agree exactly' if state.degrees else 'no trial has two seeds'
      return Verdict(
        decision,
        f'{compared}: a gain of {gain:+.6g}; no noise was seen ({why}), so any gain counts.',
      )
    return Verdict(
      decision,
      f'{compared}: a gain of {gain:+.6g} is {gain / deviation:+.2f} deviations of the difference '
      f'({deviation:.3g}, {state.degrees} degrees of freedom); more than {asked:.2f} are asked.',
    )

  def critical(self, degrees: int) -> float:
    """How many measured deviations of the difference are asked: t at the level Φ(threshold)."""
    if not degrees:
      return 0.0
    return float(scipy.special.stdtrit(degrees, scipy.special.ndtr(self.threshold)))


def difference_deviation(state: NoiseState, trial: Trial, incumbent: Trial) -> float:
  """Standard deviation of the difference of the two means, s·√(1/m + 1/n); 0 when s is unknown."""
  seeds = [len(measured_values(state.objective, t)) for t in (trial, incumbent)]
  return (state.deviation or 0.0) * math.sqrt(sum(1 / n for n in seeds))


def measured_values(objective: Objective, trial: Trial) -> list[float]:
  """The trial's metric on each of its seeds that has one."""
  return [
    m.metrics[objective.metric] for m in trial.result.measurements if objective.metric in m.metrics
  ]
