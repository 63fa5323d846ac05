"""The controller: makes all decisions of the research loop.

It is a pure state machine without threads, processes, files, SQLite, git or a clock. A driver asks
it for the next action, carries it out, and reports the outcome:

    while not isinstance(action := controller.next_action(), End):
      match action:
        case Log():      # append action.event to the ledger, then
          controller.apply(record)
        case Propose():  # have the proposer write an edit, then
          controller.answer(edit)
        case Submit():   # start action.request
          executor.submit(action.request)
        case Wait():     # until something happens, then
          controller.deliver(results)  # of trials and of single seeds

There are two drivers. `research/loop.py` runs real trials with a ledger, a proposer thread and an
executor. `benchmark/runners/simulate.py` keeps a heap of simulated results.

Persistent state changes in `apply` only, by an event that is already logged. So folding a ledger's
records through `apply` gives the state of the process that wrote them, and a killed run resumes
from there. Work that was not logged yet is lost, and repeated.
"""

import collections
import dataclasses
import functools
import types
from collections.abc import Iterable
from typing import Any

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.knowledge import Memory
from autoresearch_jax.ledger.events import (
  CanaryJudged,
  Decided,
  Declined,
  Edited,
  Event,
  Finished,
  HandedOver,
  Planted,
  Proposed,
  Record,
  Released,
  Resumed,
  Started,
  Stopped,
)
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.requests import reviewed
from autoresearch_jax.messages import RULE, STRATEGY, ComponentCall, ComponentError
from autoresearch_jax.proposers import NothingToPropose
from autoresearch_jax.research import edits, steering
from autoresearch_jax.research.actions import Action, End, Log, Propose, Settings, Submit, Wait
from autoresearch_jax.research.canaries import CanaryTests
from autoresearch_jax.research.context import proposal_context
from autoresearch_jax.research.decisions import (
  States,
  generator,
  is_due,
  judge,
  next_proposal,
  require_same,
  revised,
  tell,
  trial_request,
  undecided,
  why_over,
)
from autoresearch_jax.research.result_queue import ResultQueue
from autoresearch_jax.research.tried import TriedPrograms
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  Edit,
  Operation,
  Proposal,
  Result,
  SeedResult,
  Status,
  SteeringRequest,
  Verdict,
)

_WAIT, _POLL = Wait(), Wait(block=False)


