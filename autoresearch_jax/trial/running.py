"""The controller's side of a runner: starts it, asks it, ends it when it is late. No jax here."""

import contextlib
import dataclasses
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.types import Dataset, Platform, Status

# JAX must not fall back to another platform in silence.
JAX_PLATFORMS: dict[Platform, str] = {'cpu': 'cpu', 'gpu': 'cuda', 'tpu': 'tpu'}


@dataclasses.dataclass(frozen=True)
class Setup:
  """What a runner needs to know once. cache: folder for compiled programs and measured peaks."""

  platform: Platform
  dataset: Dataset
  limits: Limits
  cache: str


class RunnerFailed(Exception):
  """The runner did not do what was asked; status and sentence belong on the trial."""

  def __init__(self, status: Status, reason: str):
    super().__init__(reason)
    self.status = status


class RunnerProcess:
  """One runner process. Not thread-safe except `kill`."""

  def __init__(self, setup: Setup, log: pathlib.Path):
    self.setup = setup
    self.log = log
    self._process: subprocess.Popen[bytes] | None = None
    self._buffer = b''
    self._lock = threading.Lock()
    self._killed = False

  def start(self) -> None:
    """Starts the process; `ready` waits for it, so that it can warm up meanwhile."""
    self.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'JAX_PLATFORMS': JAX_PLATFORMS[self.setup.platform]}
    environment.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.92')
    with self.log.open('ab') as log, self._lock:
      self._buffer, self._killed = b'', False
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.trial.runner'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
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
    **fields: Any,
  ) -> dict[str, Any]:
    """Asks and waits. seconds: the longest silence that is borne. Raises RunnerFailed."""
    self._send({'do': do, **fields})
    return self._receive(do, seconds, on_progress)

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
    assert self._process and self._process.stdin
    try:
      self._process.stdin.write(msgspec.json.encode(message) + b'\n')
      self._process.stdin.flush()
    except (BrokenPipeError, ValueError):
      raise self._gone(message['do']) from None

  def _receive(
    self, do: str, seconds: float, on_progress: Callable[[dict[str, Any]], None] | None
  ) -> dict[str, Any]:
    while True:
      message = self._line(do, seconds)
      if 'progress' in message:
        if on_progress:
          on_progress(message['progress'])
      elif 'failed' in message:
        raise RunnerFailed(Status(message['failed']), message['reason'])
      else:
        return message['done']

  def _line(self, do: str, seconds: float) -> dict[str, Any]:
    assert self._process and self._process.stdout
    deadline = time.monotonic() + seconds
    while b'\n' not in self._buffer:
      left = deadline - time.monotonic()
      if left <= 0:
        self._end()
        raise RunnerFailed(
          Status.TIMEOUT, f'The runner was silent for {seconds:g} s in {do} and was ended.'
        )
      readable, _, _ = select.select([self._process.stdout], [], [], left)
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
    return RunnerFailed(
      Status.CRASH, f'The runner ended with {how} in {do}; its log is {self.log.name}.'
    )
