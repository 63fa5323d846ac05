"""The controller's side of a runner: starts it, asks it, ends it when it is late. No jax here."""

import contextlib
import dataclasses
import itertools
import math
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoresearch_jax.clock import STRIDE, Awake
from autoresearch_jax.config import Limits
from autoresearch_jax.types import Dataset, Platform, Status

# JAX must not fall back to another platform in silence.
JAX_PLATFORMS: dict[Platform, str] = {'cpu': 'cpu', 'gpu': 'cuda', 'tpu': 'tpu'}


# XLA's older emitters compile the small GPT in 40 % of the time, for about 5 % of a step's. Not
# xla_cpu_optimize_for_size: it saves 0.15 s more, but keeps loops scalar, which costs 10 % of every
# step (exp and tanh take 7 times as long).
CPU_FLAGS = (
  '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters,xla_cpu_disable_loop_unrolling'
)
# The first touch of a 4 KiB page costs as much as 8 microseconds; a step's buffers have many.
HUGE_PAGES = 'glibc.malloc.hugetlb=1'


@dataclasses.dataclass(frozen=True)
class Setup:
  """What a runner needs to know once. cache: folder for compiled programs and measured peaks."""

  platform: Platform
  dataset: Dataset
  limits: Limits
  cache: str


KEPT_COMPILED = 4  # frames, and artifacts of them: the incumbent's, and what was tried last


class RunnerFailed(Exception):
  """The runner did not do what was asked; status, sentence and facts belong on the trial.

  passing: the program need not be the cause, so another attempt may go well.
  """

  def __init__(
    self, status: Status, reason: str, facts: dict[str, Any] | None = None, passing: bool = False
  ):
    super().__init__(reason)
    self.status, self.facts, self.passing = status, facts or {}, passing


