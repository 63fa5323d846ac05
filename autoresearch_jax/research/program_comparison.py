"""Compares two programs by a run's acceptance rule, without a run.

The rule is played as a run plays it: one program is the baseline, the other one a trial, and then
come the replications that the rule asks for. So the verdict is that of a run in which the same
measurements were made.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.research.decisions import feasible, judge
from autoresearch_jax.types import (
  Constraint,
  Decision,
  Edit,
  Hypothesis,
  Measurement,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  Trial,
)

AGAINST, CHALLENGER = 0, 1  # trials
MAX_REPLICATIONS = 1000

Train = Callable[[int, int], Result]  # (AGAINST or CHALLENGER, seed) -> result of that one seed


@dataclasses.dataclass(frozen=True)
class ProgramComparison:
  """The verdict of an acceptance rule on a program against another one.

  Attributes:
    decision: keep, discard or crash.
    reason: Why, a sentence.
    undecided: Whether more runs may turn a discard into a keep.
    missing: What would decide it, a sentence; '' if it is decided.
    own: Seed -> measurement of the program.
    against: The same of the other program.
    status: How the program's training ended; that of the other program, if that one failed.
  """

  decision: Decision
  reason: str
  undecided: bool
  missing: str
  own: dict[int, Measurement]
  against: dict[int, Measurement]
  status: Status = Status.OK

  def gains(self, objective: Objective) -> list[float]:
    """Differences of the scores on the seeds that both were trained on; above 0 is better."""

    def score(runs: dict[int, Measurement], seed: int) -> float:
      return objective.score_of(runs[seed].metrics[objective.metric])

    common = [seed for seed in self.own if seed in self.against]
    return [score(self.own, seed) - score(self.against, seed) for seed in common]

  def gain(self, objective: Objective) -> tuple[float, float | None] | None:
    """Mean of `gains` and its standard error, which is None for one pair; None without a pair."""
    found = self.gains(objective)
    if not found:
      return None
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
    return statistics.fmean(found), error


def compare(
  rule: AcceptanceRule,
  objective: Objective,
  programs: tuple[Program, Program],
  train: Train,
  seeds: Sequence[int] | None = None,
  constraints: Sequence[Constraint] = (),
) -> ProgramComparison:
  """Trains two programs on the same seeds, in turn, until the rule has decided.

  Args:
    rule: The acceptance rule.
    objective: The metric and its direction.
    programs: The program to compare against, and the program.
    train: Trains one of them on one seed.
    seeds: The only seeds to use, whether or not they suffice; None for as many as the rule needs.
    constraints: Bounds that a program has to keep.

  Raises:
    ComponentError: The rule raised.
  """
  return _Play(rule, objective, programs, train, seeds, constraints).verdict()


class _Failed(Exception):
  """A program has no score; `result` says why."""

  def __init__(self, program: int, result: Result):
    super().__init__(result.reason)
    self.program, self.result = program, result


class _OutOfSeeds(Exception):
  """The rule asks for more runs than there are seeds."""


class _Play:
  """The run in miniature; see `compare`."""

  def __init__(
    self,
    rule: AcceptanceRule,
    objective: Objective,
    programs: tuple[Program, Program],
    train: Train,
    seeds: Sequence[int] | None,
    constraints: Sequence[Constraint],
  ):
    self._rule, self._objective, self._programs = rule, objective, programs
    self._train, self._seeds, self._constraints = train, seeds, constraints
    self._runs: tuple[dict[int, Measurement], dict[int, Measurement]] = ({}, {})
    self._of_rule: dict[int, int] = {}  # seed that the rule asks for -> seed that is used for it

  def verdict(self) -> ProgramComparison:
    try:
      self._train_given()
      return self._play()
    except _Failed as failure:
      whose = 'The other program' if failure.program == AGAINST else 'The program'
      return ProgramComparison(
        Decision.CRASH, f'{whose} has no score: {failure.result.reason}', False, '',
        self._runs[CHALLENGER], self._runs[AGAINST], failure.result.status,
      )  # fmt: skip

  def _train_given(self) -> None:
    """Trains both on the given seeds, in the order A B B A."""
    for index, seed in enumerate(self._seeds or ()):
      order = (AGAINST, CHALLENGER) if index % 2 == 0 else (CHALLENGER, AGAINST)
      for program in order:
        self._run(program, seed)

  def _play(self, all_at_once: bool = False) -> ProgramComparison:
    """Plays the run.

    Args:
      all_at_once: Whether the program's own trial has all given seeds, not only the first one.
    """
    rule, objective = self._rule, self._objective
    first = tuple(range(max(1, rule.baseline_seeds if self._seeds is None else len(self._seeds))))
    own = first if all_at_once else first[:1]
    self._of_rule = {}
    state = rule.init(objective)
    baseline = self._trial(AGAINST, Proposal(Operation.DRAFT, seeds=first))
    if baseline.result.status is not Status.OK:
      raise _Failed(AGAINST, baseline.result)
    verdict, state = judge(rule, state, baseline, objective, None)
    if verdict.decision is not Decision.KEEP:
      return self._ended(dataclasses.replace(baseline, verdict=verdict), False)
    baseline = dataclasses.replace(baseline, verdict=verdict)
    self._of_rule = {seed: self._of_rule[seed] for seed in own}  # pairs may use the other ones
    trial = self._trial(CHALLENGER, Proposal(Operation.IMPROVE, (AGAINST,), seeds=own))
    verdict, state = judge(rule, state, trial, objective, baseline)
    latest = on_pairs = dataclasses.replace(trial, verdict=verdict)
    used: tuple[set[int], set[int]] = (set(), set())  # seeds of replications
    for number in range(CHALLENGER + 1, CHALLENGER + 1 + MAX_REPLICATIONS):
      if verdict.decision is Decision.KEEP or not rule.undecided(state, latest):
        break
      proposal, asked = rule.ask(state)
      if proposal is None:
        break
      program = proposal.parents[0]
      try:
        again = self._trial(program, proposal, number)
      except _OutOfSeeds:
        paired = program == AGAINST or used[AGAINST]  # a half pair says nothing
        return self._ended(on_pairs if paired else latest, True, _missing(proposal))
      used[program].update(proposal.seeds)
      said, state = judge(rule, asked, again, objective, baseline)
      if program == CHALLENGER:
        verdict, latest = said, dataclasses.replace(again, verdict=said)
        on_pairs = latest if used[AGAINST] == used[CHALLENGER] else on_pairs
    if self._seeds is not None and not any(used) and len(own) < len(self._seeds):
      return self._play(all_at_once=True)  # it was decided on one seed, and there are more
    return self._ended(latest, rule.undecided(state, latest))

  def _trial(self, program: int, proposal: Proposal, number: int | None = None) -> Trial:
    """Makes the trial of a proposal. Raises _Failed, _OutOfSeeds."""
    runs = []
    for seed in proposal.seeds:
      run = self._run(program, self._seed(seed))
      runs.append(dataclasses.replace(run, seed=seed))
    edit = Edit(self._programs[program], '', Hypothesis(''))
    number = program if number is None else number
    result = Result(number, Status.OK, measurements=tuple(runs))
    return Trial(number, proposal, edit, feasible(result, self._constraints))

  def _seed(self, wanted: int) -> int:
    """The seed that stands for one that the rule asks for."""
    if wanted not in self._of_rule:
      if self._seeds is None:
        self._of_rule[wanted] = wanted
      else:
        free = [seed for seed in self._seeds if seed not in self._of_rule.values()]
        if not free:
          raise _OutOfSeeds
        self._of_rule[wanted] = free[0]
    return self._of_rule[wanted]

  def _run(self, program: int, seed: int) -> Measurement:
    if seed not in self._runs[program]:
      result = self._train(program, seed)
      if result.status is not Status.OK:
        raise _Failed(program, result)
      (self._runs[program][seed],) = result.measurements
    return self._runs[program][seed]

  def _ended(self, trial: Trial, undecided: bool, missing: str = '') -> ProgramComparison:
    own, against, verdict = self._runs[CHALLENGER], self._runs[AGAINST], trial.verdict
    assert verdict is not None
    undecided, status = undecided and verdict.decision is not Decision.KEEP, trial.result.status
    reason = verdict.reason.replace(f'trial {AGAINST}', 'the other program')
    return ProgramComparison(verdict.decision, reason, undecided, missing, own, against, status)


def _missing(proposal: Proposal) -> str:
  runs = f'{len(proposal.seeds)} more seed{"s" if len(proposal.seeds) > 1 else ""}'
  return (
    f'The rule needs at least {runs} for its next step. Give more seeds, or none: then it trains '
    'until it has decided.'
  )
