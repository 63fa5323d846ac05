"""The individual decisions of a run, as pure functions of states and trials.

They choose the next trial, revise prepared ones, and keep or discard finished ones. `controller.py`
calls them both in a live run and when a ledger is replayed.
"""

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any, Self

import msgspec
import numpy as np

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import LedgerError, Record
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import RULE, STRATEGY, ComponentCall
from autoresearch_jax.models.states import save_plan
from autoresearch_jax.research import pruning, steering
from autoresearch_jax.research.actions import Settings
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  RERUNS,
  UNEVALUATED,
  Constraint,
  Decision,
  Objective,
  Operation,
  Proposal,
  Result,
  Status,
  Trial,
  TrialRequest,
  Verdict,
  from_json,
  original_of,
  to_json,
)

MAX_DECLINED = 5  # the run stops after this many proposals in a row without a program
_ROUNDING = 1e-9  # fidelities such as 1/3 do not add up exactly


@dataclasses.dataclass(frozen=True)
class States:
  """The states of strategy and acceptance rule, both immutable.

  Attributes:
    strategy: State of the strategy.
    acceptance: State of the acceptance rule.
    before_ask: Both states before the last `ask`, restored if its proposal is declined. None once
      the strategy was told of a trial, which must not be undone.
  """

  strategy: Any
  acceptance: Any
  before_ask: tuple[Any, Any] | None = None

  @classmethod
  def first(cls, objective: Objective, strategy: Strategy, acceptance: AcceptanceRule) -> Self:
    """Returns the states before any trial. Raises ComponentError."""
    with ComponentCall(STRATEGY, strategy, 'at its start'):
      searching = strategy.init(objective)
    with ComponentCall(RULE, acceptance, 'at its start'):
      return cls(searching, acceptance.init(objective))

  def after_ask(self, strategy: Any, acceptance: Any) -> 'States':
    """Returns the states after an `ask` that returned these two."""
    return States(strategy, acceptance, (self.strategy, self.acceptance))

  def declined(self) -> 'States':
    """Returns the states after the last proposal was declined: those before it was asked for."""
    return self if self.before_ask is None else States(*self.before_ask)

  def encoded(self) -> bytes:
    """Returns both states as JSON."""
    return msgspec.json.encode(self)


def generator(seed: int, turn: int) -> np.random.Generator:
  """Returns the random generator of one decision.

  Args:
    seed: The run's root seed.
    turn: `History.turn` before the decision's event.
  """
  return np.random.default_rng([seed, turn])


def next_proposal(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  states: States,
  rng: np.random.Generator,
  proposals: Mapping[int, Proposal],
) -> tuple[Proposal, States]:
  """Decides what to try next: a replication that the rule needs, else the strategy's choice.

  Args:
    strategy: Asked if the acceptance rule needs no trial.
    acceptance: Asked first.
    states: Their states.
    rng: The strategy's random generator.
    proposals: The proposals of all trials so far.

  Raises:
    ComponentError: One of them raised, or the proposal cannot be run.
  """
  when = f'when it was asked for trial {len(proposals)}'
  with ComponentCall(RULE, acceptance, when):
    wanted, judging = acceptance.ask(states.acceptance)
    if wanted is not None:
      return _of_original(_checked(wanted), proposals), states.after_ask(states.strategy, judging)
  with ComponentCall(STRATEGY, strategy, when):
    proposal, searching = strategy.ask(states.strategy, rng)
    return _of_original(_checked(proposal), proposals), states.after_ask(searching, judging)


def is_due(history: History, acceptance: AcceptanceRule, state: Any) -> bool:
  """Returns whether there is a next trial that the strategy need not be asked for.

  Raises:
    ComponentError: The acceptance rule raised.
  """
  if history.next_trial == BASELINE or history.open_proposal is not None:
    return True
  if steering.next_wanted(history) is not None:
    return True
  with ComponentCall(RULE, acceptance, f'when it was asked for trial {history.next_trial}'):
    return acceptance.ask(state)[0] is not None


def _checked(proposal: Proposal) -> Proposal:
  """Returns the proposal as it will be read from the ledger. Raises ValueError, TypeError."""
  return from_json(to_json(require_runnable(proposal)), Proposal)


