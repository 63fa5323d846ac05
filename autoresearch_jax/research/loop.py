"""The research loop of a real run: it carries out what the controller decides.

Ledger, workspace, proposer thread, executor and view are here; decisions are not (see
`controller.py`). Write-ahead: each step is logged before it takes effect, so a process killed at
any line leaves a ledger from which the next one resumes. Proposals without a program get one, and
trials without a result run again under the same id.

While trials run, the next one is proposed and traced in a background thread (`proposer_thread.py`).
Results that come in meanwhile wait until the proposer has answered. So what it sees of the run
stands still, and the order of events does not depend on how fast it is; unless several trials are
prefetched, which take the free slots while another one is written.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

from autoresearch_jax.executors import Executor, Unavailable
from autoresearch_jax.ledger.events import (
  Consulted,
  Decided,
  Edited,
  Event,
  Finished,
  Learned,
  Record,
  Released,
)
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import RESUME_ADVICE, ComponentError
from autoresearch_jax.proposers import Proposer
from autoresearch_jax.report import View
from autoresearch_jax.research.actions import End, Log, Propose, Submit, Wait
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.research.decisions import baseline_failed
from autoresearch_jax.research.proposer_thread import ProposerThread
from autoresearch_jax.types import Edit, Program, Progress, Result, Status, from_json, to_json

WAIT_SECONDS = 0.5  # longest sleep between looks at the clock and at the stop signal
POLL_SECONDS = 0.1  # the same, while the proposer is at work


@dataclasses.dataclass(kw_only=True)
class ResearchLoop:
  """Runs one session of a run.

  Attributes:
    controller: Decides; it stands where the ledger ends.
    ledger: Records every event.
    workspace: The run's folder.
    proposer: Writes the edits.
    executor: Runs the trials.
    view: Shows what happens.
    stop: Returns why the session should stop, a sentence; '' to go on.
    hidden: Files and folders that proposers must not read.
    unavailable: Whether the machine failed.
    broken: Whether strategy or acceptance rule raised.
  """

  controller: Controller
  ledger: Ledger
  workspace: Workspace
  proposer: Proposer
  executor: Executor
  view: View
  stop: Callable[[], str]
  hidden: tuple[pathlib.Path, ...] = ()
  unavailable: bool = dataclasses.field(default=False, init=False)
  broken: bool = dataclasses.field(default=False, init=False)

  def __post_init__(self) -> None:
    self._thread: ProposerThread | None = None

  def run(self) -> str:
    """Researches until there is a reason to stop, and returns it, a sentence."""
    try:
      self.workspace.reconcile(self.controller.history)
      return self._drive()
    except Unavailable as error:  # trials under way have no result, so they run again
      self.unavailable = True
      return self._abort(str(error))
    except ComponentError as error:  # its state is computed again by the next session
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
      controller.slots = self.executor.slots  # fewer once one is given up
      if reason := self.stop():
        controller.stop(reason)
      match controller.next_action():
        case Log(event=event):
          self._log(event)
        case Propose() as action:
          self._propose(action)
        case Submit(request=request):  # in other threads, which must not see what comes later
          self.executor.submit(dataclasses.replace(request, known=dict(request.known)))
        case Wait(block=block):
          self._wait(block)
        case End(reason=reason):
          return reason
      self.view.tick()

  def _log(self, event: Event) -> None:
    try:
      record = self.ledger.append(event)
    except (TypeError, ValueError) as error:  # msgspec's are among them
      if not isinstance(event, Finished):
        raise
      reason = f'The executor returned a result that cannot be recorded: {error!r:.300}'
      crash = Result(event.trial, Status.CRASH, reason)
      record = self.ledger.append(Finished(event.trial, crash))
    self._apply(record)

  def _apply(self, record: Record) -> None:
    """What a logged event leads to: in the controller, on the screen and in git."""
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
      case Decided(trial=trial):
        self.workspace.record_verdict(history, trial)

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
        ),
        action.rng,
      )
      if action.prefetch:
        with contextlib.suppress(Exception):  # the trial's own trace will meet it again
          self.executor.check(edit.program, action.budget)
      return edit

    self._thread = ProposerThread(write)

  def _wait(self, block: bool) -> None:
    """Waits for the proposer if one is at work, and for news of trials. block: for a while."""
    if self._thread is not None:
      reply = self._thread.poll(POLL_SECONDS, lambda event: self._apply(self.ledger.append(event)))
      if reply is not None:
        self._thread = None
        self.controller.answer(_recordable(reply))
        return
    results: list[Result] = []
    for news in self.executor.wait(WAIT_SECONDS if block and self._thread is None else 0.0):
      if isinstance(news, Progress):
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
  """The reply, or the error in its place that the ledger would raise for it."""
  if isinstance(reply, BaseException):
    return reply
  try:
    from_json(to_json(reply), Edit)
  except Exception as error:
    return error
  return reply
