"""The tools that the MCP server offers for one run. Nothing in here knows the protocol.

A tool is a method of `RunTools`. Its arguments may be hostile, and are refused with a sentence.
Text that candidates have written is passed on as data.
"""

import dataclasses
import io
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.knowledge.report import KnowledgeReport
from autoresearch_jax.ledger import mailbox
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.ownership import WorkspaceError, require_usable
from autoresearch_jax.ledger.requests import SteeringError
from autoresearch_jax.ledger.results import row
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.messages import describe_os_error, one_line
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.page import RunProjection
from autoresearch_jax.report.page.diffs import program_diff
from autoresearch_jax.report.summary import summary
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.service import client
from autoresearch_jax.service.allowed_folder import AllowedFolder, Refusal, require_line
from autoresearch_jax.service.checker import CheckReport
from autoresearch_jax.service.tool_types import (
  MAX_WAITING,
  CheckArguments,
  DiffArguments,
  HistoryArguments,
  HistoryPage,
  HistoryRow,
  LearnedLessons,
  NoArguments,
  ProgramDiff,
  ReportArguments,
  RunReport,
  TrialArguments,
  TrialVerdict,
  VerdictArguments,
)
from autoresearch_jax.types import Program, Progress, Status, to_builtins

MAX_TEXT = 400  # characters of a description or a reason
MAX_DIFF = 200_000  # characters
MAX_DESCRIPTION = 500  # characters
WIDTH = 100  # columns of the lessons' text
EXPECTED = (
  ConfigError, LedgerError, WorkspaceError, SteeringError, SandboxError, client.ServiceError,
)  # fmt: skip


