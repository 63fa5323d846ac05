"""The base class of wrappers, and the verdicts that an inner strategy is told.

The inner strategy may be a wrapper itself. An unknown name or option raises when the wrapper is
made. On the command line: `--config.search.options.inner=shinka
--config.search.options.inner_options="{'archive_size': 20}"`.
"""

import dataclasses
import functools
from typing import Any

from autoresearch_jax.search.archive import is_kept, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.samplers.space import Dimension
from autoresearch_jax.types import (
  Decision,
  Objective,
  Operation,
  Program,
  Status,
  Trial,
  Verdict,
)


@dataclasses.dataclass(frozen=True)
class Wrapper(Strategy):
  """A strategy around another one.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
  """

  inner: str = 'greedy'
  inner_options: dict[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    _ = self.strategy

  @functools.cached_property
  def strategy(self) -> Strategy:
    """The inner strategy."""
    return STRATEGIES.make(self.inner, self.inner_options)

  def search_space(self, program: Program) -> tuple[Dimension, ...]:
    return self.strategy.search_space(program)

  def required_metrics(self) -> tuple[str, ...]:
    return self.strategy.required_metrics()


def full_score(objective: Objective, trial: Trial) -> float | None:
  """Returns the score of a new program that ran on the full budget; None for any other trial."""
  is_replicate = trial.proposal.operation is Operation.REPLICATE
  return None if is_replicate or trial.proposal.fidelity < 1 else score_of(objective, trial)


def judged_locally(trial: Trial, objective: Objective, best: float | None) -> Trial:
  """Returns the trial, as kept if it beats the best score that the inner strategy knows.

  Acceptance compares with the incumbent of the whole run. An inner strategy that sees only part of
  the run, and climbs from below that incumbent, would have no trial kept for a long time. The
  comparison ignores noise.

  Args:
    trial: A decided trial.
    objective: The run's objective.
    best: The best score that the inner strategy knows, None for none.
  """
  score = full_score(objective, trial)
  if is_kept(trial) or score is None or (best is not None and score <= best):
    return trial
  reason = 'Better than every program of the inner strategy, though not than the incumbent.'
  return dataclasses.replace(trial, verdict=Verdict(Decision.KEEP, reason))


def as_discarded(
  trial: Trial, status: Status, reason: str, duplicate_of: int | None = None
) -> Trial:
  """Returns the trial as one that ended with another status and was discarded."""
  result = dataclasses.replace(
    trial.result, status=status, reason=reason, duplicate_of=duplicate_of
  )
  return dataclasses.replace(trial, result=result, verdict=Verdict(Decision.DISCARD, reason))