def require_runnable(proposal: Proposal) -> Proposal:
  """Raises ValueError for a fidelity outside (0, 1], and for missing or repeated seeds."""
  if not 0 < proposal.fidelity <= 1:
    raise ValueError(
      f'The proposal has the fidelity {proposal.fidelity}; a fraction of the budget must be above '
      '0 and at most 1.'
    )
  if not proposal.seeds or len(set(proposal.seeds)) < len(proposal.seeds):
    raise ValueError(
      f'The proposal has the seeds {proposal.seeds}; a trial needs at least one, all different.'
    )
  return proposal


def _of_original(proposal: Proposal, proposals: Mapping[int, Proposal]) -> Proposal:
  """Turns a rerun of a replicate into a rerun of the replicated trial.

  Ledger, archives and acceptance rules only look at the first parent. Reruns of a promotion are not
  changed, since it has a score of its own at a larger budget.
  """
  if proposal.operation not in RERUNS or not proposal.parents:
    return proposal
  first, *others = proposal.parents
  original = original_of(first, proposals, (Operation.REPLICATE,))
  if original == first:
    return proposal
  return dataclasses.replace(proposal, parents=(original, *others))


def trial_request(history: History, trial: int, settings: Settings) -> TrialRequest:
  """Returns the request for a trial that has begun, possibly in an earlier process.

  `known` is a live view of the fingerprints so far.
  """
  proposal, done = history.proposals[trial], history.seed_results.get(trial, {})
  again = trial == BASELINE or proposal.operation in RERUNS or settings.allow_duplicates
  return TrialRequest(
    trial=trial,
    program=history.edits[trial].program,
    seeds=proposal.seeds,
    budget=settings.spec.budget.scaled(proposal.fidelity),
    # A trial with finished seeds was no duplicate when it began.
    known={} if again or done else history.fingerprints(proposal.fidelity),
    parents=proposal.parents,
    rungs=pruning.rungs(history, trial, settings),
    reference=history.reference,
    constraints=settings.constraints,
    done=tuple(done[seed] for seed in proposal.seeds if seed in done),
    save=save_plan(history, trial) if settings.save_models else None,
  )


def feasible(result: Result, constraints: Iterable[Constraint]) -> Result:
  """Returns the result, which is `infeasible` instead of ok if it breaks a constraint."""
  if result.status is not Status.OK:
    return result
  for constraint in constraints:
    if broken := constraint.violation(constraint.value(result.measurements)):
      return dataclasses.replace(result, status=Status.INFEASIBLE, reason=broken)
  return result


def failed_in_training(result: Result) -> bool:
  """Returns whether a trial failed for a reason that another training run would meet again."""
  return result.status is not Status.OK and result.status not in UNEVALUATED


def judge(
  acceptance: AcceptanceRule,
  state: Any,
  trial: Trial,
  objective: Objective,
  incumbent: Trial | None,
  under_test: Mapping[int, Trial] = types.MappingProxyType({}),
) -> tuple[Verdict, Any]:
  """Decides on a finished trial.

  The rule decides on trials that have a score at the full budget; scores at a lower fidelity are
  not comparable with the incumbent's. It also sees failed trials, since they may be replications
  that it waits for, but does not decide their verdict.

  Args:
    acceptance: The rule.
    state: Its state.
    trial: The trial, without a verdict.
    objective: The metric and its direction.
    incumbent: The trial that was kept last; None for the baseline.
    under_test: The programs that were undecided before: first trial -> latest trial.

  Raises:
    ComponentError: The rule raised, or its verdict cannot be recorded.
  """
  failure = _failure(trial, objective)
  if trial.proposal.fidelity < 1:
    fraction = f'{trial.proposal.fidelity:.2%} of the budget'
    early = Verdict(Decision.DISCARD, f'Trained for {fraction} only, so it is not kept yet.')
    return dataclasses.replace(failure or early, undecided=False), state
  if failure is not None:
    status = Status.CRASH if trial.result.status == Status.OK else trial.result.status
    broken = Result(trial.id, status, failure.reason)
    trial = dataclasses.replace(trial, result=broken)
  with ComponentCall(RULE, acceptance, f'when it judged trial {trial.id}'):
    verdict, state = acceptance.decide(state, trial, incumbent)
    verdict = from_json(to_json(verdict), Verdict)
  with ComponentCall(RULE, acceptance, 'when it was asked what is undecided'):
    verdict = dataclasses.replace(
      failure or verdict,
      undecided=verdict.decision is not Decision.KEEP and acceptance.undecided(state, trial),
      ended=tuple(n for n, other in under_test.items() if not acceptance.undecided(state, other)),
    )
  return verdict, state


