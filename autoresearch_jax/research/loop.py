"""The research loop of a real run, which carries out the controller's decisions.

It owns ledger, workspace, proposer thread, executor and view, and decides nothing (see
`controller.py`). Write-ahead: each step is logged before it takes effect, so a killed run resumes
from the ledger. Proposals without a program are sent to the proposer again, and trials without a
result run again under the same id, except for the seeds that are on record.

While trials run, the next one is proposed and traced in a background thread (`proposer_thread.py`).
Results that arrive meanwhile wait until the proposer has answered. So the proposer sees a fixed
state of the run, and the order of events does not depend on its speed. The exception is a higher
`prefetch`: prepared trials take free slots while another one is written.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

from autoresearch_jax.executors import Executor, Unavailable
from autoresearch_jax.ledger.canaries import FIRST_TRIAL
from autoresearch_jax.ledger.events import (
  Consulted,
  Decided,
  Edited,
  Event,
  Finished,
  Learned,
  Record,
  Released,
  SeedFailed,
  SeedFinished,
  Steered,
)
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.ledger.mailbox import Mailbox
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import RESUME_ADVICE, ComponentError
from autoresearch_jax.models import states
from autoresearch_jax.proposers import Proposer
from autoresearch_jax.report import View
from autoresearch_jax.research.actions import End, Log, Propose, Submit, Wait
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.research.decisions import baseline_failed
from autoresearch_jax.research.proposer_thread import ProposerThread
from autoresearch_jax.types import (
  Edit,
  Program,
  Progress,
  Result,
  SeedResult,
  Status,
  from_json,
  to_json,
)

WAIT_SECONDS = 0.5  # longest sleep between checks of the clock, of requests and of the stop request
PROMPT_SECONDS = 0.05  # the same where somebody waits for the trials of requests
POLL_SECONDS = 0.1  # the same while the proposer works


@dataclasses.dataclass(kw_only=True)
class ResearchLoop:
  """Runs one session of a run.

  Attributes:
    controller: Decides; its state is that of the ledger's last event.
    ledger: Records every event.
    workspace: The run's folder.
    proposer: Writes the edits.
    executor: Runs the trials.
    view: Shows the run live.
    stop: Returns why the session should stop, a sentence; '' to continue.
    hidden: Files and folders that proposers must not read.
    wait_seconds: Longest sleep between checks of the clock, of requests and of the stop request.
    on_baseline: Called once the baseline has its verdict.
    unavailable: Whether the machine failed.
    broken: Whether the strategy or the acceptance rule raised.
  """

  controller: Controller
  ledger: Ledger
  workspace: Workspace
  proposer: Proposer
  executor: Executor
  view: View
  stop: Callable[[], str]
  hidden: tuple[pathlib.Path, ...] = ()
  wait_seconds: float = WAIT_SECONDS
  on_baseline: Callable[[], None] = lambda: None
  unavailable: bool = dataclasses.field(default=False, init=False)
  broken: bool = dataclasses.field(default=False, init=False)

  def __post_init__(self) -> None:
    self._thread: ProposerThread | None = None
    self._mailbox = Mailbox(self.workspace.directory)

  def run(self) -> str:
    """Runs trials until there is a reason to stop, and returns that reason, a sentence."""
    try:
      self.workspace.reconcile(self.controller.history)
      return self._drive()
    except Unavailable as error:  # running trials have no result, so the next session reruns them
      self.unavailable = True
      return self._abort(str(error))
    except ComponentError as error:  # the next session recomputes the component's state
      self.broken = True
      return self._abort(f'{error} {RESUME_ADVICE}')
    finally:
      self._stop_proposer()

  @property
  def failed(self) -> bool:
    """Whether the baseline got no score."""
    return baseline_failed(self.controller.history)

  def _abort(self, reason: str) -> str:
    self._stop_proposer()
    self.controller.abort(reason)
    return self._drive()

  def _drive(self) -> str:
    controller = self.controller
    while True:
      controller.slots = self.executor.slots  # fewer once one was retired
      if not controller.stopping and (reason := self.stop()):
        self._receive(0.0)  # what is finished by now goes on record
        controller.stop(reason)
      self._collect_requests()
      match controller.next_action():
        case Log(event=event):
          self._log(event)
        case Propose() as action:
          self._propose(action)
        case Submit(request=request):  # copied, since `known` is a live view
          self.executor.submit(dataclasses.replace(request, known=dict(request.known)))
        case Wait(block=block):
          self._wait(block)
        case End(reason=reason):
          return reason
      self.view.tick()

  def _collect_requests(self) -> None:
    """Passes on what was posted; what a killed process had logged is only removed."""
    for request in self._mailbox.collect():
      if request.id in self.controller.history.steering.taken:
        self._mailbox.remove(request.id)
      else:
        self.controller.steer(request)

  def _log(self, event: Event) -> None:
    try:
      record = self.ledger.append(event)
    except (TypeError, ValueError) as error:  # msgspec's errors are subclasses
      if isinstance(event, SeedFinished | SeedFailed):  # the trial's result will be a crash
        return
      if not isinstance(event, Finished):
        raise
      reason = f'The executor returned a result that cannot be recorded: {error!r:.300}'
      crash = Result(event.trial, Status.CRASH, reason)
      record = self.ledger.append(Finished(event.trial, crash))
    self._apply(record)

  def _apply(self, record: Record) -> None:
    """Updates controller, view and git repository after an event was logged."""
    history = self.controller.history
    try:
      self.controller.apply(record)
    finally:
      self.view.record(record, history)
    match record.event:
      case Edited(trial=trial):
        self.workspace.record_trial(history, trial)
      case Released(trial=trial, proposal=proposal) if proposal is not None:
        self.workspace.record_trial(history, trial)
      case Steered(request=request):
        self._mailbox.remove(request.id)
      case Decided(trial=trial):
        self.workspace.record_verdict(history, trial)
        states.prune(self.workspace.scratch, history)
        if trial == BASELINE:
          self.on_baseline()

  def _propose(self, action: Propose) -> None:
    context = action.context

    def check(program: Program) -> str:
      return context.check_duplicate(program) or self.executor.check(program, action.budget)

    def write(thread: ProposerThread) -> Edit:
      edit = self.proposer.propose(
        action.proposal,
        dataclasses.replace(
          context,
          scratch=self.workspace.scratch / 'proposer',
          hidden=(*self.hidden, self.workspace.directory.resolve()),
          check=check,
          record=lambda exchange: thread.log(Consulted(context.trial_id, exchange)),
          record_lessons=lambda lessons: thread.log(Learned(tuple(lessons))),
          record_import=thread.log,
        ),
        action.rng,
      )
      if action.prefetch:
        with contextlib.suppress(Exception):  # the trial's own trace will report it
          self.executor.check(edit.program, action.budget)
      return edit

    self._thread = ProposerThread(write)

  def _wait(self, block: bool) -> None:
    """Waits for the proposer, if it is working, and for results; at most briefly if not `block`."""
    if self._thread is not None:
      reply = self._thread.poll(POLL_SECONDS, lambda event: self._apply(self.ledger.append(event)))
      if reply is not None:
        self._thread = None
        self.controller.answer(_recordable(reply))
        return
    self._receive(self.wait_seconds if block and self._thread is None else 0.0)

  def _receive(self, timeout: float) -> None:
    """Passes on what the executor reports, waiting so many seconds for the first report."""
    results: list[Result | SeedResult] = []
    for news in self.executor.wait(timeout):
      if isinstance(news, Progress):
        if news.trial < FIRST_TRIAL:  # others are of canaries
          self.view.progress(news)
      else:
        results.append(news)
    self.controller.deliver(results)

  def _stop_proposer(self) -> None:
    if self._thread is not None:
      self._thread.abandon()
      self._thread = None
      self.proposer.close()


def _recordable(reply: Edit | BaseException) -> Edit | BaseException:
  """Returns the reply, or the error that the ledger would raise for it."""
  if isinstance(reply, BaseException):
    return reply
  try:
    from_json(to_json(reply), Edit)
  except Exception as error:
    return error
  return reply
