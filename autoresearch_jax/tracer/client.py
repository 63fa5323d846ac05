"""The controller's side of the tracer: starts the fork server and sends it programs. No jax here.

An executor has one `TracerClient` for each slot. Whatever a program does while it is traced,
`trace` returns a status and a reason. It raises only when this machine cannot trace at all.
"""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import select
import shutil
import signal
import site
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec

from autoresearch_jax.artifact.header import ArtifactError, reject, unpack
from autoresearch_jax.clock import ActiveTimer
from autoresearch_jax.config import Limits
from autoresearch_jax.messages import MACHINE_ERRNOS
from autoresearch_jax.sandbox import tracer_policy
from autoresearch_jax.types import Isolation, Program, Spec, Status

START_TIMEOUT_SECONDS = 120.0  # importing jax on a busy machine
BACKGROUND_NICENESS = 10  # leaves a tenth of a busy core; 19 would leave too little to finish
BACKGROUND_TIMEOUT_FACTOR = 4.0
GRACE_SECONDS = 3.0  # for the server to kill a late child, before the server itself is killed
_FOLDER_PREFIX = 'trace-'  # then the controller's process id
_active_folders: set[pathlib.Path] = set()  # of traces of this process


@dataclasses.dataclass(frozen=True)
class TraceResult:
  """How a trace ended.

  Attributes:
    status: `ok`, or why there is no artifact.
    reason: Error message, '' when ok.
    seconds: Wall-clock duration, without waiting for the server to start.
    isolation: What the sandbox enforced.
    killed: Whether the process or its server was killed from outside, so that a retry may succeed.
  """

  status: Status
  reason: str
  seconds: float
  isolation: Isolation
  killed: bool = False


class _ServerDied(Exception):
  """The fork server exited or did not reply. killed: whether a SIGKILL ended it."""

  killed = False


