"""What somebody asks of a run in progress, and when a search ends."""

import dataclasses
import enum

from autoresearch_jax.types.program import Program


class Verb(enum.StrEnum):
  """What a request asks for."""

  HINT = 'hint'  # proposers see this text from now on
  TRY = 'try'  # an idea in words, a patch or a whole program, tried next
  PAUSE = 'pause'  # no trial begins
  RESUME = 'resume'
  PROTECT = 'protect'  # no edit may change this constant, function or class
  UNPROTECT = 'unprotect'
  END = 'end'  # other ends of the search
  REMEASURE = 'remeasure'  # a kept trial is doubtful and is trained on further seeds
  WITHDRAW = 'withdraw'  # take a hint or a queued trial back


@dataclasses.dataclass(frozen=True)
class Ends:
  """When a search ends. None stands for a limit that is not set here, 0 for no limit.

  Attributes:
    max_trials: Trials, the baseline included.
    max_hours: Wall-clock hours of the search, over all sessions and without pauses.
    max_dollars: Cost of model calls, and of the machine where its price is known.
    target: Value of the metric that a kept program must reach.
    patience: New programs without a keep.
  """

  max_trials: int | None = None
  max_hours: float | None = None
  max_dollars: float | None = None
  target: float | None = None
  patience: int | None = None

  def costs(self) -> 'Ends':
    """Returns the limits on time and money alone, without those of the search."""
    return dataclasses.replace(self, max_trials=0, target=None, patience=0)

  def given(self) -> dict[str, float]:
    """Returns the limits that are set here, by name."""
    return {name: value for name, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class SteeringRequest:
  """One request to a run. Fields that its verb does not need keep their defaults.

  Attributes:
    id: Identifies the request, so that it is taken up once.
    verb: What it asks for.
    author: Who asks, as user@host.
    time: When, in Unix seconds.
    text: The hint, the idea in words, or the name to protect.
    patch: The idea as a unified diff.
    trial: The trial to measure again.
    seeds: Training runs of that.
    request: Number of the request to withdraw.
    ends: New ends of the search.
    program: The idea as a whole program, which is tried as it is.
  """

  id: str
  verb: Verb
  author: str
  time: float
  text: str = ''
  patch: str = ''
  trial: int | None = None
  seeds: int = 0
  request: int | None = None
  ends: Ends = dataclasses.field(default_factory=Ends)
  program: Program | None = None
