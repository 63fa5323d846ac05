"""What became of each edit, over all trials that ran its program.

A replicate or a promotion runs the program of an earlier trial again; its numbers belong to the
trial that first had the program, and are read here under that trial's id. Runs are counted as the
run's memory counts them (see `knowledge.measured`), which may be switched off where this is needed.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable

from autoresearch_jax.knowledge.measured import Measured, Programs
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.types import REPEATS, SILENT, Edit, Status, Trial

BASELINE = 0  # the trial of the unmodified program


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One program, under the trial that first had it. value: mean of the metric over its runs.

  Runs are those on the whole budget, each seed once. A program without any has the value of the
  largest share of the budget that it trained for, its `fidelity`; None where it has no number.
  """

  trial: Trial
  value: float | None
  runs: int = 0
  fidelity: float = 1.0


class Outcomes:
  """Outcomes of a context's history, by the first trial of each program, in the order of ids."""

  def __init__(self, context: ProposalContext):
    self.objective, self.kept, self.undecided = context.objective, context.kept, context.undecided
    self.history = {number: context.history[number] for number in sorted(context.history)}
    programs = Programs(self.objective)
    for trial in self.history.values():
      programs.take(trial)
    self.noise = programs.noise  # standard deviation between seeds, over all programs
    self.all = {number: self._outcome(programs.known[number]) for number in sorted(programs.known)}

  def first(self, number: int) -> int:
    """The first trial with the program of this one. An id that is in no history is its own."""
    seen = set()
    while (trial := self.history.get(number)) and number not in seen:
      if trial.proposal.operation not in REPEATS or not trial.proposal.parents:
        break
      seen.add(number)
      number = trial.proposal.parents[0]
    return number

  def parent(self, number: int) -> int | None:
    """First trial of the program that was edited; a draft's is the baseline, which has none."""
    if number == BASELINE or number not in self.history:
      return None
    parents = self.history[number].proposal.parents
    return self.first(parents[0]) if parents else BASELINE

  def gain(self, number: int) -> float | None:
    """By how much it is better than its parent, in the metric's unit; negative when worse.

    None unless both have a number from the whole budget.
    """
    made, parent = self.all.get(number), self.all.get(self.parent(number) or BASELINE)
    if number == BASELINE or not (made and made.runs and parent and parent.runs):
      return None
    assert made.value is not None and parent.value is not None
    return self.score(made.value) - self.score(parent.value)

  def won(self, number: int) -> bool | None:
    """Whether the edit was kept or beat its parent; None where its trials do not say.

    They do not when the machine failed, or when it trained for less than its parent.
    """
    if number in self.kept:
      return True
    if (gain := self.gain(number)) is not None:
      return gain > 0
    return None if self.all[number].trial.result.status in (*SILENT, Status.OK) else False

  def tally(self, by: Callable[[Edit], str]) -> tuple[Counter[str], Counter[str]]:
    """Wins and losses by what `by` says of an edit, each edit once; what is open is neither."""
    wins, losses = Counter[str](), Counter[str]()
    for number, outcome in self.all.items():
      if (won := self.won(number)) is not None:
        (wins if won else losses)[by(outcome.trial.edit)] += 1
    return wins, losses

  def score(self, value: float) -> float:
    """The metric turned so that larger is better; the same turns it back."""
    return -value if self.objective.direction == 'minimize' else value

  def lineage(self, number: int) -> list[int]:
    """The trial, its parent, and so on to the baseline; only those that are known."""
    chain: dict[int, None] = {}
    following: int | None = number
    while following is not None and following in self.all and following not in chain:
      chain[following] = None
      following = self.parent(following)
    return list(chain)

  def best(self) -> list[int]:
    """Trials with a number from the whole budget, the best first."""
    scores = {n: self.score(o.value) for n, o in self.all.items() if o.runs and o.value is not None}
    return sorted(scores, key=lambda number: (-scores[number], number))

  @property
  def incumbent(self) -> int | None:
    """The best of those that were kept."""
    return next((number for number in self.best() if number in self.kept), None)

  def _outcome(self, program: Measured) -> Outcome:
    if program.score is not None:
      return Outcome(program.first, self.score(program.score), program.runs)
    shown, value = program.shown, None
    if shown.result.status is Status.OK and shown.proposal.fidelity < 1:
      value = shown.metric(self.objective.metric)
    return Outcome(program.first, value, fidelity=shown.proposal.fidelity)