class TracerClient:
  """A fork server and its traces, one at a time. `kill` and `close` may be called by any thread.

  Args:
    limits: Limits of each trace.
    hidden: Paths that programs must never read, such as validation data.
    scratch: Folder for temporary files and the server's log.
  """

  def __init__(self, limits: Limits, hidden: tuple[pathlib.Path, ...], scratch: pathlib.Path):
    self.limits = limits
    self.scratch = scratch
    self._hidden = tuple(str(path) for path in hidden)
    self._server: subprocess.Popen[bytes] | None = None
    self._ready = False
    self._buffer = b''
    self._lock = threading.Lock()  # guards the server process, which `close` may kill at any time
    self._tracing = False
    self._cancelled = False
    self._closed = False
    _remove_stale_folders(scratch)

  def check_isolation(self) -> Isolation:
    """The isolation that traces will have on this machine.

    Raises:
      SandboxError: it is less than `limits.isolation`; the message says what is missing.
    """
    return tracer_policy.check(self.limits.isolation)

  def start(self) -> None:
    """Starts the server, which imports jax in the background. `trace` does this if needed."""
    self.check_isolation()
    with self._lock:
      if self._server is None or self._server.poll() is not None:
        self._start_server()

  def trace(
    self,
    program: Program,
    spec: Spec,
    evaluation_batch: int,
    out: pathlib.Path,
    background: bool = False,
  ) -> TraceResult:
    """Traces `program` in the sandbox and writes its artifact to `out` on success.

    Blocks for at most limits.trace_seconds, or BACKGROUND_TIMEOUT_FACTOR times that in the
    background.

    Args:
      program: The files of the program.
      spec: The problem that it is traced for.
      evaluation_batch: Rows (examples) of the batch that `predict` is exported for.
      out: Path of the artifact.
      background: Whether a trial is training meanwhile; then the trace has a low CPU priority.

    Raises:
      SandboxError: this machine offers too little isolation.
    """
    self._cancelled, self._tracing = False, True
    self.scratch.mkdir(parents=True, exist_ok=True)
    folder = self.scratch.resolve() / f'{_FOLDER_PREFIX}{os.getpid()}-{secrets.token_hex(4)}'
    _active_folders.add(folder)  # before it exists, so that another client does not remove it
    folder.mkdir(mode=0o700)
    try:
      return self._trace(program, spec, evaluation_batch, folder, out, background)
    finally:
      self._tracing = False
      if self._closed:
        self.close()
      shutil.rmtree(folder, ignore_errors=True)
      _active_folders.discard(folder)

  def kill(self) -> None:
    """Kills the current trace; its result has status `cancelled`."""
    self._cancelled = True
    if self._tracing:
      with contextlib.suppress(_ServerDied):
        self._send({'cancel': True})

  def close(self) -> None:
    """Kills the server and its child, for good. A trace in progress is cancelled."""
    self._closed = True
    with self._lock:
      self._kill_server()
      if not self._tracing:  # otherwise the tracing thread uses the pipes, and closes them
        self._stop_server()

  @property
  def pid(self) -> int | None:
    """The server's process id."""
    return self._server.pid if self._server else None

  def _trace(
    self,
    program: Program,
    spec: Spec,
    evaluation_batch: int,
    folder: pathlib.Path,
    out: pathlib.Path,
    background: bool,
  ) -> TraceResult:
    timeout = self.limits.trace_seconds * (BACKGROUND_TIMEOUT_FACTOR if background else 1)
    program_folder = folder / 'program'
    try:
      program.write(program_folder)
    except (OSError, ValueError) as error:  # an invalid file name, or text that is not Unicode
      if isinstance(error, OSError) and error.errno in MACHINE_ERRNOS:
        raise
      return TraceResult(
        Status.INVALID, f'The program cannot be written to files: {error}.', 0.0, Isolation()
      )
    request = {
      'program': str(program_folder),
      'entry': program.entry,
      'spec': spec,
      'evaluation_batch': evaluation_batch,
      'artifact': str(folder / 'artifact'),
      'log': str(folder / 'log'),
      'policy': self._policy(program_folder),
      'limits': self.limits,
      'timeout_seconds': timeout,
      'niceness': BACKGROUND_NICENESS if background else 0,
    }
    began = time.monotonic()
    killed = False
    try:
      self._wait_until_ready()
      began = time.monotonic()
      self._send({'trace': request})
      reply = self._receive(timeout + GRACE_SECONDS)
      status, reason = Status(reply['status']), reply['reason']
      isolation = msgspec.convert(reply['isolation'], Isolation)
      killed = reply['killed']
    except _ServerDied as error:
      killed = error.killed
      status, reason, isolation = self._server_died(program, error)
    if status == Status.OK:
      status, reason = self._copy_artifact(folder / 'artifact', out, spec, evaluation_batch)
    return TraceResult(status, reason, time.monotonic() - began, isolation, killed)

  def _policy(self, program_folder: pathlib.Path) -> tracer_policy.TracerPolicy:
    return tracer_policy.TracerPolicy(
      level=self.limits.isolation,
      readable=(str(program_folder),),
      hidden=self._hidden,
      cpu_seconds=max(1, round(self.limits.trace_cpu_seconds)),
      memory_bytes=min(self.limits.trace_bytes, tracer_policy.max_memory_bytes()),
      file_bytes=self.limits.artifact_bytes,
    )

  def _server_died(self, program: Program, error: _ServerDied) -> tuple[Status, str, Isolation]:
    """Cleans up after the server; the next trace starts a new one."""
    with self._lock:
      self._stop_server()
    if self._cancelled or self._closed:
      return Status.CANCELLED, 'The trial was cancelled while it was traced.', Isolation()
    return Status.CRASH, f'{program.entry}: {error}', Isolation()

  def _copy_artifact(
    self, source: pathlib.Path, out: pathlib.Path, spec: Spec, evaluation_batch: int
  ) -> tuple[Status, str]:
    """Copies the artifact out of the scratch folder if its header matches the request."""
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), 'rb') as file:
      data = file.read(self.limits.artifact_bytes + 1)
    try:
      header = unpack(data)[0]
      batch = 0 if spec.kind == 'kernel' else evaluation_batch  # which kernels have none of
      if (header.spec, header.evaluation_batch) != (spec, batch):
        reject('it was traced for another problem than requested')
    except ArtifactError as error:
      return Status.INVALID, str(error)
    part = out.with_name(f'{out.name}.part')
    part.write_bytes(data)
    part.replace(out)
    return Status.OK, ''

  def _start_server(self) -> None:
    self._stop_server()
    self.scratch.mkdir(parents=True, exist_ok=True)
    self._ready, self._buffer = False, b''
    with (self.scratch / 'tracer.log').open('wb') as log:
      self._server = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.tracer.server'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=self.scratch,
        env=_environment(),
        start_new_session=True,  # the controller handles Ctrl-C
      )

  def _stop_server(self) -> None:
    """Kills the server, if there is one, and closes its pipes. The lock is held."""
    self._kill_server()
    server, self._server = self._server, None
    if server is None:
      return
    for pipe in (server.stdin, server.stdout):
      with contextlib.suppress(OSError):
        if pipe:
          pipe.close()

  def _kill_server(self) -> None:
    """Kills the server if it runs; its child dies with it. The lock is held."""
    if self._server is not None and self._server.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(self._server.pid, signal.SIGKILL)
      self._server.wait()

  def _wait_until_ready(self) -> None:
    """Waits until the server has started; one that died is restarted once."""
    for attempt in range(2):
      try:
        if self._closed:
          raise _ServerDied('the tracer was closed.')
        self.start()
        if not self._ready:
          self._ready = bool(self._receive(START_TIMEOUT_SECONDS).get('ready'))
        return
      except _ServerDied:
        if attempt or self._cancelled or self._closed:
          raise

  def _send(self, message: dict[str, Any]) -> None:
    server = self._server
    if server is None or server.stdin is None:
      raise _ServerDied('the tracer is not running.')
    try:
      os.write(server.stdin.fileno(), msgspec.json.encode(message) + b'\n')
    except (OSError, ValueError):
      raise _ServerDied('the tracer has exited.') from None

  def _receive(self, timeout: float) -> dict[str, Any]:
    """The server's next message. After a cancellation, the timeout is GRACE_SECONDS at most."""
    timer, deadline = ActiveTimer(), timeout
    while b'\n' not in self._buffer:
      server = self._server
      remaining = deadline - timer.seconds()
      if server is None or server.stdout is None:
        raise _ServerDied('the tracer was killed.')
      if remaining <= 0:
        raise _ServerDied(f'the tracer did not reply within {timeout:g} s and was killed.')
      if self._cancelled:
        deadline = min(deadline, timer.seconds() + GRACE_SECONDS)
      if not select.select([server.stdout], [], [], min(remaining, 0.5))[0]:
        continue
      data = os.read(server.stdout.fileno(), 1 << 16)
      if not data:
        died = _ServerDied(f'the tracer exited without a reply; see {self.scratch}/tracer.log.')
        died.killed = server.wait() == -signal.SIGKILL
        raise died
      self._buffer += data
    line, _, self._buffer = self._buffer.partition(b'\n')
    return msgspec.json.decode(line)


