"""Canaries: planted programs that measure the run itself, at a small share of its training runs.

Three kinds go through the whole run, tracing, training and the acceptance test:

- placebo: the incumbent without a real change. Keeping it is a false keep.
- improvement: a placebo whose scores are raised by a known gain before the rule sees them. Not
  keeping it is a missed improvement.
- exploit: the incumbent with something that programs must not do (`programs/exploits.py`). It must
  be refused before it has a score.

The acceptance rule judges a canary from a copy of its state, which is dropped afterwards. Trials of
canaries have ids of their own and are in `history.canaries` only. So strategy, proposer, knowledge,
the rule's error budget and the incumbent are not affected: with one slot, a run makes the same
decisions with canaries as without.

A canary begins if what its kind usually costs fits into the share. It then has its slot until its
verdict, so that pairs of runs stay close in time, and that tests which take long are not cut off:
these are the ones that keep. What it costs beyond the share, later ones wait for.
"""

import dataclasses
import statistics
from collections.abc import Iterable
from typing import Any

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.ledger.canaries import (
  CAUGHT,
  DISCARDED,
  EXPLOIT,
  FAILED,
  FIRST_TRIAL,
  IMPROVEMENT,
  KEPT,
  PLACEBO,
  Canary,
)
from autoresearch_jax.ledger.events import CanaryJudged, Planted, Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.messages import RULE, ComponentCall
from autoresearch_jax.programs.exploits import exploits_of, with_exploit
from autoresearch_jax.proposers.placebo import NUMBERS, defines_training, with_placebo
from autoresearch_jax.research.actions import Settings
from autoresearch_jax.research.decisions import feasible, generator, judge, require_same
from autoresearch_jax.types import (
  Decision,
  Edit,
  Hypothesis,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  SeedResult,
  Status,
  Trial,
  TrialRequest,
  Verdict,
)

FIRST_SEED = 2**43  # of canaries that compute what has been trained before
USUAL_COST = {EXPLOIT: 1, PLACEBO: 3, IMPROVEMENT: 9}  # training runs
WEIGHTS = {EXPLOIT: 1, PLACEBO: 2, IMPROVEMENT: 2}  # parts of the share
MAX_TRIALS = 64  # of one canary


@dataclasses.dataclass(frozen=True)
class _Test:
  """The test of the active canary.

  Attributes:
    state: The acceptance rule's, a copy.
    incumbent: What the canary is compared with, as the rule sees it.
    challenger: The canary's first trial, once it is judged.
    wanted: What to train next; None before the rule is asked.
    trials: Trials judged so far.
  """

  state: Any
  incumbent: Trial
  challenger: Trial | None = None
  wanted: Proposal | None = None
  trials: int = 0


