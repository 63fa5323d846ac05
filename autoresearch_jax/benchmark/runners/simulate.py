"""Simulates a run of a strategy: the controller of a real run, driven by a heap and a clock.

The decisions are those of `research/controller.py`, and so are the random numbers: with one slot, a
strategy does here what it would do in a real run. With several slots the clock is simulated, and
results arrive in the order in which their trials would end. Nothing is written, no process is
started, and a trial takes microseconds.

What is kept of a run is what a user would have at each moment: the regret of the incumbent, by the
metric without noise.
"""

import collections
import dataclasses
import heapq
from typing import Any

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.benchmark.regret import RegretCurve
from autoresearch_jax.benchmark.simulations import Instance
from autoresearch_jax.ledger.events import Decided, Declined, Edited, Event, Record
from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.messages import ComponentError
from autoresearch_jax.proposers import NothingToPropose
from autoresearch_jax.research.actions import Log, Propose, Settings, Submit, Wait
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  UNEVALUATED,
  Decision,
  Edit,
  Program,
  Result,
  Status,
  Trial,
  TrialRequest,
)

MAX_TRIALS = 100  # per training run of the budget: enough for a fidelity of 1/81, but finite
_ROUNDING = 1e-9  # a metric's parts do not add up exactly


class SimulationError(ValueError):
  """A run that cannot be simulated: the simulation or the strategy breaks its contract."""


@dataclasses.dataclass(frozen=True)
class SimulatedRun:
  """What is kept of a simulated run.

  Attributes:
    curve: Regret of the incumbent over the run.
    statuses: How many trials ended with each status.
    kept: Number of trials kept after the baseline.
    false_keeps: How many of them were truly worse than the incumbent before them. A program of
      equal value is none, since a rule may keep it for its size.
    runs: Training runs used.
    seconds: Device seconds used.
    calls: Calls of the proposer.
    run_seconds: Device seconds of one training run of the starting program.
  """

  curve: RegretCurve
  statuses: dict[str, int]
  kept: int
  false_keeps: int
  runs: float
  seconds: float
  calls: int
  run_seconds: float


def simulate(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  instance: Instance,
  seed: int,
  budget: float,
  slots: int = 1,
) -> SimulatedRun:
  """Simulates a run until its budget is used up or the controller stops it.

  Args:
    strategy: Decides what to try.
    acceptance: Decides what to keep.
    instance: Proposer and executor of the run.
    seed: Root of the strategy's and the proposer's randomness.
    budget: In training runs.
    slots: Trials that run at the same time.

  Raises:
    SimulationError: The strategy, the rule or the instance breaks its contract.
  """
  return _simulated(strategy, acceptance, instance, seed, budget, slots).outcome()


def simulated_trials(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  instance: Instance,
  seed: int,
  budget: float,
  slots: int = 1,
) -> list[dict[str, Any]]:
  """Returns the trials of the run that `simulate` simulates, in the order of their verdicts.

  Each has `trial`, `operation`, `parents`, `guidance`, `fidelity`, `seeds`, `description` (of the
  edit), `mechanisms` (of the hypothesis), `status`, `metric` (mean over the seeds; None for
  failures), `value` (without noise; None for failures), `seconds`, `decision`, `reason` and
  `program` (the text).

  Raises:
    SimulationError: The strategy, the rule or the instance breaks its contract.
  """
  loop = _simulated(strategy, acceptance, instance, seed, budget, slots)
  return [_row(trial, instance) for trial in loop.trials()]


def _row(trial: Trial, instance: Instance) -> dict[str, Any]:
  proposal, result, verdict = trial.proposal, trial.result, trial.verdict
  return {
    'trial': trial.id,
    'operation': proposal.operation.value,
    'parents': proposal.parents,
    'guidance': proposal.guidance,
    'fidelity': proposal.fidelity,
    'seeds': proposal.seeds,
    'description': trial.edit.description,
    'mechanisms': trial.edit.hypothesis.mechanisms,
    'status': result.status.value,
    'metric': trial.metric(instance.objective.metric),
    'value': instance.value(trial.edit.program),
    'seconds': _seconds(result),
    'decision': verdict.decision.value if verdict else '',
    'reason': verdict.reason if verdict else '',
    'program': trial.edit.program.text(),
  }


def simulated_loop(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  instance: Instance,
  seed: int,
  budget: float,
  slots: int = 1,
) -> 'SimulatedLoop':
  """Returns the run that `simulate` simulates, before its first action. Raises ComponentError."""
  settings = Settings(
    objective=instance.objective,
    program=instance.start,
    spec=instance.spec,
    editable=tuple(name for name, _ in instance.start.files),
    seed=seed,
    max_training_runs=budget,
    max_duplicates=float('inf'),
  )
  return SimulatedLoop(Controller(strategy, acceptance, settings, slots), instance, budget)


def _simulated(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  instance: Instance,
  seed: int,
  budget: float,
  slots: int,
) -> 'SimulatedLoop':
  try:
    loop = simulated_loop(strategy, acceptance, instance, seed, budget, slots)
    while loop.step():
      pass
  except ComponentError as error:
    raise SimulationError(str(error)) from error
  return loop


