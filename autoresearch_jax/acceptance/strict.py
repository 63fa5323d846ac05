"""Strict comparison: keep a trial if its score is better at all, however little.

Source: karpathy/autoresearch, 2026. It ignores noise; `noise.py` does not.
"""

import dataclasses

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.program_runs import original_of
from autoresearch_jax.types import Decision, Objective, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class StrictState:
  """The rule's state, which never changes.

  Attributes:
    objective: The run's objective.
  """

  objective: Objective


@ACCEPTANCE.register('strict')
@dataclasses.dataclass(frozen=True)
class Strict(AcceptanceRule):
  """Compares mean scores.

  Attributes:
    baseline_seeds: Training runs of the baseline; one suffices, because noise is ignored.
  """

  baseline_seeds: int = 1

  def __post_init__(self) -> None:
    if self.baseline_seeds < 1:
      raise ValueError(f'baseline_seeds is {self.baseline_seeds}; it must be at least 1.')

  def init(self, objective: Objective) -> StrictState:
    return StrictState(objective)

  def decide(
    self, state: StrictState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, StrictState]:
    verdict = verdict_without_comparison(state.objective, trial, incumbent)
    if verdict is None:
      assert incumbent is not None
      gain = gain_over(state.objective, trial, incumbent)
      decision = Decision.KEEP if gain > 0 else Decision.DISCARD
      relation = 'better' if gain > 0 else ('equal' if gain == 0 else 'worse')
      comparison = describe_comparison(state.objective, trial, incumbent)
      verdict = Verdict(decision, f'{comparison}: {relation} by {abs(gain):.6g}.')
    return verdict, state


def verdict_without_comparison(
  objective: Objective, trial: Trial, incumbent: Trial | None
) -> Verdict | None:
  """Returns the verdict when there is nothing to compare, None when both trials have a score.

  There is nothing to compare when the trial has no score, when no incumbent has one, and when the
  trial replicates the incumbent: a replicate may score better by luck, but it is the same program,
  so it is never kept for that.
  """
  name, result = objective.metric, trial.result
  if result.status is not Status.OK:
    reason = result.reason or 'no reason was given'
    return Verdict(Decision.CRASH, f'The trial ended with status {result.status}: {reason}')
  value = trial.metric(name)
  if value is None:
    reported = sorted({key for m in result.measurements for key in m.metrics}) or 'none'
    return Verdict(Decision.CRASH, f'The trial has no metric {name!r}; it has: {reported}.')
  if incumbent is None or incumbent.metric(name) is None:
    return Verdict(Decision.KEEP, f'First trial with a score: {name} {value:.6f}.')
  if original_of(trial) in (incumbent.id, original_of(incumbent)):
    reason = f'A replicate of the incumbent (trial {incumbent.id}): {name} {value:.6f}.'
    return Verdict(Decision.DISCARD, reason)
  return None


def gain_over(objective: Objective, trial: Trial, incumbent: Trial) -> float:
  """Returns the trial's score minus the incumbent's; positive is better. Both must have a score."""
  new, old = objective.score(trial), objective.score(incumbent)
  assert new is not None and old is not None
  return new - old


def describe_comparison(objective: Objective, trial: Trial, incumbent: Trial) -> str:
  """Returns the first part of a verdict's reason: both metrics."""
  name = objective.metric
  new, old = trial.metric(name), incumbent.metric(name)
  return f'{name} {new:.6f} vs. {old:.6f} (trial {incumbent.id})'
