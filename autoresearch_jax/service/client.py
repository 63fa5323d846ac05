"""What commands ask of a run in a folder: to check a program, or to train it and decide.

The run may be carried out by a search or by a service. Where no process works in the folder, a
service is started.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from autoresearch_jax.config import Config
from autoresearch_jax.ledger import ends, mailbox
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.follower import LedgerFollower
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.programs.check_task import CheckTask
from autoresearch_jax.report.shared_progress import announce_viewer, read_progress
from autoresearch_jax.service.checker import CheckReport, in_run, traced
from autoresearch_jax.service.sockets import ask
from autoresearch_jax.types import Decision, Program, Progress, Trial, Verb

POLL_SECONDS = 0.05
PROGRESS_SECONDS = 1.0  # between two looks at the progress of the running trial
CHECK_SECONDS = 120.0  # for the answer to a check
STOP_SECONDS = 10.0  # for the answer to a request to end
START_SECONDS = 60.0  # in which a service takes the folder's lock
RELEASE_SECONDS = 60.0  # in which a service ends when it is asked to
MAX_STARTS = 3  # of services, for one trial
LOG = 'service.log'


class ServiceError(RuntimeError):
  """The run does not carry out what was asked; the message is a sentence."""


@dataclasses.dataclass(frozen=True)
class ProgramVerdict:
  """What a run has found out about a program.

  Attributes:
    trial: Its first trial.
    decision: The last word so far: keep, discard or crash.
    reason: Why, a sentence.
    undecided: Whether runs that are still due may change the decision.
    values: The metric in its runs, in the order of their trials.
    incumbent: First trial of the best program.
  """

  trial: Trial
  decision: Decision
  reason: str
  undecided: bool
  values: tuple[float, ...]
  incumbent: int | None


def check(directory: pathlib.Path, program: Program) -> CheckReport | None:
  """Checks a program by the service of a run; None if there is none.

  Raises:
    ServiceError: The service does not answer.
  """
  try:
    line = ask(directory, {'check': program}, CHECK_SECONDS)
  except OSError as error:
    raise ServiceError(
      f'The service of {directory} does not answer ({error}). End it with `autoresearch serve '
      f'{directory} --stop`, and try again.'
    ) from None
  if line is None:
    return None
  try:
    return msgspec.json.decode(line, type=CheckReport)
  except msgspec.MsgspecError:
    raise ServiceError(
      f'The service of {directory} answers {line[:200].decode(errors="replace")!r}, which is of '
      f'another version. End it with `autoresearch serve {directory} --stop`, and try again.'
    ) from None


def check_task(config: Config) -> CheckTask:
  """Returns the problem that programs of a run are checked for."""
  # Imports every part of a run, which takes a second; a check by a service needs none of them.
  from autoresearch_jax.research.build import build_task  # noqa: PLC0415

  return CheckTask(build_task(config).spec, config.entry, config.program_files)


def checked(
  directory: pathlib.Path, program: Program, config: Config, history: History | None
) -> CheckReport:
  """Checks a program for a run: by its service if there is one, otherwise here.

  Args:
    directory: The run's folder.
    program: The program.
    config: The run's config.
    history: The run so far; None if it has not begun.

  Raises:
    ServiceError: The service does not answer.
    SandboxError: This machine offers too little isolation.
  """
  report = check(directory, program)
  if report is not None:
    return report
  task = check_task(config)
  if history is None:
    return traced(task, config.limits, program)
  batches = [r.facts['evaluation_batch'] for r in history.results.values()
             if 'evaluation_batch' in r.facts]  # fmt: skip
  if batches:
    task = dataclasses.replace(task, evaluation_batch=batches[0])
  return in_run(traced(task, config.limits, program), history)


def release(directory: pathlib.Path) -> None:
  """Asks the service of a run, if there is one, to end, and waits until it has.

  Raises:
    ServiceError: It does not end.
  """
  asked = None
  with contextlib.suppress(OSError):
    asked = ask(directory, {'stop': True}, STOP_SECONDS)
  if asked is None:
    service = _service(directory)
    if service is None:
      return
    with contextlib.suppress(ProcessLookupError):
      os.kill(service, signal.SIGTERM)  # it is still starting, or its socket is gone
  deadline = time.monotonic() + RELEASE_SECONDS
  while is_in_use(directory):
    if time.monotonic() > deadline:
      raise ServiceError(
        f'The service of {directory} does not end; end its process, {_holder(directory)}.'
      )
    time.sleep(POLL_SECONDS)


def _service(directory: pathlib.Path) -> int | None:
  """Returns the process id of the service that works in a folder; None if it is no service."""
  if not is_in_use(directory):
    return None
  try:
    holder = _holder(directory)
    arguments = pathlib.Path('/proc', holder, 'cmdline').read_bytes().split(b'\0') if holder else []
  except OSError:
    return None
  return int(holder) if b'serve' in arguments and holder.isdecimal() else None


def start(directory: pathlib.Path, config: Sequence[str] = ()) -> None:
  """Starts a service in a run's folder, in the background, and waits until it has the folder.

  Args:
    directory: The run's folder; created if missing.
    config: The arguments that name the config, such as `--config=digits`; none for the run's own.

  Raises:
    ServiceError: It does not start; the message is what it says.
  """
  existed = directory.exists()
  directory.mkdir(parents=True, exist_ok=True)
  log = directory / f'{LOG}.{os.getpid()}'  # renamed once the folder is known to be a run's
  with log.open('wb') as output:
    process = subprocess.Popen(
      [sys.executable, '-m', 'autoresearch_jax', 'serve', str(directory.resolve()), *config],
      stdin=subprocess.DEVNULL,
      stdout=output,
      stderr=subprocess.STDOUT,
      start_new_session=True,  # so that it outlives this command and its terminal
    )
  # So that it leaves no zombie where this process lives longer.
  threading.Thread(target=process.wait, name='service', daemon=True).start()
  deadline = time.monotonic() + START_SECONDS
  while not is_in_use(directory):
    if process.poll() is not None:
      said = _last_line(log)
      log.unlink()
      if not existed:
        with contextlib.suppress(OSError):
          directory.rmdir()
      raise ServiceError(said or 'The service ended without a message.')
    if time.monotonic() > deadline:
      raise ServiceError(f'The service does not start in {START_SECONDS:g} s; see {log}.')
    time.sleep(POLL_SECONDS)
  if _holder(directory) in ('', str(process.pid)):
    log.replace(directory / LOG)
  else:  # another command was faster, and its service has a log of its own
    log.unlink()


def _last_line(log: pathlib.Path) -> str:
  """Returns the last line of a log; '' if there is none."""
  lines = log.read_text(errors='replace').strip().splitlines() if log.exists() else []
  return lines[-1] if lines else ''


def _holder(directory: pathlib.Path) -> str:
  """Returns the id of the process that works in a folder; '' if it has not written it yet."""
  found = ''.join((directory / 'lock').read_text(errors='replace').split()[-1:])
  return found if pathlib.Path('/proc', found).exists() else ''  # of one that was killed


def begun(directory: pathlib.Path) -> History | None:
  """Returns the run in a folder; None if none has begun. Waits for one that is about to.

  Raises:
    LedgerError: The ledger cannot be read.
  """
  deadline = time.monotonic() + START_SECONDS
  while True:
    try:
      if (directory / 'ledger.db').exists():
        return read_history(directory)
    except LedgerError:
      if not is_in_use(directory) or time.monotonic() > deadline:
        raise
    if not is_in_use(directory) or time.monotonic() > deadline:
      return None
    time.sleep(POLL_SECONDS)


def submit(
  directory: pathlib.Path,
  program: Program,
  description: str,
  *,
  author: str = '',
  config: Sequence[str] = (),
  on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[str]:
  """Has a run train a program. Yields what happens, sentences, until there is a verdict.

  A program that was tried before is not trained again. If the iterator is closed, the trial goes
  on, and the same call follows it.

  Args:
    directory: The run's folder.
    program: The program.
    description: One line for the log.
    author: Who wrote it; by default user@host.
    config: The arguments that name the config, for a run that has not begun.
    on_progress: Receives the progress of the trial.

  Raises:
    ServiceError: The run refuses the program, or does not carry it out.
    LedgerError: The ledger cannot be read.
  """
  run = _FollowedRun(directory, config)
  yield from run.ready(on_progress)
  request = ''
  if run.history.trial_of(program) is None:
    if why := run.over():
      raise ServiceError(why)
    request = mailbox.post(directory, Verb.TRY, author=author, text=description, program=program).id
  told = ''
  while True:
    run.update()
    if request and (why := run.declined(request)):
      raise ServiceError(why)
    trial = run.history.trial_of(program)
    if trial is not None and run.is_final(trial):
      return
    state = run.state(trial)
    if state != told:
      told = state
      yield state
    run.require_running()
    run.report_progress(on_progress)
    time.sleep(POLL_SECONDS)


def verdict(history: History, program: Program) -> ProgramVerdict | None:
  """Returns what a run has found out about a program; None if it has no trial with a verdict."""
  first = history.trial_of(program)
  if first is None or first not in history.trials:
    return None
  trials = [history.trials[number] for number in history.program_trials.get(first, [first])]
  undecided = first in history.under_test()
  kept = [trial for trial in trials if trial.verdict and trial.verdict.decision is Decision.KEEP]
  last = kept[-1] if kept else trials[-1]
  assert last.verdict is not None
  metric = history.objective.metric
  values = [
    run.metrics[metric]
    for trial in trials
    for run in trial.result.measurements
    if metric in run.metrics
  ]
  # A failed rerun is not the program's verdict.
  crashed = trials[0].verdict is not None and trials[0].verdict.decision is Decision.CRASH
  decision = Decision.KEEP if kept else Decision.CRASH if crashed else Decision.DISCARD
  return ProgramVerdict(
    trials[0], decision, last.verdict.reason, undecided, tuple(values), history.best
  )


class _FollowedRun:
  """A run that another process carries out, with a service started when there is none."""

  def __init__(self, directory: pathlib.Path, config: Sequence[str]):
    self.directory, self._config = directory, config
    self.history = History()
    self._follower = LedgerFollower(directory)
    self._starts = 0
    self._announced = 0.0

  def ready(self, on_progress: Callable[[Progress], None]) -> Iterator[str]:
    """Waits until the run has its baseline."""
    self.update()
    if BASELINE not in self.history.trials:
      yield 'the baseline is trained first, on several seeds'
    while BASELINE not in self.history.trials:
      self.require_running()
      self.report_progress(on_progress)
      time.sleep(POLL_SECONDS)
      self.update()

  def update(self) -> None:
    """Reads what is new in the ledger."""
    with contextlib.suppress(LedgerError):  # there is none yet, or it is readable at the next look
      replaced, records = self._follower.new_records()
      if replaced:
        self.history = History()
      for record in records:
        self.history.apply(record)

  def require_running(self) -> None:
    """Starts a service if no process works in the folder. Raises ServiceError."""
    if is_in_use(self.directory):
      return
    self._starts += 1
    if self._starts > MAX_STARTS:
      raise ServiceError(
        f'The run in {self.directory} ended {MAX_STARTS} times before the trial was done. '
        f'{_last_line(self.directory / LOG)}'
      )
    start(self.directory, self._config)

  def over(self) -> str:
    """Returns why no further trial may begin, with what to do; '' if one may."""
    history, search = self.history, self.history.config.search
    applying = ends.effective(history, search.ends.costs())
    why = ends.why_spent(history, applying, search.dollars_per_hour)
    if 0 < (applying.max_trials or 0) <= history.next_trial:
      why = f'All {applying.max_trials} trials of the run in {self.directory} are done.'
    advice = f'`autoresearch steer {self.directory} end --help` says how to change that.'
    return f'{why} {advice}' if why else ''

  def is_final(self, trial: int) -> bool:
    """Returns whether a trial has a verdict that no run can change any more."""
    history = self.history
    if trial not in history.trials or trial not in history.under_test():
      return trial in history.trials
    return history.next_trial == len(history.trials) and bool(self.over())

  def declined(self, request: str) -> str:
    """Returns why a request will not become a trial; '' if it may."""
    taken = self.history.steering.taken.get(request)
    return taken.event.refused or taken.outcome if taken is not None else ''

  def state(self, trial: int | None) -> str:
    """Describes what the run does about a program."""
    if self.history.steering.paused is not None:
      author = self.history.steering.paused.request.author
      return f'the run is paused by {author}; `autoresearch steer {self.directory} resume` goes on'
    if trial is None:
      return 'waits for the run to take it up'
    if trial in self.history.trials:
      return f'trial {trial}: promising, so that further runs decide'
    if trial in self.history.running:
      return f'trial {trial}: in progress'
    if trial in self.history.results:
      return f'trial {trial}: is being decided'
    return f'trial {trial}: waits for a free device'

  def report_progress(self, receive: Callable[[Progress], None]) -> None:
    """Passes on the progress of running trials."""
    now = time.monotonic()
    if now - self._announced < PROGRESS_SECONDS:
      return
    self._announced = now
    announce_viewer(self.directory)
    for running in read_progress(self.directory):
      if running.progress.trial in self.history.running:
        receive(running.progress)
