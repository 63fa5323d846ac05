"""What an executor is asked to run: a trial with its budget, pruning rungs and constraints."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from autoresearch_jax.types.budget import Budget
from autoresearch_jax.types.program import Program
from autoresearch_jax.types.result import Measurement, SeedResult
from autoresearch_jax.types.trial import Objective


@dataclasses.dataclass(frozen=True)
class PruningRung:
  """A point in training at which the runner evaluates the state and may prune the trial.

  A trial is pruned if both losses exceed their thresholds; None is no threshold.

  Attributes:
    progress: Fraction of the budget.
    max_train_loss: Threshold on the program's own training loss, averaged since the previous rung.
    max_val_loss: Threshold on the lowest validation loss so far, which the runner measures on a
      fixed batch, in nats per target.
  """

  progress: float
  max_train_loss: float | None = None
  max_val_loss: float | None = None

  def should_prune(self, train_loss: float, lowest_val_loss: float) -> bool:
    if self.max_train_loss is None or self.max_val_loss is None:
      return False
    return train_loss > self.max_train_loss and lowest_val_loss > self.max_val_loss


@dataclasses.dataclass(frozen=True)
class Constraint:
  """A bound on what a trial measures or costs, e.g. `parameters <= 1e6`.

  Attributes:
    quantity: Name of a metric or of a field of `Cost`.
    relation: Whether the bound is an upper or a lower one.
    bound: The bound, in the unit of the quantity.
  """

  quantity: str
  relation: Literal['<=', '>=', '<', '>']
  bound: float

  def holds(self, value: float) -> bool:
    """Returns whether a value is within the bound; NaN never is."""
    match self.relation:
      case '<=':
        return value <= self.bound
      case '>=':
        return value >= self.bound
      case '<':
        return value < self.bound
      case '>':
        return value > self.bound

  def value(self, measurements: tuple['Measurement', ...]) -> float | None:
    """Returns the mean of the quantity over training runs; None where none of them has it."""
    values = [
      m.metrics.get(self.quantity, getattr(m.cost, self.quantity, None)) for m in measurements
    ]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None

  def violation(self, value: float | None) -> str:
    """Returns a sentence that says how a value breaks the constraint; '' if it does not."""
    if value is None:
      return f'The constraint {self} cannot be checked: the trial has no {self.quantity}.'
    if self.holds(value):
      return ''
    return f'It breaks the constraint {self}: {self.quantity} is {value:.6g}.'

  def __str__(self) -> str:
    return f'{self.quantity} {self.relation} {self.bound:g}'


@dataclasses.dataclass(frozen=True)
class ReferenceStep:
  """The train step that measures the machine's speed: the baseline's.

  Attributes:
    program: The baseline's program.
    step_seconds: Seconds that a step of the reference took when the run began; 0 to measure it now.
  """

  program: Program
  step_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class CheckpointPlan:
  """Where and how often a long training run is saved.

  Attributes:
    folder: Folder of this run's checkpoints alone.
    seconds: Seconds between two of them; runs that take less than three times this have none.
  """

  folder: str
  seconds: float


PARAMETERS = 'parameters'  # folder of a saved state that exists once it is complete
STATES = 'states'  # folder in an executor's scratch folder, with the parameters that it saved


@dataclasses.dataclass(frozen=True)
class SavePlan:
  """Which training runs of a trial leave their parameters on disk.

  Attributes:
    objective: The metric and its direction.
    above: A run is saved if its score (larger is better) exceeds this; None: every run is.
    steps: Train steps to take instead of the budget; 0: the budget decides.
  """

  objective: Objective
  above: float | None = None
  steps: int = 0

  def wants(self, metrics: Mapping[str, float]) -> bool:
    """Whether a run with these metrics is saved."""
    return self.above is None or self._score(metrics) > self.above

  def raised_to(self, metrics: Mapping[str, float]) -> 'SavePlan':
    """Returns the plan after a run with these metrics was saved: later ones must be better."""
    return dataclasses.replace(self, above=self._score(metrics))

  def _score(self, metrics: Mapping[str, float]) -> float:
    return self.objective.score_of(metrics.get(self.objective.metric, math.nan))


@dataclasses.dataclass(frozen=True)
class TrialRequest:
  """A trial for an executor to run. `known` maps fingerprints to the trials that have them."""

  trial: int
  program: Program
  seeds: tuple[int, ...]  # one training run each
  budget: Budget
  known: Mapping[str, int] = dataclasses.field(default_factory=dict)
  parents: tuple[int, ...] = ()  # the proposal's
  on_test: bool = False  # score on the test split (final evaluation) instead of validation
  rungs: tuple[PruningRung, ...] = ()  # in order of progress
  reference: ReferenceStep | None = None  # measures the machine's speed for calibrated clocks
  constraints: tuple[Constraint, ...] = ()  # a program known to violate one is not trained
  done: tuple[SeedResult, ...] = ()  # runs of an earlier session, which need not be repeated
  save: SavePlan | None = None  # None: no run is saved
