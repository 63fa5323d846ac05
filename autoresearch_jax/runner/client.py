"""The controller's side of a runner: starts it, sends requests, kills it when late. No jax here."""

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

from autoresearch_jax.clock import POLL_SECONDS, ActiveTimer
from autoresearch_jax.config import Limits
from autoresearch_jax.types import Dataset, Platform, Status

# JAX must not fall back to another platform silently.
JAX_PLATFORMS: dict[Platform, str] = {'cpu': 'cpu', 'gpu': 'cuda', 'tpu': 'tpu'}
# The first touch of a 4 KiB page takes as long as 8 microseconds; a step's buffers have many.
HUGE_PAGES = 'glibc.malloc.hugetlb=1'
COMPILE_CACHE_SIZE = 4  # compiled programs in memory: the incumbent's, and the latest ones
START_TIMEOUT_SECONDS = 300.0  # to import jax and acquire the devices
SOFT_END_SECONDS = 10.0  # for a runner to save a long run and to release an accelerator


@dataclasses.dataclass(frozen=True)
class RunnerSetup:
  """The configuration of a runner, fixed at its start.

  Attributes:
    platform: Platform of its devices.
    dataset: Data of the problem.
    limits: Limits of a trial.
    cache: Folder for compiled programs and measured peak FLOP/s.
  """

  platform: Platform
  dataset: Dataset
  limits: Limits
  cache: str


class RunnerError(Exception):
  """A request failed.

  Attributes:
    status: Status of the trial.
    facts: Facts for the trial's record.
    retryable: Whether the program may not be the cause, so that a retry may succeed.
    ends_run: Whether every program would fail in this way, on every runner of the machine.
  """

  def __init__(
    self,
    status: Status,
    reason: str,
    facts: dict[str, Any] | None = None,
    retryable: bool = False,
    ends_run: bool = False,
  ):
    super().__init__(reason)
    self.status, self.facts = status, facts or {}
    self.retryable, self.ends_run = retryable, ends_run


_CPU_LIMITED = ('load', 'compile', 'calibrate', 'reference')  # requests whose limit counts CPU time
MIN_CPU_SHARE = 0.02  # of the wall clock, below which a process counts as hanging