class CanaryTests:
  """The controller's part that plants canaries, trains and judges them."""

  def __init__(self, acceptance: AcceptanceRule, settings: Settings):
    """Makes the part in the state before the first event."""
    self._acceptance = acceptance
    self._settings = settings
    self._test: _Test | None = None
    # State of this process only.
    self._submitted = -1  # the trial that this process has submitted last
    self._result: Result | None = None  # not logged yet

  # Planting.

  def plant(self, history: History, state: Any, slots: int) -> Planted | None:
    """Returns the next canary, if one is due.

    Args:
      history: The run so far.
      state: The acceptance rule's state.
      slots: Number of trials that run at the same time.

    Raises:
      ComponentError: The acceptance rule raised.
    """
    if self._settings.requested_only or history.incumbent is None:
      return None
    kind = self._due(history)
    if not kind or (slots == 1 and history.under_test()):  # its pairs stay close in time
      return None
    with ComponentCall(RULE, self._acceptance, 'when a canary was due'):
      before = self._acceptance.without_tests(state)
      if before is None and history.under_test():
        return None
      if self._acceptance.ask(state if before is None else before)[0] is not None:
        return None
    return self._planted(kind, history)

  def _due(self, history: History) -> str:
    """Returns the kind of the canary that is due, the one with the least cost so far, or ''."""
    if not self._settings.canaries.share or not self._affords(history, 1):
      return ''
    planted = history.canaries.planted
    costs = {
      kind: [c.training_runs for c in planted if c.planted.kind == kind]
      for kind in sorted(self._kinds(history), key=lambda kind: USUAL_COST[kind])
    }
    kind = min(costs, key=lambda kind: sum(costs[kind]) / WEIGHTS[kind], default='')
    if not kind:
      return ''
    expected = statistics.fmean(costs[kind]) if costs[kind] else USUAL_COST[kind]
    return kind if self._affords(history, expected) else ''

  def _affords(self, history: History, cost: float) -> bool:
    allowed = self._settings.canaries.share * history.training_runs
    return history.canaries.training_runs + cost <= allowed

  def _kinds(self, history: History) -> set[str]:
    kinds = {*self._settings.canaries.kinds}
    program = self._incumbent_program(history)
    if program.entry not in self._settings.editable:
      return set()
    if not self._exploits(program):
      kinds -= {EXPLOIT}
    if not history.noise():
      kinds -= {IMPROVEMENT}
    return kinds

  def _planted(self, kind: str, history: History) -> Planted:
    number = len(history.canaries.planted)
    incumbent = history.kept[-1]
    program = self._incumbent_program(history)
    if kind == EXPLOIT:
      earlier = [c for c in history.canaries.planted if c.planted.kind == EXPLOIT]
      exploits = self._exploits(program)
      exploit = exploits[len(earlier) % len(exploits)]
      edit = Edit(
        with_exploit(program, exploit),
        f'canary: {exploit.name}',
        Hypothesis('It is refused before it has a score.'),
      )
      return Planted(number, kind, edit, incumbent)
    rng = generator(self._settings.seed, FIRST_TRIAL + number)
    edit = Edit(
      with_placebo(program, int(rng.integers(NUMBERS)), defines_training(program.text())),
      'canary: no real change',
      Hypothesis('It trains as well as the incumbent, apart from noise.', predicted_effect=0.0),
    )
    gain = 0.0
    if kind == IMPROVEMENT:
      gain = self._settings.canaries.gain * (history.noise() or 0.0)
      edit = dataclasses.replace(edit, description=f'canary: scores raised by {gain:.6g}')
    return Planted(number, kind, edit, incumbent, gain)

  def _incumbent_program(self, history: History) -> Program:
    return history.edits[history.kept[-1]].program

  def _exploits(self, program: Program) -> tuple[Any, ...]:
    return exploits_of(program, self._settings.spec, self._settings.isolated)

  # The state that follows from the events.

  def apply(self, record: Record, history: History, state: Any) -> None:
    """Updates the state by an event, which is in `history` already.

    Args:
      record: A Planted or CanaryJudged.
      history: The run so far.
      state: The acceptance rule's state in the search.

    Raises:
      LedgerError: In a replay, the acceptance rule decides differently than before.
      ComponentError: The rule raised.
    """
    event = record.event
    if isinstance(event, Planted):
      with ComponentCall(RULE, self._acceptance, 'when a canary began'):
        before = self._acceptance.without_tests(state)
      self._test = _Test(state if before is None else before, history.trials[event.incumbent])
    elif isinstance(event, CanaryJudged):
      planted = history.canaries.planted[-1].planted
      trial = Trial(event.trial, event.proposal, planted.edit, event.result)
      verdict, outcome, self._test = self._judge(planted, trial)
      require_same(record, RULE, event.verdict.decision, verdict.decision)
      require_same(record, RULE, event.outcome, outcome)
    self._result = None

  # Training.

  def occupies_slot(self, history: History) -> bool:
    """Whether a slot is the active canary's."""
    active = history.canaries.active is not None and self._test is not None
    return active and not self._settings.requested_only

  def next_request(self, history: History) -> TrialRequest | None:
    """Returns the request for the next trial of the active canary, if it is not running yet."""
    trial, canary = history.canaries.next_trial, history.canaries.active
    if canary is None or not self.occupies_slot(history) or self._submitted == trial:
      return None
    self._submitted = trial
    proposal = self._proposal(canary)
    return TrialRequest(
      trial=trial,
      program=self._trained(history, canary, proposal),
      seeds=proposal.seeds,
      budget=self._settings.spec.budget,
      parents=proposal.parents,
      reference=history.reference,
      constraints=self._settings.constraints,
    )

  def take(self, results: Iterable[Result | SeedResult]) -> list[Result | SeedResult]:
    """Takes the results of canaries, and returns the others."""
    others = []
    for result in results:
      if result.trial < FIRST_TRIAL:
        others.append(result)
      elif isinstance(result, Result) and result.trial == self._submitted:
        self._result = result
    return others

  def judged(self, history: History, stop_requested: bool) -> CanaryJudged | None:
    """Returns the event of the result that has arrived, if one has.

    After a stop request failures are ignored, as those of other trials are.
    """
    result, self._result = self._result, None
    if result is None or (stop_requested and result.status is not Status.OK):
      return None
    canary = history.canaries.active
    if canary is None or result.trial != history.canaries.next_trial:
      return None
    result = feasible(result, self._settings.constraints)
    trial = Trial(result.trial, self._proposal(canary), canary.planted.edit, result)
    verdict, outcome, _ = self._judge(canary.planted, trial)
    return CanaryJudged(canary.planted.canary, trial.id, trial.proposal, result, verdict, outcome)

  def _proposal(self, canary: Canary) -> Proposal:
    """What the active canary trains next."""
    test, planted = self._test, canary.planted
    assert test is not None
    if test.wanted is not None:
      return test.wanted
    new = planted.kind == EXPLOIT or defines_training(planted.edit.program.text())
    seeds = (0,) if new else (FIRST_SEED + planted.canary,)
    return Proposal(Operation.IMPROVE, (test.incumbent.id,), seeds=seeds)

  def _trained(self, history: History, canary: Canary, proposal: Proposal) -> Program:
    """Returns the program of a proposal: the canary's or the incumbent's."""
    if canary.trials and proposal.parents[0] != canary.trials[0].id:
      return history.edits[canary.planted.incumbent].program
    return canary.planted.edit.program

  # Judging.

  def _judge(self, planted: Planted, trial: Trial) -> tuple[Verdict, str, _Test | None]:
    """Judges a trial of a canary.

    Returns:
      The verdict; the canary's outcome, '' if it goes on; and the test afterwards, if it does.
    """
    test, result = self._test, trial.result
    assert test is not None
    own = test.challenger is None or trial.proposal.parents[0] == test.challenger.id
    if own:
      trial = _raised(trial, planted.gain, self._settings.objective)
    verdict, state = judge(
      self._acceptance, test.state, trial, self._settings.objective, test.incumbent
    )
    test = dataclasses.replace(test, state=state, wanted=None, trials=test.trials + 1)
    if test.challenger is None:
      test = dataclasses.replace(test, challenger=trial)
      if result.status is not Status.OK:
        # Other failures, such as a loss that diverged, refuse nothing.
        refused = planted.kind == EXPLOIT and result.status is Status.INVALID
        return verdict, CAUGHT if refused else FAILED, None
    if verdict.decision is Decision.KEEP:
      return verdict, KEPT, None
    if test.trials >= MAX_TRIALS:
      return verdict, FAILED, None
    return self._next(verdict, test, result)

  def _next(
    self, verdict: Verdict, test: _Test, result: Result
  ) -> tuple[Verdict, str, _Test | None]:
    """Asks the rule what to train next."""
    challenger = test.challenger
    assert challenger is not None
    rule = self._acceptance
    with ComponentCall(RULE, rule, 'when it tested a canary'):
      if rule.undecided(test.state, challenger):
        wanted, state = rule.ask(test.state)
        if wanted is not None and wanted.operation is Operation.REPLICATE:
          return verdict, '', dataclasses.replace(test, state=state, wanted=wanted)
    return verdict, DISCARDED if result.status is Status.OK else FAILED, None


def _raised(trial: Trial, gain: float, objective: Objective) -> Trial:
  """Returns a trial whose scores are better by a gain."""
  if not gain:
    return trial
  metric, change = objective.metric, objective.score_of(gain)
  measurements = tuple(
    dataclasses.replace(m, metrics={**m.metrics, metric: m.metrics[metric] + change})
    if metric in m.metrics
    else m
    for m in trial.result.measurements
  )
  return dataclasses.replace(
    trial, result=dataclasses.replace(trial.result, measurements=measurements)
  )
