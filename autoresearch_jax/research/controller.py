"""The controller: everything that the research loop decides, and nothing else.

It is a pure state machine without threads, processes, files, SQLite, git or a clock. A driver asks
it for the next action, carries it out, and reports what happened:

    while not isinstance(action := controller.next_action(), End):
      match action:
        case Log():      # append action.event to the ledger, then
          controller.apply(record)
        case Propose():  # have the proposer write an edit, then
          controller.answer(edit)
        case Submit():   # start action.request
          executor.submit(action.request)
        case Wait():     # until something happens, then
          controller.deliver(results)

Two drivers share it. `research/loop.py` runs real trials: it has a ledger, a proposer in a thread
and an executor. `benchmark/runners/simulate.py` has a heap of simulated results.

The state that matters changes in `apply` alone, by an event that is already logged. So folding a
ledger's records through `apply` gives the state of the process that wrote them, and a killed run
resumes from there. What was not logged yet is lost, and done again.
"""

import collections
import functools
import types
from collections.abc import Iterable
from typing import Any

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.knowledge import Memory
from autoresearch_jax.ledger.events import (
  Decided,
  Declined,
  Edited,
  Event,
  Finished,
  LedgerError,
  Proposed,
  Record,
  Released,
  Resumed,
  Started,
  Stopped,
)
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import RESUME_ADVICE, RULE, STRATEGY, ComponentCall, ComponentError
from autoresearch_jax.proposers import NothingToPropose
from autoresearch_jax.research import edits, pruning
from autoresearch_jax.research.actions import Action, End, Log, Propose, Settings, Submit, Wait
from autoresearch_jax.research.context import proposal_context
from autoresearch_jax.research.decisions import (
  States,
  generator,
  judge,
  next_proposal,
  revised,
  tell,
  undecided,
  why_over,
)
from autoresearch_jax.research.tried import TriedPrograms
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  RERUNS,
  Edit,
  Operation,
  Proposal,
  Result,
  Status,
  TrialRequest,
  Verdict,
)

_WAIT, _LOOK = Wait(), Wait(block=False)