class SimulatedLoop:
  """Carries out what a controller decides: results wait in a heap until the clock is there.

  Attributes:
    history: The run so far.
    clock: Simulated seconds since it began.
  """

  def __init__(self, controller: Controller, instance: Instance, budget: float):
    self._controller, self.history = controller, controller.history
    self._instance = instance
    self._budget = budget
    self._regret = _Regret(instance)
    self._calls = 0
    self._events = 0
    self.clock = 0.0
    self._flying: list[tuple[float, int, Result]] = []  # a heap: (when it ends, trial, result)
    self._digests: dict[float, dict[str, int]] = collections.defaultdict(dict)  # by fidelity

  def step(self) -> bool:
    """Carries out the next action. Returns False once the controller has ended the session."""
    controller = self._controller
    action = controller.next_action()
    if isinstance(action, Log):
      self._apply(action.event)
    elif isinstance(action, Propose):
      controller.answer(self._propose(action))
    elif isinstance(action, Submit):
      result = self._measure(action.request)
      heapq.heappush(self._flying, (self.clock + _seconds(result), result.trial, result))
    elif isinstance(action, Wait):
      self.clock, _, result = heapq.heappop(self._flying)
      controller.deliver((result,))
    else:
      return False
    return True

  def trials(self) -> list[Trial]:
    """All trials, in the order of their verdicts."""
    return list(self._controller.history.trials.values())

  def outcome(self) -> SimulatedRun:
    """What is kept of the run."""
    regret = self._regret
    baseline = self._controller.history.trials[BASELINE].result.measurements
    return SimulatedRun(
      curve=regret.curve(),
      statuses=dict(sorted(regret.statuses.items())),
      kept=regret.kept,
      false_keeps=regret.false_keeps,
      runs=regret.runs,
      seconds=regret.seconds,
      calls=self._calls,
      run_seconds=baseline[0].cost.total_seconds,
    )

  def _apply(self, event: Event) -> None:
    match event:
      case Edited(trial=trial) if trial >= MAX_TRIALS * self._budget:
        raise SimulationError(
          f'It began {trial} trials within {self._budget:g} training runs; {MAX_TRIALS} a '
          'training run is the limit. Use higher fidelities.'
        )
      case Declined(reason=reason, failed=True):
        raise SimulationError(f'A proposal cannot be tried: {reason}')
    self._controller.apply(Record(self._events, self.clock, event))
    self._events += 1
    if isinstance(event, Decided):
      self._count(self._controller.history.trials[event.trial])

  def _count(self, trial: Trial) -> None:
    assert trial.verdict is not None
    if trial.id == BASELINE and trial.verdict.decision is not Decision.KEEP:
      raise SimulationError(
        f'The baseline failed, so nothing can be compared: {trial.verdict.reason}'
      )
    if trial.result.status not in UNEVALUATED:
      digests = self._digests[trial.proposal.fidelity]
      digests.setdefault(trial.edit.program.digest, trial.id)
    self._regret.add(trial, self._calls)

  def _propose(self, action: Propose) -> Edit | NothingToPropose:
    self._calls += 1
    try:
      return self._instance.propose(action.proposal, action.context, action.rng)
    except NothingToPropose as error:
      return error

  def _measure(self, request: TrialRequest) -> Result:
    """The result of a trial. The same text at the same fidelity is not measured again."""
    digest = request.program.digest
    if request.known:
      fidelity = self._controller.history.proposals[request.trial].fidelity
      first = self._digests[fidelity].get(digest)
      if first is not None:
        reason = f'The same program as trial {first}.'
        return Result(request.trial, Status.DUPLICATE, reason, digest, duplicate_of=first)
    result = self._instance.measure(request)
    return result if result.fingerprint else dataclasses.replace(result, fingerprint=digest)


class _Regret:
  """What a run has used and what its incumbent is truly worth."""

  def __init__(self, instance: Instance):
    self.instance, self.optimum = instance, instance.optimum
    worst = instance.value(instance.start)
    if worst is None or worst == self.optimum:
      raise SimulationError(
        f'The start of this instance has the value {worst} and the optimum is {self.optimum}: '
        'regret has no scale. Take another seed or other options.'
      )
    self.worst = worst
    self.regret = 1.0
    self.runs = self.seconds = 0.0
    self.kept = self.false_keeps = 0
    self.statuses: collections.Counter[str] = collections.Counter()
    self.steps = [(0.0, 0.0, 0, 1.0)]

  def add(self, trial: Trial, calls: int) -> None:
    self.runs += trial.proposal.fidelity * len(trial.proposal.seeds)
    self.seconds += _seconds(trial.result)
    self.statuses[trial.result.status.value] += 1
    assert trial.verdict is not None
    if trial.verdict.decision is Decision.KEEP and trial.id != BASELINE:
      self._keep(trial, calls)

  def _keep(self, trial: Trial, calls: int) -> None:
    regret = self._regret(trial.edit.program)
    self.kept += 1
    self.false_keeps += regret > self.regret + _ROUNDING
    if regret != self.regret:
      self.steps.append((self.runs, self.seconds, calls, regret))
    self.regret = regret

  def _regret(self, program: Program) -> float:
    """A program that fails is worth the start, to which its user goes back."""
    value = self.instance.value(program)
    value = self.worst if value is None else value
    return (self.optimum - value) / (self.optimum - self.worst) + 0.0  # no -0.0 at the optimum

  def curve(self) -> RegretCurve:
    return RegretCurve(*(tuple(column) for column in zip(*self.steps, strict=True)))


def _seconds(result: Result) -> float:
  """Of the device: what a simulation says of the whole trial, failed or not, else of its runs."""
  told = result.facts.get('seconds')
  return sum(m.cost.total_seconds for m in result.measurements) if told is None else told