def require_same(record: Record, role: str, recorded: Any, again: Any) -> None:
  """Raises LedgerError if a replay decides otherwise than the record."""
  if recorded != again:
    raise LedgerError(
      f'Event {record.index} cannot be replayed: the {role} now returns {again!r:.200} instead of '
      f'{recorded!r:.200}. Use the version of autoresearch_jax that wrote this ledger, or start '
      f'again with a new --workdir.'
    )


def tell(strategy: Strategy, state: Any, trial: Trial) -> Any:
  """Tells the strategy of a decided trial; returns its new state. Raises ComponentError."""
  with ComponentCall(STRATEGY, strategy, f'when it was told of trial {trial.id}'):
    return strategy.tell(state, trial)


def revised(strategy: Strategy, states: States, proposal: Proposal) -> tuple[Proposal, States]:
  """Lets the strategy revise the proposal of a prepared trial. Raises ComponentError."""
  with ComponentCall(STRATEGY, strategy, 'when it was asked whether a prepared trial still fits'):
    wanted, searching = strategy.revise(states.strategy, proposal)
    return _checked(wanted), States(searching, states.acceptance)


def undecided(
  acceptance: AcceptanceRule, state: Any, trials: Mapping[int, Trial], shown: Iterable[int]
) -> frozenset[int]:
  """Returns the trials among `shown` whose DISCARD may still change. Raises ComponentError."""
  found = [trials[number] for number in shown if number in trials]
  with ComponentCall(RULE, acceptance, 'when it was asked what is undecided'):
    return frozenset(trial.id for trial in found if acceptance.undecided(state, trial))


def baseline_failed(history: History) -> bool:
  """Returns whether the baseline has no score, so that trials have nothing to be compared with."""
  baseline = history.trials.get(BASELINE)
  verdict = baseline.verdict if baseline else None
  return verdict is not None and verdict.decision is not Decision.KEEP


def why_over(history: History, settings: Settings) -> str:
  """Returns why the search is over, a sentence; '' if it is not."""
  if baseline_failed(history):
    why = history.results[BASELINE].reason
    return (
      f'The baseline failed, so no trial can be compared with it: {why} Fix it and start again '
      'with another --workdir; the failure stays in this one.'
    )
  max_trials = ends.effective(history, settings.ends).max_trials or 0
  if 0 < max_trials <= history.next_trial:
    steered = history.steering.ends.max_trials is not None
    where = '`autoresearch steer`' if steered else 'config.search.max_trials'
    return f'All {max_trials} trials that {where} allows are done.'
  if history.declined_in_a_row >= MAX_DECLINED:
    return f'{MAX_DECLINED} proposals in a row produced no program.'
  if history.duplicates_in_a_row >= settings.max_duplicates:
    return f'The last {settings.max_duplicates} trials were duplicates of earlier programs.'
  if history.open_proposal is not None:
    proposal = history.open_proposal.proposal
    runs = history.training_runs + proposal.fidelity * len(proposal.seeds)
    if runs > settings.max_training_runs + _ROUNDING:
      return f'The next trial does not fit into {settings.max_training_runs:g} training runs.'
  return steering.why_spent(history, settings)


def _failure(trial: Trial, objective: Objective) -> Verdict | None:
  """Returns the verdict on a trial without a finite score; None if the trial has one."""
  status, reason = trial.result.status, trial.result.reason
  score = objective.score(trial)
  if status == Status.OK and score is not None and math.isfinite(score):
    return None
  if status == Status.OK:
    reason = f'The executor measured no finite {objective.metric}.'
  if status in (Status.DUPLICATE, Status.CANCELLED, Status.PRUNED, Status.INFEASIBLE):
    return Verdict(Decision.DISCARD, reason or f'The trial is {status}.')
  return Verdict(Decision.CRASH, reason or f'The trial ended as {status}.')