class Controller:
  """Decides what happens next in a run. See the module's docstring.

  Attributes:
    strategy: Decides what to try.
    acceptance: Decides what to keep.
    settings: What else it knows about the run.
    history: The run so far.
    states: The states of strategy and acceptance rule.
    tried: The programs that were tried; None where programs are not compared.
    slots: Trials that run at the same time; the driver may change it.
    proposing: Whether a `Propose` action has not been answered yet.
  """

  def __init__(
    self, strategy: Strategy, acceptance: AcceptanceRule, settings: Settings, slots: int = 1
  ):
    """Starts before the first event. Raises ComponentError."""
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
    # What holds in this process alone.
    self._foreseen: tuple[type, Any] | None = None  # what the event that is being logged leads to
    self._reply: Edit | BaseException | None = None  # not logged yet
    self._results: collections.deque[Result] = collections.deque()  # not logged yet
    self._settling = False  # results are being logged and decided
    self._waited = False  # since the last Propose
    self._submitted: set[int] = set()  # running trials
    self._stop_reason = ''
    self._stop_requested = False
    self._aborted = False
    self._ended = False

  @functools.cached_property
  def _memory(self) -> Memory:
    history = self.history
    return Memory(self._trials, self.settings.objective, history.kept_programs, history.lessons)

  def answer(self, reply: Edit | BaseException) -> None:
    """Takes the proposer's edit, or what it raised instead."""
    self.proposing, self._reply = False, reply

  def deliver(self, results: Iterable[Result]) -> None:
    """Takes the results that came in while the driver waited, in that order; none is fine.

    While a proposer is at work they are kept back, so that what it sees of the run stands still.
    """
    self._results.extend(results)
    self._waited = True
    self._settling = self._settling or not self.proposing

  def stop(self, reason: str) -> None:
    """Has the session end: nothing new begins. reason: a sentence, which is logged."""
    if not self._stop_reason:
      self._stop_reason, self._stop_requested = reason, True

  def abort(self, reason: str) -> None:
    """Has the session end without a further decision, since a part or the machine failed."""
    self._stop_reason, self._aborted = reason, True

  def apply(self, record: Record) -> None:
    """Takes in the event that was logged next, by this process or by an earlier one.

    Raises:
      LedgerError: In a replay, strategy or acceptance rule decide otherwise than they did.
      ComponentError: One of them raised.
    """
    event, history = record.event, self.history
    foreseen, self._foreseen = self._foreseen, None
    if foreseen is not None and type(event) is foreseen[0]:
      after = foreseen[1]
    else:
      after = self._decided_again(record)
    history.apply(record)
    match event:
      case Proposed() | Declined():
        self.states = after
      case Edited(trial=trial):
        if self.tried is not None and not event.prefetched:
          self.tried.begin(trial)
      case Finished(trial=trial):
        self._submitted.discard(trial)
        if self.tried is not None:
          self.tried.finish(trial)
      case Decided(trial=trial):
        told = tell(self.strategy, self.states.strategy, history.trials[trial])
        self.states = States(told, after)
      case Released(trial=trial):
        self.states = after
        if self.tried is not None:
          self.tried.begin(trial)
      case Started() | Resumed():
        self._ended = False
        self._settling = history.open_proposal is None  # else its proposer must not see verdicts
      case Stopped():
        self._ended = True

  def _decided_again(self, record: Record) -> Any:
    """Repeats the decision that a replayed event records, and returns what it leads to."""
    history, states = self.history, self.states
    match record.event:
      case Proposed(trial=trial, proposal=proposal) if trial != BASELINE:
        again, states = self._next_proposal()
        _require_same(record, STRATEGY, proposal, again)
      case Declined(trial=trial) if trial != BASELINE:
        return states.declined()
      case Released(trial=trial, proposal=proposal) if proposal is not None:
        again, states = revised(self.strategy, states, history.proposals[trial])
        _require_same(record, STRATEGY, proposal, again)
      case Decided(trial=trial, verdict=verdict):
        again, judged = self._judge(trial)
        # Reasons may be reworded between versions, so decisions are compared.
        _require_same(record, RULE, verdict.decision, again.decision)
        return judged
    return states

  def _log(self, event: Event, after: Any = None) -> Log:
    """Has an event logged. after: what it leads to, so that `apply` need not decide again."""
    self._foreseen = (type(event), after)
    return Log(event)

  def next_action(self) -> Action:
    """Returns what the driver does next.

    Raises:
      ComponentError: The strategy or the acceptance rule raised. The driver calls `abort`.
    """
    if self._ended:
      return End(self._stop_reason)
    if not self._aborted and (action := self._log_reply() or self._settle()):
      return action
    if self._stop_reason:
      return self._end()
    action = self._submit() or self._begin_trial() or self._stop_if_over()
    return action or (_LOOK if self._results and not self.proposing else _WAIT)

  # How a session ends.

  def _end(self) -> Action:
    """Logs what is at hand; verdicts on it come in the next session."""
    return self._log_result() or Log(Stopped(self._stop_reason))

  def _stop_if_over(self) -> Action | None:
    if not (self._underway or self.proposing):
      self._stop_reason = why_over(self.history, self.settings)
    return self._end() if self._stop_reason else None

  # How trials begin.

  @property
  def _underway(self) -> int:
    """How many trials have a program and no verdict."""
    return self.history.next_trial - len(self.history.trials)

  @property
  def _free(self) -> bool:
    """Whether a slot has no trial. A trial keeps its slot until it has a verdict."""
    return self._underway - len(self.history.prepared) < self.slots

  @property
  def _idle(self) -> bool:
    """Whether a slot trains nothing, be it that its trial has a result that is not logged yet."""
    delivered = {result.trial for result in self._results}
    return len({*self.history.running} - delivered) < self.slots

  def _begin_trial(self) -> Action | None:
    """Begins a prepared trial if there is a slot for it, or asks for another one."""
    prepared = self.history.prepared
    if self.proposing:
      return self._release(prepared[0]) if prepared and self._waited and self._idle else None
    if prepared and self._free:
      return self._release(prepared[0])
    if not self._may_ask():
      return None
    return self._ask() if self.history.open_proposal is None else self._propose()

  def _may_ask(self) -> bool:
    """Whether another trial is wanted. After a proposal was declined, a result comes first."""
    history, settings, underway = self.history, self.settings, self._underway
    busy = underway >= self.slots + settings.prefetch
    if busy or (underway and history.declined_since_result):
      return False
    waits_for_baseline = history.next_trial > BASELINE not in history.trials
    return not (waits_for_baseline or why_over(history, settings))

  def _ask(self) -> Action:
    trial = self.history.next_trial
    if trial == BASELINE:
      seeds = tuple(range(self.acceptance.baseline_seeds))
      return self._log(Proposed(trial, Proposal(Operation.DRAFT, seeds=seeds)), self.states)
    proposal, states = self._next_proposal()
    return self._log(Proposed(trial, proposal), states)

  def _next_proposal(self) -> tuple[Proposal, States]:
    rng = generator(self.settings.seed, self.history.turn)
    return next_proposal(self.strategy, self.acceptance, self.states, rng, self.history.proposals)

  def _propose(self) -> Action:
    """Gets the open proposal its program: at once where it needs no proposer."""
    history, settings = self.history, self.settings
    assert history.open_proposal is not None
    proposal = history.open_proposal.proposal
    try:
      edit = edits.without_proposer(history, proposal, settings.program, settings.editable)
      if edit is not None:
        return self._edited(edit)
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
    """Logs what came of the open proposal."""
    reply, self._reply = self._reply, None
    if reply is None:
      return None
    assert self.history.open_proposal is not None
    if isinstance(reply, BaseException):
      return self._declined(reply)
    try:
      parent = edits.parents(self.history, self.history.open_proposal.proposal)[0]
      edits.require_editable(reply, parent, self.settings.editable)
    except Exception as error:
      return self._declined(error)
    return self._edited(reply)

  def _edited(self, edit: Edit) -> Action:
    return self._log(Edited(self.history.next_trial, edit, prefetched=not self._free))

  def _declined(self, error: BaseException) -> Action:
    trial = self.history.next_trial
    event = Declined(trial, f'{type(error).__name__}: {error}', failed=True)
    if isinstance(error, NothingToPropose):
      event = Declined(trial, str(error))
    return self._log(event, self.states if trial == BASELINE else self.states.declined())

  def _release(self, trial: int) -> Action:
    """Begins a prepared trial, as the strategy wants it now that it knows more."""
    proposal, edit = self.history.proposals[trial], self.history.edits[trial]
    wanted, states = revised(self.strategy, self.states, proposal)
    if wanted != proposal:
      with ComponentCall(STRATEGY, self.strategy, 'when it revised a prepared trial'):
        moved = edits.moved(self.history, edit, proposal, wanted)
      if moved is not None:
        return self._log(Released(trial, wanted, None if moved == edit else moved), states)
    return self._log(Released(trial), self.states)

  # How trials run and end.

  def _submit(self) -> Action | None:
    """Submits a trial that has begun, also one that an earlier process began."""
    history, settings = self.history, self.settings
    if len(self._submitted) == len(history.running):
      return None
    trial = next(trial for trial in history.running if trial not in self._submitted)
    self._submitted.add(trial)
    if self.tried is not None and trial in self.tried.duplicates:
      first, reason = self.tried.duplicates[trial]
      self._results.append(Result(trial, Status.DUPLICATE, reason, duplicate_of=first))
      self._settling = self._settling or not self.proposing
      return self.next_action()
    proposal = history.proposals[trial]
    again = trial == BASELINE or proposal.operation in RERUNS or settings.allow_duplicates
    return Submit(
      TrialRequest(
        trial=trial,
        program=history.edits[trial].program,
        seeds=proposal.seeds,
        budget=settings.spec.budget.scaled(proposal.fidelity),
        known={} if again else history.fingerprints(proposal.fidelity),
        parents=proposal.parents,
        rungs=pruning.rungs(history, trial, settings),
      )
    )

  def _settle(self) -> Action | None:
    """Logs and decides the results that are here, one after the other."""
    if not self._settling:
      return None
    if self.history.undecided:
      trial = self.history.undecided[0]
      verdict, judged = self._judge(trial)
      return self._log(Decided(trial, verdict), judged)
    action = self._log_result()
    self._settling = action is not None
    return action

  def _log_result(self) -> Action | None:
    """Logs the next result that is about a running trial.

    After a request to stop, failures are left out: Ctrl-C reaches every process of the terminal, so
    they may come from it. Their trials run again in the next session.
    """
    while self._results:
      result = self._results.popleft()
      doubtful = self._stop_requested and result.status is not Status.OK
      if result.trial in self.history.running and not doubtful:
        return self._log(Finished(result.trial, result))
    return None

  def _judge(self, trial: int) -> tuple[Verdict, Any]:
    history = self.history
    return judge(
      self.acceptance,
      self.states.acceptance,
      history.finished(trial),
      self.settings.objective,
      history.incumbent,
    )


def replay(
  records: Iterable[Record], strategy: Strategy, acceptance: AcceptanceRule, settings: Settings
) -> Controller:
  """Returns the controller of the process that wrote the records, as it was after the last one.

  Raises:
    LedgerError: Strategy or acceptance rule decide otherwise than they did then: their code or
      options are not the ones that wrote the ledger.
    ComponentError: One of them raised.
  """
  controller = Controller(strategy, acceptance, settings)
  for record in records:
    try:
      controller.apply(record)
    except ComponentError as error:
      raise ComponentError(
        f'Event {record.index} cannot be replayed. {error} {RESUME_ADVICE}'
      ) from error
  return controller


def _require_same(record: Record, part: str, recorded: Any, again: Any) -> None:
  if recorded != again:
    raise LedgerError(
      f'Event {record.index} cannot be replayed: the {part} now answers {again!r:.200} where it '
      f'answered {recorded!r:.200}. Use the version of autoresearch_jax that wrote this ledger, '
      f'or start again with a new --workdir.'
    )
