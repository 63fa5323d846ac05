"""The outcome of every edit over all trials that ran its program: won, lost, or open.

Used to choose models and roles and to describe trials in prompts. Runs are pooled as in the run's
memory (see `program_results`), which the config may switch off while this is still needed.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Set

from autoresearch_jax.knowledge.program_results import ProgramResult, ProgramResults
from autoresearch_jax.types import INCONCLUSIVE, RERUNS, Edit, Objective, Status, Trial

BASELINE = 0  # id of the trial of the unmodified program


@dataclasses.dataclass(frozen=True)
class ProgramOutcome:
  """The outcome of one program.

  Attributes:
    trial: The first trial that ran the program.
    value: Mean of the metric over the runs on the whole budget, one a seed. If there are none, the
      value of the largest fraction of the budget that the program trained for; None if it has none.
    runs: Number of runs on the whole budget.
    fidelity: Fraction of the budget that `value` was measured at.
  """

  trial: Trial
  value: float | None
  runs: int = 0
  fidelity: float = 1.0


class ProgramOutcomes:
  """Outcomes of all programs of a run.

  A replication or a promotion runs the program of an earlier trial again; its runs belong to the
  first trial that had the program.

  Attributes:
    history: Finished trials by id, in the order of their ids.
    objective: The metric and its direction.
    kept: First trials of the programs that were kept.
    undecided: Trials whose DISCARD may still be overturned by a replication.
    noise: Standard deviation of the metric between seeds, pooled over all programs, or None.
    by_trial: Outcomes by the first trial of each program, in the order of their ids.
  """

  def __init__(
    self,
    history: Mapping[int, Trial],
    objective: Objective,
    kept: Set[int],
    undecided: Set[int] = frozenset(),
  ):
    self.objective, self.kept, self.undecided = objective, kept, undecided
    self.history = {number: history[number] for number in sorted(history)}
    programs = ProgramResults(self.objective)
    for trial in self.history.values():
      programs.add(trial)
    self.noise = programs.noise
    self.by_trial = {n: self._outcome(programs.by_trial[n]) for n in sorted(programs.by_trial)}

  def first_trial(self, number: int) -> int:
    """Returns the first trial with the program of this one; an unknown id is its own first."""
    seen = set()
    while (trial := self.history.get(number)) and number not in seen:
      if trial.proposal.operation not in RERUNS or not trial.proposal.parents:
        break
      seen.add(number)
      number = trial.proposal.parents[0]
    return number

  def parent(self, number: int) -> int | None:
    """Returns the first trial of the program that was edited; drafts edit the baseline."""
    if number == BASELINE or number not in self.history:
      return None
    parents = self.history[number].proposal.parents
    return self.first_trial(parents[0]) if parents else BASELINE

  def gain(self, number: int) -> float | None:
    """Returns the improvement over the parent, in the metric's unit; negative if it got worse.

    None unless both have runs on the whole budget.
    """
    outcome = self.by_trial.get(number)
    parent = self.by_trial.get(self.parent(number) or BASELINE)
    if number == BASELINE or not (outcome and outcome.runs and parent and parent.runs):
      return None
    assert outcome.value is not None and parent.value is not None
    return self.score(outcome.value) - self.score(parent.value)

  def won(self, number: int) -> bool | None:
    """Returns whether the edit was kept or beat its parent; None if that is open.

    It is open if the machine failed, or if the program trained for less than its parent.
    """
    if number in self.kept:
      return True
    if (gain := self.gain(number)) is not None:
      return gain > 0
    status = self.by_trial[number].trial.result.status
    return None if status in (*INCONCLUSIVE, Status.OK) else False

  def tally(self, group: Callable[[Edit], str]) -> tuple[Counter[str], Counter[str]]:
    """Counts wins and losses by group of edits; each edit counts once, open ones not at all."""
    wins, losses = Counter[str](), Counter[str]()
    for number, outcome in self.by_trial.items():
      if (won := self.won(number)) is not None:
        (wins if won else losses)[group(outcome.trial.edit)] += 1
    return wins, losses

  def score(self, value: float) -> float:
    """Converts between the metric and a score where larger is better; its own inverse."""
    return self.objective.score_of(value)

  def lineage(self, number: int) -> list[int]:
    """Returns the trial, its parent, and so on to the baseline, as far as they are known."""
    chain: dict[int, None] = {}
    following: int | None = number
    while following is not None and following in self.by_trial and following not in chain:
      chain[following] = None
      following = self.parent(following)
    return list(chain)

  def best(self) -> list[int]:
    """Returns the trials with runs on the whole budget, best first."""
    scores = {
      n: self.score(o.value) for n, o in self.by_trial.items() if o.runs and o.value is not None
    }
    return sorted(scores, key=lambda number: (-scores[number], number))

  @property
  def incumbent(self) -> int | None:
    """The best of the kept programs."""
    return next((number for number in self.best() if number in self.kept), None)

  def _outcome(self, program: ProgramResult) -> ProgramOutcome:
    if program.score is not None:
      return ProgramOutcome(program.first, self.score(program.score), program.runs)
    shown, value = program.representative, None
    if shown.result.status is Status.OK and shown.proposal.fidelity < 1:
      value = shown.metric(self.objective.metric)
    return ProgramOutcome(program.first, value, fidelity=shown.proposal.fidelity)
