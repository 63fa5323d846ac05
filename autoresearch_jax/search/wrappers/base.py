"""What all wrappers share: the strategy inside, and the verdict as it looks from inside.

A wrapper is a strategy with the options `inner` and `inner_options`. The inner strategy may be a
wrapper itself. An unknown name or option raises when the wrapper is made. On the command line:
`--config.search.options.inner=shinka --config.search.options.inner_options="{'archive': 20}"`.
"""

import dataclasses
import functools
from typing import Any

from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.samplers.space import Dimension
from autoresearch_jax.types import Decision, Objective, Operation, Program, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class Wrapper(Strategy):
  """inner: a strategy's name. inner_options: its options."""

  inner: str = 'greedy'
  inner_options: dict[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    _ = self.strategy

  @functools.cached_property
  def strategy(self) -> Strategy:
    return STRATEGIES.make(self.inner, self.inner_options)

  def search_space(self, program: Program) -> tuple[Dimension, ...]:
    return self.strategy.search_space(program)

  def required_metrics(self) -> tuple[str, ...]:
    return self.strategy.required_metrics()


def is_kept(trial: Trial) -> bool:
  return trial.verdict is not None and trial.verdict.decision is Decision.KEEP


def own_score(objective: Objective, trial: Trial) -> float | None:
  """The score of a new program that ran on the whole budget; None of any other trial."""
  repeats = trial.proposal.operation is Operation.REPLICATE
  return None if repeats or trial.proposal.fidelity < 1 else score_of(objective, trial)


def judged_alone(trial: Trial, objective: Objective, best: float | None) -> Trial:
  """The trial with the verdict of a run in which `best` were the best score so far.

  Acceptance compares with the incumbent of the whole run. An inner strategy that sees only a part
  of the run, and climbs from below that incumbent, would not have one of its trials kept for long.
  The comparison is a strict one.
  """
  score = own_score(objective, trial)
  if is_kept(trial) or score is None or (best is not None and score <= best):
    return trial
  reason = 'Not better than the incumbent, but than all that the inner strategy knows.'
  return dataclasses.replace(trial, verdict=Verdict(Decision.KEEP, reason))


def stopped(trial: Trial, status: Status, reason: str, duplicate_of: int | None = None) -> Trial:
  """The trial as one that ended with this status and was discarded."""
  result = dataclasses.replace(
    trial.result, status=status, reason=reason, duplicate_of=duplicate_of
  )
  return dataclasses.replace(trial, result=result, verdict=Verdict(Decision.DISCARD, reason))
