"""The original's rule: keep a trial if its score is better at all, however little.

What it does not do: ask whether the gain is larger than the noise; `acceptance/noise.py` does.
"""

import dataclasses

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.runs import original
from autoresearch_jax.types import Decision, Objective, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class StrictState:
  """objective: the metric that is compared, and which way."""

  objective: Objective


@ACCEPTANCE.register('strict')
@dataclasses.dataclass(frozen=True)
class Strict(AcceptanceRule):
  """baseline_seeds: training runs of the baseline; one is enough, since noise is not looked at."""

  baseline_seeds: int = 1

  def __post_init__(self) -> None:
    if self.baseline_seeds < 1:
      raise ValueError(f'baseline_seeds is {self.baseline_seeds}; the baseline needs at least 1.')

  def init(self, objective: Objective) -> StrictState:
    return StrictState(objective)

  def decide(
    self, state: StrictState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, StrictState]:
    """Judges by the mean over seeds alone; see the Protocol."""
    verdict = without_comparison(state.objective, trial, incumbent)
    if verdict is None:
      assert incumbent is not None
      gain = gain_over(state.objective, trial, incumbent)
      decision = Decision.KEEP if gain > 0 else Decision.DISCARD
      relation = 'better' if gain > 0 else ('equal' if gain == 0 else 'worse')
      compared = comparison(state.objective, trial, incumbent)
      verdict = Verdict(decision, f'{compared}: {relation} by {abs(gain):.6g}.')
    return verdict, state


def without_comparison(
  objective: Objective, trial: Trial, incumbent: Trial | None
) -> Verdict | None:
  """The verdict where there is nothing to compare: no score, no incumbent with one, or itself.

  None means that both have a score. A replicate of the incumbent may score better by luck alone;
  it is the same program, so it is never kept for that.
  """
  name, result = objective.metric, trial.result
  if result.status is not Status.OK:
    reason = result.reason or 'no reason was given'
    return Verdict(Decision.CRASH, f'The trial ended as {result.status}: {reason}')
  value = trial.metric(name)
  if value is None:
    has = sorted({key for m in result.measurements for key in m.metrics}) or 'none'
    return Verdict(Decision.CRASH, f'The trial has no metric {name!r}; it has: {has}.')
  if incumbent is None or incumbent.metric(name) is None:
    return Verdict(Decision.KEEP, f'The first trial with a score: {name} {value:.6f}.')
  if original(trial) in (incumbent.id, original(incumbent)):
    reason = f'The program of the incumbent, trial {incumbent.id}, again: {name} {value:.6f}.'
    return Verdict(Decision.DISCARD, reason)
  return None


def gain_over(objective: Objective, trial: Trial, incumbent: Trial) -> float:
  """Score of `trial` less that of `incumbent`; above 0 is better. Both must have a score."""
  new, old = objective.score(trial), objective.score(incumbent)
  assert new is not None and old is not None
  return new - old


def comparison(objective: Objective, trial: Trial, incumbent: Trial) -> str:
  """The opening of a verdict's sentence: both numbers, and whose the older one is."""
  name = objective.metric
  new, old = trial.metric(name), incumbent.metric(name)
  return f'{name} {new:.6f} against {old:.6f} of trial {incumbent.id}'
