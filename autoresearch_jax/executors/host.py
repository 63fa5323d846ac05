"""The process on a host of a cluster: runs the trials that the controller sends it.

Started by an executor for many machines (`cluster.py`), for instance through ssh, as
`python -m autoresearch_jax.executors.host`. It has a `LocalExecutor` with all slots of its machine.
Data, compiled programs and the sandbox stay here; only programs and results cross the network. It
exits when its standard input closes, or when the controller has been silent for too long.

Protocol, JSON lines. The controller sends:

    {"start": HostSetup}                       once, at first
    {"submit": TrialRequest, "compare": true}  a trial; its `known` has what is new since the last
                                               one of the same budget, and counts if "compare"
    {"cancel": trial}
    {"check": number, "program": Program, "budget": Budget}
    {"alive": true}                            every ALIVE_SECONDS

The host sends:

    {"say": line}                              progress of its start
    {"refused": reason}                        it cannot take part; then it exits
    {"ready": HostReady}
    {"progress": Progress}, {"seed": SeedResult}, {"result": Result}
    {"checked": number, "reason": reason}      the answer to a check
    {"slots": 3}                               a slot was retired
    {"unavailable": reason}                    no slot is left; then it exits
    {"alive": true}                            every ALIVE_SECONDS
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import platform
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.data import cache
from autoresearch_jax.executors import Executor, ExecutorEvent, Unavailable
from autoresearch_jax.executors.local import LocalExecutor
from autoresearch_jax.executors.own_metrics import require_own_metrics
from autoresearch_jax.messages import describe_os_error
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.registry import installed_versions
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import (
  Budget,
  Dataset,
  Hardware,
  Program,
  Progress,
  Result,
  SeedResult,
  Spec,
  TrialRequest,
  from_builtins,
)

ALIVE_SECONDS = 5.0
SILENCE_SECONDS = 60.0  # without a message from the other side, after which it is lost
PROGRESS_SECONDS = 1.0  # at least between two reports of the same phase of a trial
WAIT_SECONDS = 0.5
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')  # can change a result
FOLDER_PREFIX = 'host-'  # of the scratch folder; then the process id


@dataclasses.dataclass(frozen=True)
class HostSetup:
  """What a host needs to take part in a run.

  Attributes:
    versions: The controller's `versions()`.
    problem: Name of the problem.
    data: Its options.
    fingerprint: Fingerprint of the dataset.
    spec: The problem, at full budget.
    limits: Limits of a trial.
    slots: As in `LocalExecutor`, of this host.
    compile_ahead: As in `LocalExecutor`.
    folder: Folder for scratch files; '' for one in the cache.
    checkpoint_seconds: As in `LocalExecutor`.
  """

  versions: Mapping[str, str]
  problem: str
  data: Mapping[str, Any]
  fingerprint: str
  spec: Spec
  limits: Limits
  slots: int = 1
  compile_ahead: bool | None = None
  folder: str = ''
  checkpoint_seconds: float = 300.0


@dataclasses.dataclass(frozen=True)
class HostReady:
  """What a host offers.

  Attributes:
    slots: Number of its slots.
    hardware: What a slot runs on.
  """

  slots: int
  hardware: Hardware


class HostRefused(RuntimeError):
  """The host cannot take part in the run; the message says why."""


@functools.cache
def versions() -> dict[str, str]:
  """Versions of Python, of packages that can change a result, and of this package's source."""
  python = '.'.join(platform.python_version_tuple()[:2])
  root, digest = pathlib.Path(__file__).resolve().parents[1], hashlib.sha256()
  for file in sorted(set(root.rglob('*.py')) - set(root.glob('configs/**/*'))):
    digest.update(f'{file.relative_to(root)} '.encode() + file.read_bytes())
  source = digest.hexdigest()[:12]
  return {'python': python, **installed_versions(PACKAGES), 'autoresearch_jax': source}


