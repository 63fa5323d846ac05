"""A trial with the verdict on it, and the objective that scores it."""

import dataclasses
import enum

from autoresearch_jax.types.problem import Direction
from autoresearch_jax.types.program import Edit
from autoresearch_jax.types.proposal import Proposal
from autoresearch_jax.types.result import Result


class Decision(enum.StrEnum):
  """The acceptance rule's decision on a trial, in the original autoresearch's words."""

  KEEP = 'keep'
  DISCARD = 'discard'
  CRASH = 'crash'


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The acceptance rule's decision.

  Attributes:
    decision: What becomes of the trial.
    reason: A sentence that justifies it.
    undecided: Whether replications may still turn a DISCARD into a KEEP. The research loop sets it;
      None in ledgers of earlier versions.
    ended: First trials of the other programs whose tests ended with this verdict.
    drift: Whether the rule found that the machine has changed since earlier runs.
  """

  decision: Decision
  reason: str
  undecided: bool | None = None
  ended: tuple[int, ...] = ()
  drift: bool = False


@dataclasses.dataclass(frozen=True)
class Trial:
  """One program, its training runs, and the verdict on it.

  Attributes:
    id: Its number within the run; 0 is the baseline.
    proposal: What the strategy asked for.
    edit: The program that was trained.
    result: Status, and a measurement per seed.
    verdict: None until the acceptance rule has decided.

  Example:
    >>> import autoresearch_jax as ar
    >>> from autoresearch_jax.types import Cost, Measurement, Result, Status
    >>> program = ar.Program((('model.py', 'WIDTH = 64'),), entry='model.py')
    >>> edit = ar.Edit(program, 'baseline', ar.Hypothesis('Nothing is changed.'))
    >>> runs = tuple(Measurement(seed, {'val_loss': 0.25 * seed}, Cost()) for seed in (1, 2))
    >>> result = Result(0, Status.OK, measurements=runs)
    >>> ar.Trial(0, ar.Proposal(ar.Operation.DRAFT), edit, result).metric('val_loss')
    0.375
  """

  id: int
  proposal: Proposal
  edit: Edit
  result: Result
  verdict: Verdict | None = None

  def metric(self, name: str) -> float | None:
    """Returns the metric's mean over seeds, or None if it was not measured."""
    values = [m.metrics[name] for m in self.result.measurements if name in m.metrics]
    return sum(values) / len(values) if values else None


@dataclasses.dataclass(frozen=True)
class Objective:
  """The metric to optimise and its direction, for instance `val_bpb` and `minimize`.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Objective('val_bpb', 'minimize').metric
    'val_bpb'
  """

  metric: str
  direction: Direction

  def score(self, trial: Trial) -> float | None:
    """Returns the metric, negated if it is minimised, so that larger is better; None if absent."""
    value = trial.metric(self.metric)
    return None if value is None else self.score_of(value)

  def score_of(self, value: float) -> float:
    """Returns the score of a value of the metric, or the value of a score."""
    return -value if self.direction == 'minimize' else value
