"""What became of each edit, over all trials that ran its program.

A replicate or a promotion runs the program of an earlier trial again; its numbers belong to the
trial that first had the program, and are read here under that trial's id.
"""

import collections
import dataclasses
import statistics

from autoresearch_jax.proposers import Context
from autoresearch_jax.types import REPEATS, Status, Trial

BASELINE = 0  # the trial of the unmodified program


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One program's runs. value: mean of the metric; deviation: between seeds, None below two runs.

  Runs are those at `fidelity`, the largest share of the budget that any trial of it trained for.
  """

  trial: Trial
  value: float | None
  deviation: float | None = None
  runs: int = 0
  fidelity: float = 1.0


class Outcomes:
  """Outcomes of a history, by the first trial of each program, in the order of ids."""

  def __init__(self, context: Context):
    self.objective, self.kept, self.undecided = context.objective, context.kept, context.undecided
    self.history = {number: context.history[number] for number in sorted(context.history)}
    groups: dict[int, list[Trial]] = collections.defaultdict(list)
    for trial in self.history.values():
      groups[self.first(trial.id)].append(trial)
    self.all = {
      number: self._outcome(number, trials)
      for number, trials in sorted(groups.items())
      if number in self.history
    }

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

    None unless both have a number from the same share of the budget.
    """
    made, parent = self.all.get(number), self.all.get(self.parent(number) or BASELINE)
    if number == BASELINE or made is None or parent is None or made.fidelity != parent.fidelity:
      return None
    if made.value is None or parent.value is None:
      return None
    return self.score(made.value) - self.score(parent.value)

  def score(self, value: float) -> float:
    """The metric turned so that larger is better."""
    return -value if self.objective.direction == 'minimize' else value

  def lineage(self, number: int) -> list[int]:
    """The trial, its parent, and so on to the baseline; only those that are known."""
    chain: list[int] = []
    following: int | None = number
    while following is not None and following in self.all and following not in chain:
      chain.append(following)
      following = self.parent(following)
    return chain

  def best(self) -> list[int]:
    """Trials with a number from the whole budget, the best first."""
    measured = {n: o.value for n, o in self.all.items() if o.fidelity == 1 and o.value is not None}
    return sorted(measured, key=lambda n: (-self.score(measured[n]), n))

  @property
  def incumbent(self) -> int | None:
    """The best of those that were kept."""
    return next((number for number in self.best() if number in self.kept), None)

  def _outcome(self, number: int, trials: list[Trial]) -> Outcome:
    metric = self.objective.metric
    measured = [
      (trial.proposal.fidelity, m.metrics[metric])
      for trial in trials
      if trial.result.status is Status.OK
      for m in trial.result.measurements
      if metric in m.metrics
    ]
    if not measured:
      first = self.history[number]
      return Outcome(first, None, fidelity=first.proposal.fidelity)
    fidelity = max(share for share, _ in measured)
    values = [value for share, value in measured if share == fidelity]
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Outcome(self.history[number], statistics.fmean(values), deviation, len(values), fidelity)
