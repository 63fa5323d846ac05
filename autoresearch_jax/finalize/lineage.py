"""The edits that lead from the baseline to the best program, and programs without some of them."""

import dataclasses
from collections.abc import Sequence

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.programs.rebase import rebased
from autoresearch_jax.types import Program, Status


@dataclasses.dataclass(frozen=True)
class CarriedEdit:
  """One step on the way to the best program.

  Attributes:
    trials: First trials of the edits in it: one, unless a program on the way had no score. Such an
      edit and its repair are one step.
    before: The program before it.
    after: The program after it.
  """

  trials: tuple[int, ...]
  before: Program
  after: Program

  @property
  def trial(self) -> int:
    """The trial of the program after it."""
    return self.trials[-1]


def carried_edits(history: History, best: int) -> tuple[CarriedEdit, ...]:
  """Returns the steps from the baseline to a program, in order.

  Args:
    history: The run.
    best: First trial of the program.
  """
  steps: list[CarriedEdit] = []
  before, trials = history.edits[BASELINE].program, ()
  for trial in history.lineage(best)[1:]:
    trials = (*trials, trial)
    result = history.results.get(trial)
    if trial == best or (result is not None and result.status is Status.OK):
      steps.append(CarriedEdit(trials, before, history.edits[trial].program))
      before, trials = history.edits[trial].program, ()
  return tuple(steps)


def without(edits: Sequence[CarriedEdit], dropped: set[int]) -> tuple[CarriedEdit, ...] | None:
  """Returns the steps without those at some indices, each rebased onto the one before it.

  None if a later step changes the same lines as one that is dropped.
  """
  done: list[CarriedEdit] = []
  program = edits[0].before
  for index, edit in enumerate(edits):
    if index in dropped:
      continue
    after = rebased(edit.after, edit.before, program)
    if after is None:
      return None
    done.append(CarriedEdit(edit.trials, program, after))
    program = after
  return tuple(done)


def last_program(edits: Sequence[CarriedEdit], start: Program) -> Program:
  """Returns the program after all steps."""
  return edits[-1].after if edits else start