class RunnerClient:
  """One runner process. Only `kill` and `prefetch` may be called from other threads.

  Args:
    setup: Configuration of the runner.
    log: File that its stderr is appended to.
    environment: Further environment variables, such as those that select its devices; None for
      one that must not be set.

  Attributes:
    soft_end_seconds: How long the process may take to end by itself, before it is killed. A killed
      process may leave TPU chips busy for a while. 0 on CPUs, where only long runs get the time.
    prefetching: Prefetches in progress: number -> (artifact, monotonic time when requested). The
      numbers are unique; an artifact may be prefetched more than once.
  """

  def __init__(
    self, setup: RunnerSetup, log: pathlib.Path, environment: Mapping[str, str | None] | None = None
  ):
    self.setup = setup
    self.log = log
    self.soft_end_seconds = 0.0 if setup.platform == 'cpu' else SOFT_END_SECONDS
    self._environment = environment or {}
    self._process: subprocess.Popen[bytes] | None = None
    self._buffer = b''
    self._lock = threading.Lock()
    self._write_lock = threading.Lock()
    self._killed = False
    self._saves_from = math.inf  # when the run under way is long enough to be worth saving
    self._numbers = itertools.count()
    self.prefetching: dict[int, tuple[pathlib.Path, float]] = {}

  def start(self) -> None:
    """Starts the process without waiting for it, so that others can start at the same time."""
    self.log.parent.mkdir(parents=True, exist_ok=True)
    environment = process_environment(self.setup.platform, self.setup.dataset.kind == 'kernel')
    variables = {**environment, **self._environment}
    with self.log.open('ab') as log, self._lock:
      self._buffer, self._killed, self.prefetching = b'', False, {}
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.runner.server'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={name: value for name, value in variables.items() if value is not None},
        start_new_session=True,  # the controller handles Ctrl-C
      )
    self._send({'method': 'start', 'setup': self.setup})

  def wait_until_ready(self, timeout: float = START_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Waits until the runner has acquired its devices, and returns their description.

    Raises:
      RunnerError: it failed, or did not start in time.
    """
    return self._receive('start', timeout, None)

  def request(
    self,
    method: str,
    idle_timeout: float,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    timeout: float = math.inf,
    **arguments: Any,
  ) -> dict[str, Any]:
    """Sends a request and waits for its result.

    Args:
      method: `load`, `compile`, `run`, ... (see `server`).
      idle_timeout: Seconds without any message after which the runner is killed.
      on_progress: Called with each progress message.
      timeout: Seconds in total after which the runner is killed.
      **arguments: Arguments of the method.

    Raises:
      RunnerError: the request failed, or the runner was killed or died.
    """
    plan = arguments.get('checkpoint')
    self._saves_from = time.monotonic() + plan.seconds if plan else math.inf
    self._send({'method': method, **arguments})
    return self._receive(method, idle_timeout, on_progress, timeout)

  def prefetch(self, artifact: pathlib.Path, compile: bool) -> None:
    """Asks the runner to load an artifact for a later trial in the background. No reply.

    Args:
      artifact: Path of the artifact.
      compile: Whether to compile it too.
    """
    with self._lock, contextlib.suppress(OSError, ValueError):  # `request` reports a dead runner
      number = next(self._numbers)
      self.prefetching[number] = artifact, time.monotonic()
      self._write(
        {'method': 'prefetch', 'number': number, 'artifact': str(artifact), 'compile': compile}
      )

  @property
  def alive(self) -> bool:
    return self._process is not None and self._process.poll() is None

  @property
  def pid(self) -> int | None:
    return self._process.pid if self._process else None

  def kill(self) -> None:
    """Kills the process; a waiting `request` raises RunnerError with status `cancelled`."""
    self._killed = True
    self._kill_process()

  def close(self) -> None:
    """Kills the process and closes its pipes."""
    self._kill_process()
    with self._lock:
      if self._process:
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
          with contextlib.suppress(OSError):
            pipe.close()

  def _kill_process(self) -> None:
    with self._lock:
      if self._process and self._process.poll() is None:
        saves = time.monotonic() >= self._saves_from
        if patience := self.soft_end_seconds or SOFT_END_SECONDS * saves:
          self._end_softly(self._process, patience)
        with contextlib.suppress(ProcessLookupError):
          os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

  def _end_softly(self, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Asks the process to release its devices and to end, and waits for a while."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(seconds)

  def _send(self, message: dict[str, Any]) -> None:
    try:
      self._write(message)
    except (BrokenPipeError, ValueError):
      raise self._process_died(message['method']) from None

  def _write(self, message: dict[str, Any]) -> None:
    assert self._process and self._process.stdin
    with self._write_lock:
      self._process.stdin.write(msgspec.json.encode(message) + b'\n')
      self._process.stdin.flush()

  def _receive(
    self,
    method: str,
    idle_timeout: float,
    on_progress: Callable[[dict[str, Any]], None] | None,
    timeout: float = math.inf,
  ) -> dict[str, Any]:
    """Handles messages until the result of the request arrives."""
    timer = ActiveTimer()
    while True:
      message = self._next_message(method, idle_timeout, timeout, timer)
      if 'progress' in message:
        if on_progress:
          on_progress(message['progress'])
      elif 'prefetched' in message:
        self.prefetching.pop(message['prefetched'], None)
      elif 'error' in message:
        raise RunnerError(
          Status(message['error']),
          message['reason'],
          message.get('facts'),
          message.get('retryable', False),
          message.get('ends_run', False),
        )
      else:
        return message['result']

  def _next_message(
    self, method: str, idle_timeout: float, timeout: float, timer: ActiveTimer
  ) -> dict[str, Any]:
    """The next message. Kills the runner when either timeout passes first."""
    assert self._process and self._process.stdout
    remaining_in_total = timeout - timer.seconds()
    total_ends_first = remaining_in_total < idle_timeout
    began, cpu_began = timer.seconds(), self._cpu_seconds()
    deadline = began + min(idle_timeout, remaining_in_total)
    while b'\n' not in self._buffer:
      remaining = deadline - timer.seconds()
      if remaining <= 0 and method in _CPU_LIMITED:
        wall, used = timer.seconds() - began, self._cpu_seconds() - cpu_began
        remaining = seconds_left(idle_timeout, wall, used)
        deadline = timer.seconds() + remaining
      if remaining <= 0:
        self._kill_process()
        seconds = timeout if total_ends_first else idle_timeout
        raise RunnerError(Status.TIMEOUT, _timeout_reason(method, seconds, total_ends_first))
      readable, _, _ = select.select([self._process.stdout], [], [], min(remaining, POLL_SECONDS))
      if readable:
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if not data:
          raise self._process_died(method)
        self._buffer += data
    line, self._buffer = self._buffer.split(b'\n', 1)
    return msgspec.json.decode(line)

  def _cpu_seconds(self) -> float:
    """CPU time of the runner so far; 0 where the system does not say."""
    try:
      fields = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(') ')[2].split()
      return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError, IndexError):
      return 0.0

  def _process_died(self, method: str) -> RunnerError:
    assert self._process
    code = self._process.wait()
    if self._killed:
      return RunnerError(Status.CANCELLED, 'The trial was cancelled.')
    how = f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
    if code == -signal.SIGKILL:
      how += ' (sent by the kernel when memory runs out, or by a person)'
    return RunnerError(
      Status.CRASH,
      f'The runner ended with {how} during {method}; its log is {self.log.name}.',
      retryable=code == -signal.SIGKILL,
    )


def seconds_left(limit: float, wall: float, cpu: float) -> float:
  """Seconds that a compilation may go on for; 0 if it has reached its limit.

  On a busy machine a compiler gets few of the CPUs' seconds. So the limit ends it only once it has
  used as much CPU time, or if it uses hardly any, as a process that hangs.

  Args:
    limit: The limit, in seconds.
    wall: Wall-clock seconds since it began.
    cpu: CPU seconds that it has used.
  """
  if wall < limit:
    return limit - wall
  if cpu < MIN_CPU_SHARE * wall:
    return 0.0
  return max(0.0, limit - cpu)


def process_environment(platform: Platform, kernels: bool = False) -> dict[str, str]:
  """Environment of a runner, to be set before it imports jax. The user's own settings win.

  Args:
    platform: Platform of its devices.
    kernels: Whether it times kernels: then XLA compiles as it does elsewhere, and the CPU is there
      for float64.
  """
  variables = {**os.environ, 'JAX_PLATFORMS': JAX_PLATFORMS[platform]}
  if kernels:
    variables['JAX_PLATFORMS'] = ','.join(dict.fromkeys((JAX_PLATFORMS[platform], 'cpu')))
  if 'XLA_PYTHON_CLIENT_MEM_FRACTION' not in variables:  # the old name; jax refuses both together
    variables.setdefault('XLA_CLIENT_MEM_FRACTION', '0.92')
  if platform == 'cpu' and not kernels:
    variables.setdefault('GLIBC_TUNABLES', HUGE_PAGES)
  return variables


def _timeout_reason(method: str, seconds: float, in_total: bool) -> str:
  """The reason of a trial whose runner was killed, with the limit that it exceeded."""
  if method == 'start':
    return (
      f'The runner did not acquire its devices within {seconds:g} s; another process may hold them.'
    )
  if in_total:
    return (
      f'Training and evaluation exceeded the timeout of {seconds:g} s (limits.run_seconds); look '
      'for a slow step or a slow `predict`.'
    )
  limit = 'limits.step_seconds' if method == 'run' else 'limits.compile_seconds'
  return (
    f'The runner made no progress for {seconds:g} s during {method} ({limit}) and was killed; look '
    'for an endless loop, a very slow step, or a very large program.'
  )