class RunTools:
  """The tools of one run. Its methods may be called by several threads.

  Args:
    directory: The run's folder.
    programs: The folder below which programs are read.
    config: The config of a run that has not begun; None for the run's own.
    config_arguments: The arguments that name it.
    allow_trials: Whether `trial` trains programs.
  """

  def __init__(
    self,
    directory: pathlib.Path,
    programs: AllowedFolder,
    *,
    config: Config | None = None,
    config_arguments: Sequence[str] = (),
    allow_trials: bool = False,
  ):
    self._directory, self._programs = directory, programs
    self._config, self._config_arguments = config, config_arguments
    self.allow_trials = allow_trials
    self._waiting = threading.BoundedSemaphore(MAX_WAITING)

  def call(self, name: str, arguments: Any, author: str, tell: Callable[[str], None]) -> object:
    """Carries out a call of a tool; returns its result.

    Args:
      name: The tool.
      arguments: Its arguments, of the struct that belongs to it.
      author: The client's name, for the log.
      tell: Receives what happens in a trial, a phrase at a time.

    Raises:
      Refusal: It is not carried out.
    """
    try:
      if name == 'trial':
        return self.trial(arguments, author, tell)
      return getattr(self, name)(arguments)
    except EXPECTED as error:
      raise Refusal(str(error)) from None
    except OSError as error:
      raise Refusal(describe_os_error(error, '')) from None

  def check(self, call: CheckArguments) -> CheckReport:
    """Traces a program without training it: is it valid, is it new, how large is it?"""
    history = self._history()
    config = self._config_of(history)
    report = client.checked(
      self._directory, self._programs.program(call.program, config), config, history
    )
    return dataclasses.replace(report, reason=_clean(report.reason))

  def trial(
    self,
    call: TrialArguments,
    author: str,
    tell: Callable[[str], None],
  ) -> TrialVerdict:
    """Trains a program as a trial of the run, until it is kept or discarded.

    Args:
      call: The tool's arguments.
      author: The client's name.
      tell: Receives what happens, a phrase at a time.
    """
    if not self.allow_trials:
      raise Refusal(
        'This server only reads: whoever started it can let it train programs by `autoresearch '
        'mcp WORKDIR --allow_trials`.'
      )
    require_line(call.description, 'description', MAX_DESCRIPTION)
    if not call.description.strip():
      raise Refusal('description is empty; say in one line what you changed, and why.')
    history = self._history()
    program = self._programs.program(call.program, self._config_of(history))
    require_usable(self._directory)
    if not self._waiting.acquire(blocking=False):
      raise Refusal(f'{MAX_WAITING} trials are waited for already; wait until one is done.')
    try:
      arguments = self._config_arguments if history is None else ()
      for happened in client.submit(
        self._directory, program, call.description, author=author, config=arguments,
        on_progress=lambda progress: tell(_described(progress)),
      ):  # fmt: skip
        tell(happened)
    finally:
      self._waiting.release()
    return self._verdict_of(read_history(self._directory), program)

  def verdict(self, call: VerdictArguments) -> TrialVerdict:
    """What the run has decided about a program or a trial, without waiting."""
    if (call.program is None) == (call.trial is None):
      raise Refusal('Name either a program or a trial.')
    waiting = mailbox.waiting(self._directory)  # first, as requests go from there to the ledger
    history = self._begun()
    if call.program is not None:
      program = self._programs.program(call.program, history.config)
      if history.trial_of(program) is None:
        return _requested(history, program, [request.program for _, request in waiting])
    else:
      program = history.edits[_known(history, call.trial)].program
    return self._verdict_of(history, program)

  def history(self, call: HistoryArguments) -> HistoryPage:
    """The decided trials of the run, as in results.tsv."""
    history = self._begun()
    trials = list(history.trials.values())
    if call.newest_first:
      trials.reverse()
    rows = []
    for trial in trials[call.offset : call.offset + call.limit]:
      found = row(history, trial)
      scored = found.status != 'crash'
      rows.append(
        HistoryRow(
          trial.id, found.value if scored else None, found.memory_gb, found.status.value,
          _clean(found.description), history.parent(trial.id),
        )
      )  # fmt: skip
    objective = history.objective
    return HistoryPage(
      objective.metric, objective.direction, history.best, len(trials), call.offset, tuple(rows)
    )

  def lessons(self, _: NoArguments) -> LearnedLessons:
    """What the trials have taught so far, with its uncertainty."""
    history = self._begun()
    memory = Memory(history.trials, history.objective, history.kept_programs, history.lessons)
    report = KnowledgeReport.of(memory, history.config.name)
    output = io.StringIO()
    report.print(Console(file=output, width=WIDTH, highlight=False))
    return LearnedLessons(output.getvalue(), report.lessons, report.noise)

  def diff(self, call: DiffArguments) -> ProgramDiff:
    """How a program differs from its parent or the baseline."""
    history = self._begun()
    if call.trial is not None:
      after = _known(history, call.trial)
    elif history.best is not None:
      after = history.best
    else:
      raise Refusal('The run has no program with a score yet; name a trial.')
    against = call.against or ('baseline' if call.trial is None else 'parent')
    before = BASELINE if against == 'baseline' else history.parent(after)
    if before is None:
      before = BASELINE
    text = program_diff(history.edits[before].program, history.edits[after].program)
    return ProgramDiff(before, after, text[:MAX_DIFF], len(text) > MAX_DIFF)

  def report(self, call: ReportArguments) -> RunReport:
    """What was tried, what worked, how sure that is, and what to try next."""
    self._begun()
    projection = RunProjection.of(read_records(self._directory))
    told = projection.story()
    parts = [f'{paragraph.heading}\n{paragraph.text}' for paragraph in told]
    parts += [summary(projection.history), conclusion(projection.history)]
    run = None
    if call.complete:
      run = to_builtins(dataclasses.replace(projection.view(), story=told))
    return RunReport('\n\n'.join(filter(None, parts)), run)

  def _history(self) -> History | None:
    """Returns the run so far; None if it has not begun."""
    if not (self._directory / 'ledger.db').exists():
      return None
    return read_history(self._directory)

  def _begun(self) -> History:
    history = self._history()
    if history is None:
      raise Refusal('The run has not begun; its first trial begins it.')
    return history

  def _config_of(self, history: History | None) -> Config:
    if history is not None:
      return history.config
    if self._config is None:
      raise Refusal(f'There is no run in {self._directory} any more; start this server again.')
    return self._config

  def _verdict_of(self, history: History, program: Program) -> TrialVerdict:
    """Returns what a run has found out about a program that is one of its trials."""
    metric, best = history.objective.metric, history.best
    found = client.verdict(history, program)
    if found is None:
      number = history.trial_of(program)
      assert number is not None
      doing = 'is in progress' if number in history.running else 'waits for its turn'
      description = _clean(history.edits[number].description)
      return _pending(history, number, f'Trial {number} {doing}; ask again.', description)
    result = found.trial.result
    cost = result.measurements[0].cost if result.measurements else None
    return TrialVerdict(
      decision=found.decision.value,
      reason=_clean(found.reason),
      trial=found.trial.id,
      status=result.status.value,
      status_reason='' if result.status is Status.OK else _clean(result.reason),
      undecided=found.undecided,
      metric=metric,
      values=found.values,
      best_trial=best,
      description=_clean(found.trial.edit.description),
      peak_memory_gb=cost.peak_bytes / 2**30 if cost else 0.0,
      steps=cost.steps if cost else 0,
      parameters=cost.parameters if cost else 0,
    )


def _requested(
  history: History, program: Program, waiting: Sequence[Program | None]
) -> TrialVerdict:
  """Returns the state of a program without a trial. Raises Refusal if nobody requested it."""
  for taken in reversed(history.steering.taken.values()):
    if taken.event.edit is not None and taken.event.edit.program == program:
      if why := taken.event.refused or taken.outcome:
        raise Refusal(f'The run did not train this program: {_clean(why)}')
      waiting = [program]
  if program not in waiting:
    raise Refusal('This program is not a trial of the run; use `trial` to train it.')
  paused = history.steering.paused
  reason = f'The run is paused by {paused.request.author}.' if paused else 'It waits for its turn.'
  return _pending(history, None, _clean(reason), '')


def _pending(history: History, trial: int | None, reason: str, description: str) -> TrialVerdict:
  return TrialVerdict(
    'pending', reason, trial, '', '', True, history.objective.metric, (), history.best,
    description, 0.0, 0, 0,
  )  # fmt: skip


def _known(history: History, trial: int | None) -> int:
  if trial is None or trial not in history.edits:
    last = max(history.edits, default=0)
    raise Refusal(f'The run has no trial {trial}; give one from 0 to {last}.')
  return trial


def _described(progress: Progress) -> str:
  text = f'trial {progress.trial}, seed {progress.seed}: {progress.phase}'
  if progress.phase == 'train':
    text += f' {progress.fraction:.0%}, step {progress.step}'
    if progress.loss is not None:
      text += f', loss {progress.loss:.4f}'
  return text


def _clean(text: str) -> str:
  return one_line(text, MAX_TEXT)
