"""The controller's settings, and the actions that it requests from its driver."""

import dataclasses
import math

import numpy as np

from autoresearch_jax.config import CanaryConfig
from autoresearch_jax.ledger.events import Event
from autoresearch_jax.ledger.requests import Capabilities
from autoresearch_jax.programs.catalogue import Catalogue
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import (
  Budget,
  Constraint,
  Ends,
  Objective,
  Program,
  Proposal,
  Spec,
  TrialRequest,
)

STOP = 'stop'  # value of `after_patience`
MAX_DUPLICATES = 100  # duplicates in a row before the run stops


@dataclasses.dataclass(frozen=True)
class Settings:
  """The part of a run's config that the controller needs.

  Attributes:
    objective: The metric and its direction.
    program: The starting program.
    spec: The problem as programs see it, with the budget of a trial.
    editable: Files of the program that an edit may change.
    structural_edits: Structural edits for a program from outside this library.
    constraints: Bounds that a trial must respect to be kept.
    seed: Root seed of all randomness.
    prefetch: Number of trials to propose while all slots are busy.
    ends: When the search ends, unless a request has changed that.
    after_patience: `stop`, or the strategy that takes over when the patience is used up.
    capabilities: What the run's parts can do with requests.
    max_training_runs: Training runs after which the run stops: seeds times fidelity, summed over
      trials.
    max_duplicates: Duplicates in a row after which the run stops.
    allow_duplicates: Whether to train programs that compute the same as an earlier one.
    duplicate_tolerance: Relative difference of floats below which programs are near-duplicates.
      None: programs are not compared before they are traced.
    pruning: Whether trials may be pruned.
    memory: Whether proposers see earlier hypotheses, their outcomes and lessons.
    planner: Whether proposers see which experiments would be the most informative.
    save_models: Whether the parameters of programs that may become the best one are saved.
    requested_only: Whether the strategy is not asked: trials are those of requests, and those that
      the acceptance rule needs for its verdicts on them.
    canaries: Planted programs that measure the run itself.
    isolated: Whether the sandbox must isolate a trace in full.
  """

  objective: Objective
  program: Program
  spec: Spec
  editable: tuple[str, ...]
  structural_edits: Catalogue = ()
  constraints: tuple[Constraint, ...] = ()
  seed: int = 0
  prefetch: int = 0
  ends: Ends = dataclasses.field(default_factory=Ends)
  after_patience: str = STOP
  capabilities: Capabilities = dataclasses.field(default_factory=Capabilities)
  max_training_runs: float = math.inf
  max_duplicates: float = MAX_DUPLICATES
  allow_duplicates: bool = False
  duplicate_tolerance: float | None = None
  pruning: bool = False
  memory: bool = False
  planner: bool = False
  save_models: bool = False
  requested_only: bool = False
  canaries: CanaryConfig = dataclasses.field(default_factory=CanaryConfig)
  isolated: bool = False


@dataclasses.dataclass(frozen=True)
class Log:
  """Append the event to the ledger, then call `apply` with its record."""

  event: Event


@dataclasses.dataclass(frozen=True)
class Propose:
  """Have the proposer write an edit, then call `answer` with the edit or the exception.

  Attributes:
    proposal: The strategy's request.
    context: What the proposer sees. The driver adds services such as tracing.
    rng: The proposer's random generator.
    budget: The trial's budget.
    prefetch: Whether all slots are busy, so that there is time to trace the program in advance.
  """

  proposal: Proposal
  context: ProposalContext
  rng: np.random.Generator
  budget: Budget
  prefetch: bool


@dataclasses.dataclass(frozen=True)
class Submit:
  """Start a trial. `request.known` is a live view; copy it before passing it to another thread."""

  request: TrialRequest


@dataclasses.dataclass(frozen=True)
class Wait:
  """Wait for the proposer or for results, then call `answer` or `deliver`.

  Attributes:
    block: Whether to wait; False means to check and return at once.
  """

  block: bool = True


@dataclasses.dataclass(frozen=True)
class End:
  """The session has ended and this is logged; `reason` is a sentence."""

  reason: str


Action = Log | Propose | Submit | Wait | End