class Controller:
  """Decides what happens next in a run. See the module's docstring.

  Attributes:
    strategy: Chooses what to try.
    acceptance: Decides what to keep.
    settings: The rest of the run's config that it needs.
    history: The run so far.
    states: The states of strategy and acceptance rule.
    tried: The programs so far; None if programs are not compared before they are traced.
    slots: Number of trials that run at the same time; the driver may change it.
    proposing: Whether a `Propose` action has not been answered yet.
  """

  def __init__(
    self, strategy: Strategy, acceptance: AcceptanceRule, settings: Settings, slots: int = 1
  ):
    """Makes a controller in the state before the first event. Raises ComponentError."""
    self.strategy = strategy
    self.acceptance = acceptance
    self.settings = settings
    self.slots = slots
    self.history = History()
    self.states = States.first(settings.objective, strategy, acceptance)
    self.proposing = False
    self._trials = types.MappingProxyType(self.history.trials)
    self.tried: TriedPrograms | None = None
    if settings.duplicate_tolerance is not None and not settings.allow_duplicates:
      tolerance = settings.duplicate_tolerance
      self.tried = TriedPrograms(self.history, tolerance, lambda: self._memory)
    self._canaries = CanaryTests(acceptance, settings)
    self._barred: dict[int, str] = {}  # trials that have begun and must not be trained -> why
    # State of this process only, which is not restored from the ledger.
    self._expected: tuple[type, Any] | None = None  # event being logged, and the state after it
    self._reply: Edit | BaseException | None = None  # the proposer's, not logged yet
    self._results = ResultQueue()
    self._requests: collections.deque[SteeringRequest] = collections.deque()  # not logged yet
    self._processing_results = False  # results are being logged and decided
    self._waited = False  # since the last Propose
    self._submitted: set[int] = set()  # running trials that this process submitted
    self._stop_reason = ''
    self._stop_requested = False
    self._aborted = False
    self._ended = False

  @functools.cached_property
  def _memory(self) -> Memory:
    history = self.history
    return Memory(self._trials, self.settings.objective, history.kept_programs, history.lessons)

  def answer(self, reply: Edit | BaseException) -> None:
    """Receives the proposer's edit, or the exception that it raised."""
    self.proposing, self._reply = False, reply

  def deliver(self, results: Iterable[Result | SeedResult]) -> None:
    """Receives the results, if any, that arrived while the driver waited, in that order.

    Those of trials are held back while a proposer works, so that it sees a fixed state of the run.
    Those of single seeds, and failures, are logged at once, so that no restart trains them again.
    """
    results = self._canaries.take(results)
    self._results.add(results, log_failures=self.proposing and not self._stop_requested)
    self._waited = True
    self._processing_results = self._processing_results or not self.proposing

  def steer(self, request: SteeringRequest) -> None:
    """Receives a request, which is logged before it has an effect. Running trials go on."""
    self._requests.append(request)

  def stop(self, reason: str) -> None:
    """Ends the session: no trial begins any more. `reason` is a sentence, which is logged."""
    if not self._stop_reason:
      self._stop_reason, self._stop_requested = reason, True

  @property
  def stopping(self) -> bool:
    """Whether the session is to end."""
    return bool(self._stop_reason)

  def abort(self, reason: str) -> None:
    """Ends the session without further decisions, since a component or the machine failed."""
    self._stop_reason, self._aborted = reason, True

  def apply(self, record: Record) -> None:
    """Updates the state by the next logged event, of this process or an earlier one.

    Raises:
      LedgerError: In a replay, the strategy or acceptance rule decides differently than before.
      ComponentError: One of them raised.
    """
    event, history = record.event, self.history
    expected, self._expected = self._expected, None
    if expected is not None and type(event) is expected[0]:
      after = expected[1]
    else:
      after = self._replay_decision(record)
    history.apply(record)
    match event:
      case Proposed() | Declined():
        self.states = after
      case Edited(trial=trial):
        if self.tried is not None and not event.prefetched:
          self.tried.begin(trial)
      case Finished(trial=trial):
        self._submitted.discard(trial)
        self._barred.pop(trial, None)
        if self.tried is not None:
          self.tried.finish(trial)
      case Decided(trial=trial):
        told = tell(self.strategy, self.states.strategy, history.trials[trial])
        self.states = States(told, after)
      case Released(trial=trial):
        self.states = after
        if self.tried is not None:
          self.tried.begin(trial)
        if why := steering.why_barred(history, trial):
          self._barred[trial] = why
      case _:
        self._apply_other(record)

  def _apply_other(self, record: Record) -> None:
    history, event = self.history, record.event
    match event:
      case Planted() | CanaryJudged():
        self._canaries.apply(record, history, self.states.acceptance)
      case HandedOver():
        self.strategy, state = steering.taken_over(event, self.settings.objective, history.trials)
        self.states = States(state, self.states.acceptance)
      case Stopped():
        self._ended = True
      case Started() | Resumed():
        self._ended = False
        # An open proposal goes to its proposer first, which must not see later verdicts.
        self._processing_results = history.open_proposal is None

  def _replay_decision(self, record: Record) -> Any:
    """Repeats the decision that a replayed event records, and returns the state after it."""
    history, states = self.history, self.states
    match record.event:
      case Proposed(trial=trial, proposal=proposal) if trial != BASELINE:
        again, states = self._next_proposal()
        require_same(record, STRATEGY, proposal, again.proposal)
      case Declined(trial=trial) if trial != BASELINE:
        return states.declined()
      case Released(trial=trial, proposal=proposal) if proposal is not None:
        again, states = revised(self.strategy, states, history.proposals[trial])
        require_same(record, STRATEGY, proposal, again)
      case Decided(trial=trial, verdict=verdict):
        again, judged = self._judge(trial)
        # Reasons may be reworded between versions, so decisions are compared.
        require_same(record, RULE, verdict.decision, again.decision)
        return judged
    return states

  def _log(self, event: Event, after: Any = None) -> Log:
    """Returns the action that logs an event; `apply` then sets the state to `after`."""
    self._expected = (type(event), after)
    return Log(event)

  def next_action(self) -> Action:
    """Returns what the driver must do next.

    Raises:
      ComponentError: The strategy or the acceptance rule raised. The driver calls `abort`.
    """
    if self._ended:
      return End(self._stop_reason)
    if (event := self._results.seed_event(self.history.running)) is not None:
      return Log(event)
    if self._requests and not self._stop_reason:
      settings, request = self.settings, self._requests.popleft()
      return Log(reviewed(self.history, request, settings.program, settings.capabilities))
    if not self._aborted and (action := self._log_reply() or self._process_results()):
      return action
    if self._stop_reason:
      return self._end()
    action = self._submit() or self._test_canary() or self._begin_trial() or self._stop_if_over()
    return action or (_POLL if self._results.results and not self.proposing else _WAIT)

  # The end of a session.

  def _end(self) -> Action:
    """Logs remaining results, whose verdicts follow in the next session, and then the stop."""
    return self._log_result() or Log(Stopped(self._stop_reason))

  def _stop_if_over(self) -> Action | None:
    spent = steering.why_spent(self.history, self.settings)
    waiting = len(self.history.prepared) if spent else 0
    testing = self._canaries.occupies_slot(self.history) and not spent
    if not (self._underway - waiting or self.proposing or testing):
      self._stop_reason = why_over(self.history, self.settings)
    return self._end() if self._stop_reason else None

  # The beginning of a trial.

  @property
  def _underway(self) -> int:
    """Number of trials that have a program and no verdict."""
    return self.history.next_trial - len(self.history.trials)

  @property
  def _free(self) -> bool:
    """Whether a slot is free. A trial occupies its slot until it has a verdict."""
    return self._underway - len(self.history.prepared) < self._search_slots

  @property
  def _search_slots(self) -> int:
    """Number of slots without that of a canary."""
    return self.slots - self._canaries.occupies_slot(self.history)

  @property
  def _idle(self) -> bool:
    """Whether a slot trains nothing; its trial may have a result that is not logged yet."""
    delivered = {result.trial for result in self._results.results}
    return len({*self.history.running} - delivered) < self._search_slots

  def _test_canary(self) -> Action | None:
    """Trains the next trial of a canary, or plants the next one where a slot is free."""
    history, settings = self.history, self.settings
    if not steering.may_begin(history, settings):
      return None
    if history.canaries.active:
      request = self._canaries.next_request(history)
      return None if request is None else Submit(request)
    busy = self.proposing or history.open_proposal is not None or not self._free
    if busy or why_over(history, settings):
      return None
    planted = self._canaries.plant(history, self.states.acceptance, self.slots)
    return None if planted is None else Log(planted)

  def _begin_trial(self) -> Action | None:
    """Begins a prepared trial if a slot is free, or asks for another proposal."""
    prepared = self.history.prepared
    if not (self._search_slots > 0 and steering.may_begin(self.history, self.settings)):
      return None
    if self.proposing:
      return self._release(prepared[0]) if prepared and self._waited and self._idle else None
    if prepared and self._free:
      return self._release(prepared[0])
    if (due := steering.hand_over(self.history, self.settings)) is not None:
      return Log(due)
    if not self._may_ask():
      return None
    return self._ask() if self.history.open_proposal is None else self._propose()

  def _may_ask(self) -> bool:
    """Whether to ask for another proposal. After a declined one, wait for a result first."""
    history, settings, underway = self.history, self.settings, self._underway
    busy = underway >= self._search_slots + settings.prefetch
    if busy or (underway and history.declined_since_result):
      return False
    waits_for_baseline = history.next_trial > BASELINE not in history.trials
    if waits_for_baseline or why_over(history, settings):
      return False
    return not settings.requested_only or is_due(history, self.acceptance, self.states.acceptance)

  def _ask(self) -> Action:
    trial = self.history.next_trial
    if trial == BASELINE:
      seeds = tuple(range(self.acceptance.baseline_seeds))
      return self._log(Proposed(trial, Proposal(Operation.DRAFT, seeds=seeds)), self.states)
    return self._log(*self._next_proposal())

  def _next_proposal(self) -> tuple[Proposed, States]:
    history = self.history
    if (wanted := steering.next_wanted(history)) is not None:
      return wanted, dataclasses.replace(self.states, before_ask=None)
    rng = generator(self.settings.seed, history.turn)
    proposal, states = next_proposal(
      self.strategy, self.acceptance, self.states, rng, history.proposals
    )
    return Proposed(history.next_trial, proposal), states

  def _propose(self) -> Action:
    """Gets a program for the open proposal, from the proposer unless it needs none."""
    history, settings = self.history, self.settings
    assert history.open_proposal is not None
    proposal = history.open_proposal.proposal
    try:
      edit = edits.without_proposer(history, proposal, settings.program, settings.editable)
      if edit is not None:
        steering.require_unprotected(history, edit)
        return self._log(Edited(history.next_trial, edit, prefetched=not self._free))
      if settings.requested_only and not history.open_proposal.request:
        raise NothingToPropose('The search left this proposal, and now only requests are run.')
      context = proposal_context(
        history,
        proposal,
        settings,
        parents=edits.parents(history, proposal),
        undecided=undecided(
          self.acceptance, self.states.acceptance, history.trials, proposal.context
        ),
        trials=self._trials,
        memory=lambda: self._memory,
        tried=self.tried,
      )
    except ComponentError:
      raise
    except Exception as error:
      return self._declined(error)
    self.proposing, self._waited = True, False
    return Propose(
      proposal,
      context,
      rng=generator(settings.seed, history.open_turn),
      budget=settings.spec.budget.scaled(proposal.fidelity),
      prefetch=not self._free,
    )

  def _log_reply(self) -> Action | None:
    """Logs the outcome of the open proposal."""
    history, reply = self.history, self._reply
    self._reply = None
    if reply is None:
      return None
    assert history.open_proposal is not None
    if isinstance(reply, BaseException):
      return self._declined(reply)
    try:
      parent = edits.parents(history, history.open_proposal.proposal)[0]
      edits.require_editable(reply, parent, self.settings.editable)
      steering.require_unprotected(history, reply)
    except Exception as error:
      return self._declined(error)
    waits = not (self._free and steering.may_begin(history, self.settings))
    return self._log(Edited(history.next_trial, reply, prefetched=waits))

  def _declined(self, error: BaseException) -> Action:
    trial = self.history.next_trial
    event = Declined(trial, f'{type(error).__name__}: {error}', failed=True)
    if isinstance(error, NothingToPropose):
      event = Declined(trial, str(error))
    return self._log(event, self.states if trial == BASELINE else self.states.declined())

  def _release(self, trial: int) -> Action:
    """Begins a prepared trial, after the strategy had the chance to revise it."""
    proposal, edit = self.history.proposals[trial], self.history.edits[trial]
    if trial in self.history.steering.trials:
      return self._log(Released(trial), self.states)
    wanted, states = revised(self.strategy, self.states, proposal)
    if wanted != proposal:
      with ComponentCall(STRATEGY, self.strategy, 'when it revised a prepared trial'):
        rebased = edits.rebased(self.history, edit, proposal, wanted)
      if rebased is not None:
        return self._log(Released(trial, wanted, None if rebased == edit else rebased), states)
    return self._log(Released(trial), self.states)

  # Running trials and their results.

  def _submit(self) -> Action | None:
    """Submits a trial that has begun, possibly in an earlier process."""
    if len(self._submitted) == len((history := self.history).running):
      return None
    trial = next(trial for trial in history.running if trial not in self._submitted)
    self._submitted.add(trial)
    known = history.failures.get(trial)
    if self.tried is not None and trial in self.tried.duplicates:
      first, reason = self.tried.duplicates[trial]
      known = Result(trial, Status.DUPLICATE, reason, duplicate_of=first)
    if trial in self._barred:
      known = Result(trial, Status.CANCELLED, self._barred[trial])
    if known is not None:
      self._results.results.append(known)
      # An open proposal goes to its proposer first, as in `apply`.
      self._processing_results = self._processing_results or history.open_proposal is None
      return self.next_action()
    return Submit(trial_request(history, trial, self.settings))

  def _process_results(self) -> Action | None:
    """Logs and decides the delivered results, one after the other."""
    if (judged := self._canaries.judged(self.history, self._stop_requested)) is not None:
      return Log(judged)
    if not self._processing_results:
      return None
    if self.history.undecided:
      trial = self.history.undecided[0]
      verdict, judged = self._judge(trial)
      return self._log(Decided(trial, verdict), judged)
    action = self._log_result()
    self._processing_results = action is not None
    return action

  def _log_result(self) -> Action | None:
    running, constraints = self.history.running, self.settings.constraints
    event = self._results.finished_event(running, constraints, self._stop_requested)
    return None if event is None else Log(event)

  def _judge(self, trial: int) -> tuple[Verdict, Any]:
    history, state, objective = self.history, self.states.acceptance, self.settings.objective
    finished, others = history.finished(trial), history.under_test(except_for=trial)
    return judge(self.acceptance, state, finished, objective, history.incumbent, others)