class RunnerProcess:
  """One runner process. Not thread-safe except `kill` and `prepare`.

  environment: what it finds set besides, such as which devices are its own. preparing: what it
  loads and compiles beside what it is asked, until it says that this is over: by number (one may be
  sent twice), each artifact with the monotonic second when it was sent.
  """

  def __init__(self, setup: Setup, log: pathlib.Path, environment: Mapping[str, str] | None = None):
    self.setup = setup
    self.log = log
    self._environment = environment or {}
    self._process: subprocess.Popen[bytes] | None = None
    self._buffer = b''
    self._lock = threading.Lock()
    self._writing = threading.Lock()
    self._killed = False
    self._numbers = itertools.count()
    self.preparing: dict[int, tuple[pathlib.Path, float]] = {}

  def start(self) -> None:
    """Starts the process; `ready` waits for it, so that it can warm up meanwhile."""
    self.log.parent.mkdir(parents=True, exist_ok=True)
    with self.log.open('ab') as log, self._lock:
      self._buffer, self._killed, self.preparing = b'', False, {}
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.runner.server'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**environment(self.setup.platform), **self._environment},
        start_new_session=True,  # Ctrl-C is the controller's to handle
      )
    self._send({'do': 'start', 'setup': self.setup})

  def ready(self, seconds: float = 300.0) -> dict[str, Any]:
    """Waits until the runner holds its devices; what they are. Raises RunnerFailed."""
    return self._receive('start', seconds, None)

  def ask(
    self,
    do: str,
    seconds: float,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    max_seconds: float = math.inf,
    **fields: Any,
  ) -> dict[str, Any]:
    """Asks and waits. seconds: the longest silence that is borne; max_seconds: in all.

    Raises RunnerFailed.
    """
    self._send({'do': do, **fields})
    return self._receive(do, seconds, on_progress, max_seconds)

  def prepare(self, artifact: pathlib.Path, compiled: bool) -> None:
    """Has it load this, or compile it too, beside what it is asked, for its turn; no answer."""
    with self._lock, contextlib.suppress(OSError, ValueError):  # `ask` meets a dead one too
      number = next(self._numbers)
      self.preparing[number] = artifact, time.monotonic()
      self._write(
        {'do': 'prepare', 'number': number, 'artifact': str(artifact), 'compiled': compiled}
      )

  @property
  def alive(self) -> bool:
    return self._process is not None and self._process.poll() is None

  @property
  def pid(self) -> int | None:
    return self._process.pid if self._process else None

  def kill(self) -> None:
    """Ends the process now; a waiting `ask` raises RunnerFailed with status cancelled."""
    self._killed = True
    self._end()

  def close(self) -> None:
    self._end()
    with self._lock:
      if self._process:
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
          with contextlib.suppress(OSError):
            pipe.close()

  def _end(self) -> None:
    with self._lock:
      if self._process and self._process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

  def _send(self, message: dict[str, Any]) -> None:
    try:
      self._write(message)
    except (BrokenPipeError, ValueError):
      raise self._gone(message['do']) from None

  def _write(self, message: dict[str, Any]) -> None:
    assert self._process and self._process.stdin
    with self._writing:
      self._process.stdin.write(msgspec.json.encode(message) + b'\n')
      self._process.stdin.flush()

  def _receive(
    self,
    do: str,
    seconds: float,
    on_progress: Callable[[dict[str, Any]], None] | None,
    max_seconds: float = math.inf,
  ) -> dict[str, Any]:
    awake = Awake()
    while True:
      left = max_seconds - awake.seconds()
      message = self._line(do, seconds, left, max_seconds, awake)
      if 'progress' in message:
        if on_progress:
          on_progress(message['progress'])
      elif 'prepared' in message:
        self.preparing.pop(message['prepared'], None)
      elif 'failed' in message:
        raise RunnerFailed(
          Status(message['failed']),
          message['reason'],
          message.get('facts'),
          message.get('passing', False),
        )
      else:
        return message['done']

  def _line(
    self, do: str, seconds: float, left: float, max_seconds: float, awake: Awake
  ) -> dict[str, Any]:
    assert self._process and self._process.stdout
    late = left < seconds
    deadline = awake.seconds() + min(seconds, left)
    while b'\n' not in self._buffer:
      left = deadline - awake.seconds()
      if left <= 0:
        self._end()
        raise RunnerFailed(Status.TIMEOUT, _late(do, max_seconds if late else seconds, late))
      readable, _, _ = select.select([self._process.stdout], [], [], min(left, STRIDE))
      if readable:
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if not data:
          raise self._gone(do)
        self._buffer += data
    line, self._buffer = self._buffer.split(b'\n', 1)
    return msgspec.json.decode(line)

  def _gone(self, do: str) -> RunnerFailed:
    assert self._process
    code = self._process.wait()
    if self._killed:
      return RunnerFailed(Status.CANCELLED, 'The trial was cancelled.')
    how = f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
    if code == -signal.SIGKILL:
      how += ', as the kernel sends it when memory runs out, or a person'
    return RunnerFailed(
      Status.CRASH,
      f'The runner ended with {how}, in {do}; its log is {self.log.name}.',
      passing=code == -signal.SIGKILL,
    )


def environment(platform: Platform) -> dict[str, str]:
  """What must be set before the runner imports jax; the user's own settings win."""
  found = {**os.environ, 'JAX_PLATFORMS': JAX_PLATFORMS[platform]}
  if 'XLA_PYTHON_CLIENT_MEM_FRACTION' not in found:  # its old name; jax refuses to have both
    found.setdefault('XLA_CLIENT_MEM_FRACTION', '0.92')
  if platform == 'cpu':
    found.setdefault('GLIBC_TUNABLES', HUGE_PAGES)
    found['XLA_FLAGS'] = f'{CPU_FLAGS} {os.environ.get("XLA_FLAGS", "")}'.strip()
  return found


def _late(do: str, seconds: float, in_all: bool) -> str:
  """The sentence for a runner that was ended, with the limit that ended it."""
  if do == 'start':
    return (
      f'The runner did not hold its devices after {seconds:g} s; another process may hold them.'
    )
  if in_all:
    return (
      f'Training and evaluation took longer than {seconds:g} s (limits.run_seconds) and were '
      'ended; look for a slow step or a slow `predict`.'
    )
  limit = 'limits.step_seconds' if do == 'run' else 'limits.compile_seconds'
  return (
    f'The runner gave no sign for {seconds:g} s in {do} ({limit}) and was ended; look for an '
    'endless loop, a very slow step, or a very large program.'
  )