def _remove_stale_folders(scratch: pathlib.Path) -> None:
  """Removes the folders of traces whose controller was killed."""
  for folder in scratch.resolve().glob(f'{_FOLDER_PREFIX}*'):
    owner = folder.name.removeprefix(_FOLDER_PREFIX).partition('-')[0]
    if owner == str(os.getpid()):
      stale = folder not in _active_folders
    else:
      stale = not (owner.isdigit() and pathlib.Path('/proc', owner).exists())
    if stale:
      shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
  """A clean environment: no keys, no variables of the user, one thread, no accelerator."""
  package = pathlib.Path(__file__).resolve().parents[2]
  inherited = [entry for entry in os.environ.get('PYTHONPATH', '').split(os.pathsep) if entry]
  return {
    'PATH': '/usr/bin:/bin',
    'LANG': 'C.UTF-8',
    'HOME': '/nonexistent',
    'JAX_PLATFORMS': 'cpu',
    'JAX_ENABLE_COMPILATION_CACHE': 'false',
    'OPENBLAS_NUM_THREADS': '1',
    'OMP_NUM_THREADS': '1',
    'MALLOC_ARENA_MAX': '4',  # each arena reserves address space, which is limited
    'PYTHONPATH': os.pathsep.join([*inherited, str(package)]),
    'PYTHONUSERBASE': site.getuserbase(),
    'PYTHONSAFEPATH': '1',
    'PYTHONHASHSEED': '0',
    'JAX_TRACEBACK_IN_LOCATIONS_LIMIT': '0',  # no path of this machine in an artifact
    'TF_CPP_MIN_LOG_LEVEL': '2',
    **{name: os.environ[name] for name in ('LD_LIBRARY_PATH',) if name in os.environ},
  }
