"""What a controller knows about its run, and what it asks its driver to do."""

import dataclasses
import math

import numpy as np

from autoresearch_jax.ledger.events import Event
from autoresearch_jax.programs.catalogue import Catalogue
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Budget, Objective, Program, Proposal, Spec, TrialRequest

MAX_DUPLICATES = 100  # duplicates in a row before the run stops


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a controller knows about its run.

  Attributes:
    objective: The metric and its direction.
    program: The starting program.
    spec: The problem as programs see it, with the budget of a trial.
    editable: Files of the program that an edit may change.
    structural_edits: The program's own catalogue, if it is not in this library.
    seed: Root of all randomness.
    prefetch: Trials that are proposed while the slots are busy.
    max_trials: Trials after which the run stops, the baseline included; 0 for no limit.
    max_training_runs: The same in training runs: seeds times fidelity, summed over trials.
    max_duplicates: Duplicates in a row after which the run stops.
    allow_duplicates: Whether programs are trained that compute the same as an earlier one.
    duplicate_tolerance: Relative difference of floats below which programs are duplicates. None:
      programs are not compared before they are traced.
    pruning: Whether trials may be ended early.
    memory: Whether proposers see what the trials so far have taught.
    planner: Whether proposers see which experiments would be informative.
  """

  objective: Objective
  program: Program
  spec: Spec
  editable: tuple[str, ...]
  structural_edits: Catalogue = ()
  seed: int = 0
  prefetch: int = 0
  max_trials: int = 0
  max_training_runs: float = math.inf
  max_duplicates: float = MAX_DUPLICATES
  allow_duplicates: bool = False
  duplicate_tolerance: float | None = None
  pruning: bool = False
  memory: bool = False
  planner: bool = False


@dataclasses.dataclass(frozen=True)
class Log:
  """Append the event to the ledger, and call `apply` with its record."""

  event: Event


@dataclasses.dataclass(frozen=True)
class Propose:
  """Have the proposer write an edit, and call `answer` with it, or with what was raised.

  Attributes:
    proposal: What the strategy wants.
    context: What the proposer sees. The driver adds services that need the machine, such as a
      trace.
    rng: Randomness of the proposer.
    budget: Of the trial.
    prefetch: Whether all slots are busy, so that there is time to trace the program in advance.
  """

  proposal: Proposal
  context: ProposalContext
  rng: np.random.Generator
  budget: Budget
  prefetch: bool


@dataclasses.dataclass(frozen=True)
class Submit:
  """Start a trial. `request.known` is a view that grows; copy it for another thread."""

  request: TrialRequest


@dataclasses.dataclass(frozen=True)
class Wait:
  """Nothing can be decided until something happens: call `answer` or `deliver`.

  block: Whether the driver should wait. False: results are at hand, so it should only look.
  """

  block: bool = True


@dataclasses.dataclass(frozen=True)
class End:
  """The session is over and on record. reason: a sentence."""

  reason: str


Action = Log | Propose | Submit | Wait | End
