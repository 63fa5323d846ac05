"""The canaries of a run: planted programs whose right verdict is known.

A projection of the ledger's events, like `History`, which holds it as `history.canaries`.
"""

import dataclasses

from autoresearch_jax.ledger.events import CanaryJudged, Planted
from autoresearch_jax.types import Trial

PLACEBO, IMPROVEMENT, EXPLOIT = KINDS = ('placebo', 'improvement', 'exploit')
KEPT, DISCARDED, CAUGHT, FAILED = 'kept', 'discarded', 'caught', 'failed'  # outcomes
FIRST_TRIAL = 10**9  # of canaries; above the ids of all other trials


@dataclasses.dataclass(frozen=True)
class Canary:
  """One planted program.

  Attributes:
    planted: The event with which it began.
    trials: Its trials so far.
    outcome: How it ended; '' while it goes on.
  """

  planted: Planted
  trials: tuple[Trial, ...] = ()
  outcome: str = ''

  @property
  def training_runs(self) -> float:
    """What it cost: seeds over all trials, those that failed or trained for a part included."""
    return float(sum(len(trial.proposal.seeds) for trial in self.trials))


@dataclasses.dataclass(frozen=True)
class Canaries:
  """All canaries of a run so far.

  Attributes:
    planted: The canaries, oldest first.
  """

  planted: tuple[Canary, ...] = ()

  def after(self, event: Planted | CanaryJudged) -> 'Canaries':
    """Returns the canaries after an event."""
    if isinstance(event, Planted):
      return Canaries((*self.planted, Canary(event)))
    *earlier, last = self.planted
    trial = Trial(event.trial, event.proposal, last.planted.edit, event.result, event.verdict)
    return Canaries(
      (*earlier, dataclasses.replace(last, trials=(*last.trials, trial), outcome=event.outcome))
    )

  @property
  def active(self) -> Canary | None:
    """The canary that goes on, if one does."""
    return self.planted[-1] if self.planted and not self.planted[-1].outcome else None

  @property
  def trials(self) -> int:
    return sum(len(canary.trials) for canary in self.planted)

  @property
  def training_runs(self) -> float:
    """What they cost."""
    return sum(canary.training_runs for canary in self.planted)

  @property
  def next_trial(self) -> int:
    """Id of the next trial of a canary; that of the running one while it has no result."""
    return FIRST_TRIAL + self.trials