class Host:
  """Runs trials for a controller. `handle` receives its messages, `messages` has the answers.

  Attributes:
    messages: Messages for the controller; None after the last one.
  """

  def __init__(self) -> None:
    self.messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    self._executor: Executor | None = None
    self._closing = threading.Event()
    self._folder: pathlib.Path | None = None
    self._heard = time.monotonic()
    self._known: dict[Budget, dict[str, int]] = {}
    self._shown: dict[int, tuple[str, float]] = {}  # trial -> phase and time of the last report

  def handle(self, message: Mapping[str, Any]) -> None:
    """Handles a message of the controller, without waiting for what takes long."""
    self._heard = time.monotonic()
    if 'start' in message:
      setup = msgspec.convert(message['start'], HostSetup)
      threading.Thread(target=self._run, args=(setup,), daemon=True).start()
    elif self._executor is None:
      return  # it is starting, or was refused
    elif 'submit' in message:
      self._submit(from_builtins(message['submit'], TrialRequest), message['compare'])
    elif 'cancel' in message:
      self._executor.cancel(message['cancel'])
    elif 'check' in message:
      threading.Thread(target=self._check, args=(message,), daemon=True).start()

  def silent_seconds(self) -> float:
    """Returns for how long the controller has been silent."""
    return time.monotonic() - self._heard

  def close(self) -> None:
    """Ends the trials and all processes. Idempotent."""
    self._closing.set()
    if self._executor is not None:
      self._executor.close()
    if self._folder is not None:
      shutil.rmtree(self._folder, ignore_errors=True)

  def _submit(self, request: TrialRequest, compare: bool) -> None:
    assert self._executor is not None
    known = self._known.setdefault(request.budget, {})
    known.update(request.known)
    self._executor.submit(dataclasses.replace(request, known=dict(known) if compare else {}))

  def _check(self, message: Mapping[str, Any]) -> None:
    assert self._executor is not None
    program = from_builtins(message['program'], Program)
    reason = self._executor.check(program, from_builtins(message['budget'], Budget))
    self.messages.put({'checked': message['check'], 'reason': reason})

  def _run(self, setup: HostSetup) -> None:
    """The thread that starts the executor and passes on what it reports."""
    try:
      self._start(setup)
      self._pump()
    except Unavailable as error:
      self.messages.put({'unavailable': str(error)})
    except OSError as error:
      self.messages.put({'refused': describe_os_error(error, '')})
    except (HostRefused, SandboxError, ValueError) as error:
      self.messages.put({'refused': str(error)})
    except Exception as error:
      self.messages.put({'refused': f'The host failed: {type(error).__name__}: {error}'})
    finally:
      self.messages.put(None)

  def _start(self, setup: HostSetup) -> None:
    _require_versions(setup.versions)
    problem = PROBLEMS.make(setup.problem, setup.data)
    dataset: Dataset = problem.prepare(cache.directory(), lambda line: self._put('say', line))
    if dataset.fingerprint != setup.fingerprint:
      raise HostRefused(
        f'Its data for the problem {setup.problem!r} differ: their fingerprint is '
        f'{dataset.fingerprint[:12]}, the controller has {setup.fingerprint[:12]}. Copy the '
        "controller's cache to it, or prepare the data of both from the same source."
      )
    held_out = [pathlib.Path(path) for path in (dataset.validation, dataset.test) if path]
    hidden = (*problem.hidden(), *held_out)
    dataset = require_own_metrics(
      dataset, setup.spec, setup.limits, hidden, lambda line: self._put('say', line)
    )
    self._folder = _scratch_folder(pathlib.Path(setup.folder or cache.directory() / 'hosts'))
    executor = LocalExecutor(
      spec=setup.spec,
      dataset=dataset,
      hidden=hidden,
      limits=setup.limits,
      scratch=self._folder,
      cache=cache.directory(),
      slots=setup.slots,
      compile_ahead=setup.compile_ahead,
      checkpoint_seconds=setup.checkpoint_seconds,
    )
    self._executor = executor
    if self._closing.is_set():
      self.close()
      return
    hardware = executor.hardware()
    self._slots = executor.slots
    if hardware is None:
      executor.wait(0.0)  # raises why there is none
      raise HostRefused('It cannot acquire its devices.')
    self._put('ready', HostReady(self._slots, hardware))

  def _pump(self) -> None:
    while self._executor is not None and not self._closing.is_set():
      for event in self._executor.wait(WAIT_SECONDS):
        self._pass_on(event)
      if self._executor.slots != self._slots:
        self._slots = self._executor.slots
        self._put('slots', self._slots)

  def _pass_on(self, event: ExecutorEvent) -> None:
    if isinstance(event, Result):
      self._shown.pop(event.trial, None)
      self._put('result', event)
    elif isinstance(event, SeedResult):
      self._put('seed', event)
    elif self._is_news(event):
      self._put('progress', event)

  def _is_news(self, progress: Progress) -> bool:
    """Whether a report is of a new phase, or the last one was long enough ago."""
    now, phase = time.monotonic(), f'{progress.phase} {progress.seed}'
    before, when = self._shown.get(progress.trial, ('', 0.0))
    if phase == before and now - when < PROGRESS_SECONDS:
      return False
    self._shown[progress.trial] = phase, now
    return True

  def _put(self, kind: str, value: Any) -> None:
    self.messages.put({kind: value})


def _require_versions(wanted: Mapping[str, str]) -> None:
  """Raises HostRefused if a version differs from the controller's."""
  ours = versions()
  for name in sorted({*wanted, *ours}):
    here, there = ours.get(name, 'missing'), wanted.get(name, 'missing')
    if here != there:
      what = 'source of autoresearch_jax' if name == 'autoresearch_jax' else f'version of {name}'
      raise HostRefused(
        f'Its {what} differs: it has {here}, the controller {there}. Install the same on both.'
      )


def _scratch_folder(parent: pathlib.Path) -> pathlib.Path:
  """Makes a scratch folder for this process; deletes those of processes that were killed."""
  parent.mkdir(parents=True, exist_ok=True)
  for folder in parent.glob(f'{FOLDER_PREFIX}*'):
    owner = folder.name.removeprefix(FOLDER_PREFIX).partition('-')[0]
    if not pathlib.Path('/proc', owner).exists():
      shutil.rmtree(folder, ignore_errors=True)
  return pathlib.Path(tempfile.mkdtemp(prefix=f'{FOLDER_PREFIX}{os.getpid()}-', dir=parent))


def _lines() -> Iterator[bytes]:
  """Yields the lines of standard input as they come."""
  yield from sys.stdin.buffer


def main() -> None:
  """Serves the controller at the other end of standard input and output."""
  out = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # what a library prints must not mix with the protocol
  host = Host()

  def write() -> None:
    try:
      while True:
        try:
          message = host.messages.get(timeout=ALIVE_SECONDS)
        except queue.Empty:
          message = {'alive': True}
        if message is None or host.silent_seconds() > SILENCE_SECONDS:
          break
        out.write(msgspec.json.encode(message) + b'\n')
        out.flush()
    except OSError:  # the controller is gone
      pass
    host.close()
    os._exit(0)  # the main thread waits for its standard input

  threading.Thread(target=write, daemon=True).start()
  for line in _lines():
    host.handle(msgspec.json.decode(line))
  host.close()


if __name__ == '__main__':
  main()
