"""A hypothesis with its outcome: what an edit was predicted to do, and what it did.

The effect of an edit is the mean score over all runs of its program minus that of its parent's. Its
standard deviation is s·√(1/m + 1/n) for m and n runs, where s is the standard deviation between
seeds, pooled over all programs. The child of a lucky parent therefore looks worse than it is until
the parent is replicated.
"""

import dataclasses
import math

from autoresearch_jax.knowledge.constant_changes import ConstantChange
from autoresearch_jax.knowledge.program_results import ProgramResult
from autoresearch_jax.types import Decision, Hypothesis, Status

# Endings for which the program is to blame. A crash may be the machine's fault.
FAILURES = (
  Status.INVALID, Status.OOM, Status.DIVERGED, Status.TIMEOUT, Status.INFEASIBLE, Status.PRUNED
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class HypothesisOutcome:
  """One edit that was tried: its hypothesis, and what came of it.

  Attributes:
    trial: Id of the first trial that ran the program.
    parent: Id of the first trial of the program that was edited.
    description: The edit in one line.
    claim: Why it was expected to help.
    tags: What it acts on: the hypothesis' mechanisms.
    status: How the trial ended. If the program ran several times, this and the next fields are
      of the trial that was kept, else of the last one with the largest budget and a score.
    decision: The verdict; None while there is none.
    kept: Whether the program was kept in the end.
    reason: The sentence that came with the verdict or the failure.
    predicted: Predicted effect on the score (larger is better), in the metric's unit.
    predicted_sd: Standard deviation of that prediction.
    effect: Measured effect: mean score minus the parent's; None if it is not known.
    effect_sd: Standard deviation of `effect` due to noise between seeds; None if not known.
    author: The model or agent that wrote the edit; '' if none did.
    role: The role that it acted in.
    score: Mean score over the runs; None without one.
    runs: Number of runs behind `score`.
    changes: Constants that differ from the parent's.
    structural: Whether anything else was changed, comments aside.
    surprise: Distance of outcome and prediction in standard deviations; None where nothing was
      predicted or measured. See `surprise`.
  """

  trial: int
  parent: int | None
  description: str
  claim: str
  tags: tuple[str, ...]
  status: Status
  decision: Decision | None
  kept: bool
  reason: str
  predicted: float | None = None
  predicted_sd: float | None = None
  effect: float | None = None
  effect_sd: float | None = None
  author: str = ''
  role: str = ''
  score: float | None = None
  runs: int = 0
  changes: tuple[ConstantChange, ...] = ()
  structural: bool = False
  surprise: float | None = None

  @property
  def failed(self) -> bool:
    """Whether the program has no score through its own fault."""
    return self.status in FAILURES and self.effect is None


def surprise(
  hypothesis: Hypothesis, status: Status, effect: float | None, effect_sd: float | None
) -> float | None:
  """Returns how far the outcome is from the prediction, in standard deviations.

  |effect - predicted| / √(predicted_sd² + effect_sd²). A failure has no effect, but is certainly no
  improvement: it counts as an effect of 0 if an improvement was predicted, and as a hit otherwise.

  Returns:
    The distance, at least 0; None if there is no prediction, no outcome, or no standard deviation.
  """
  predicted = hypothesis.predicted_effect
  if predicted is None:
    return None
  if effect is not None:
    distance, sd = effect - predicted, effect_sd or 0.0
  elif status in FAILURES:
    distance, sd = max(predicted, 0.0), 0.0
  else:
    return None
  sd = math.hypot(hypothesis.uncertainty or 0.0, sd)
  return abs(distance) / sd if sd else None


def effect_of(
  program: ProgramResult, parent: ProgramResult | None, noise: float | None
) -> tuple[float | None, float | None]:
  """Returns the gain over the parent and its standard deviation, each None if not known."""
  if parent is None or not (program.runs and parent.runs):
    return None, None
  sd = None if noise is None else noise * math.sqrt(1 / program.runs + 1 / parent.runs)
  return program.mean - parent.mean, sd
