"""The controller's side of the tracer: starts the fork server, asks it, replaces it. No jax here.

An executor holds one `Tracer` a slot. Whatever a program does while it is traced, `trace` returns
a status and a sentence; it raises only when tracing can not work at all on this machine.
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

from autoresearch_jax.artifact.header import ArtifactError, refuse, unpack
from autoresearch_jax.clock import Awake
from autoresearch_jax.config import Limits
from autoresearch_jax.messages import OF_THE_MACHINE
from autoresearch_jax.sandbox import tracer
from autoresearch_jax.types import Isolation, Program, Spec, Status

START_SECONDS = 120.0  # importing jax on a busy machine
_FOLDERS = 'trace-'  # of traces, each with the process id of its controller
_going_on: set[pathlib.Path] = set()  # folders of this process's traces
ASIDE_NICENESS = 10  # a tenth of a busy processor; 19 would be too little to get done in time
ASIDE_TIMES = 4.0  # as much wall clock
GRACE_SECONDS = 3.0  # for the server to end a child that is late, before it is ended itself


@dataclasses.dataclass(frozen=True)
class TraceResult:
  """How a trace ended. seconds: wall clock, waiting for the server's start left out.

  killed: its process or the server was, so another attempt may go well.
  """

  status: Status
  reason: str
  seconds: float
  isolation: Isolation
  killed: bool = False


class _ServerGone(Exception):
  """The fork server ended or fell silent. killed: it was ended by a signal."""

  killed = False


class Tracer:
  """One fork server and its traces, one at a time. `kill` may be called from another thread."""

  def __init__(self, limits: Limits, hidden: tuple[pathlib.Path, ...], scratch: pathlib.Path):
    self.limits = limits
    self.scratch = scratch
    self._hidden = tuple(str(path) for path in hidden)
    self._server: subprocess.Popen[bytes] | None = None
    self._ready = False
    self._buffer = b''
    self._lock = threading.Lock()  # over the server, which `kill` may end at any time
    self._tracing = False
    self._cancelled = False
    self._closed = False
    _clear(scratch)

  def check(self) -> Isolation:
    """What isolation the limits will get here. Raises sandbox.SandboxError with what is missing."""
    return tracer.check(self.limits.isolation)

  def start(self) -> None:
    """Starts the server, so that it can import jax meanwhile; `trace` does so too."""
    self.check()
    with self._lock:
      if self._server is None or self._server.poll() is not None:
        self._start()

  def trace(
    self,
    program: Program,
    spec: Spec,
    evaluation_batch: int,
    out: pathlib.Path,
    aside: bool = False,
  ) -> TraceResult:
    """Traces `program` in the sandbox and writes its artifact to `out` when that went well.

    evaluation_batch: rows (examples) that `predict` is exported for. Blocks up to
    limits.trace_seconds. aside: something else has the processors, so the trace makes way for it
    and may take several times as long.
    Raises sandbox.SandboxError when this machine offers too little.
    """
    self._cancelled, self._tracing = False, True
    self.scratch.mkdir(parents=True, exist_ok=True)
    folder = self.scratch.resolve() / f'{_FOLDERS}{os.getpid()}-{secrets.token_hex(4)}'
    _going_on.add(folder)  # first, so that a tracer that starts meanwhile leaves it alone
    folder.mkdir(mode=0o700)
    try:
      return self._trace(program, spec, evaluation_batch, folder, out, aside)
    finally:
      self._tracing = False
      if self._closed:
        self.close()
      shutil.rmtree(folder, ignore_errors=True)
      _going_on.discard(folder)

  def kill(self) -> None:
    """Ends the trace that is going on; its result has status `cancelled`."""
    self._cancelled = True
    if self._tracing:
      with contextlib.suppress(_ServerGone):
        self._send({'cancel': True})

  def close(self) -> None:
    """Ends the server and all it started, for good; a trace that goes on is cancelled."""
    self._closed = True
    with self._lock:
      self._strike()
      if not self._tracing:  # else the pipes are in use in another thread, which will end them
        self._end()

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
    aside: bool,
  ) -> TraceResult:
    seconds = self.limits.trace_seconds * (ASIDE_TIMES if aside else 1)
    home = folder / 'program'
    try:
      program.write(home)
    except (OSError, ValueError) as error:  # a name that is no file name, text that is no text
      if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        raise
      return TraceResult(
        Status.INVALID, f'The program can not be written to files: {error}.', 0.0, Isolation()
      )
    request = {
      'program': str(home),
      'entry': program.entry,
      'spec': spec,
      'evaluation_batch': evaluation_batch,
      'artifact': str(folder / 'artifact'),
      'log': str(folder / 'log'),
      'plan': self._plan(home),
      'seconds': seconds,
      'niceness': ASIDE_NICENESS if aside else 0,
    }
    began = time.monotonic()
    killed = False
    try:
      self._until_ready()
      began = time.monotonic()
      self._send({'trace': request})
      answer = self._answer(seconds + GRACE_SECONDS)
      status, reason = Status(answer['status']), answer['reason']
      isolation = msgspec.convert(answer['isolation'], Isolation)
      killed = answer['killed']
    except _ServerGone as gone:
      killed = gone.killed
      status, reason, isolation = self._gone(program, gone)
    if status == Status.OK:
      status, reason = self._fetch(folder / 'artifact', out, spec, evaluation_batch)
    return TraceResult(status, reason, time.monotonic() - began, isolation, killed)

  def _plan(self, home: pathlib.Path) -> tracer.Plan:
    return tracer.Plan(
      level=self.limits.isolation,
      readable=(str(home),),
      hidden=self._hidden,
      cpu_seconds=max(1, round(self.limits.trace_cpu_seconds)),
      memory_bytes=min(self.limits.trace_bytes, tracer.max_memory()),
      file_bytes=self.limits.artifact_bytes,
    )

  def _gone(self, program: Program, gone: _ServerGone) -> tuple[Status, str, Isolation]:
    """The server did not answer: it is ended here, and the next trace starts a new one."""
    with self._lock:
      self._end()
    if self._cancelled or self._closed:
      return Status.CANCELLED, 'The trial was cancelled while it was traced.', Isolation()
    return Status.CRASH, f'{program.entry}: {gone}', Isolation()

  def _fetch(
    self, made: pathlib.Path, out: pathlib.Path, spec: Spec, evaluation_batch: int
  ) -> tuple[Status, str]:
    """Copies the artifact out of the scratch folder, if it is for what was asked."""
    with os.fdopen(os.open(made, os.O_RDONLY | os.O_NOFOLLOW), 'rb') as source:
      data = source.read(self.limits.artifact_bytes + 1)
    try:
      header = unpack(data)[0]
      if (header.spec, header.evaluation_batch) != (spec, evaluation_batch):
        refuse('it is for another problem than it was asked for')
    except ArtifactError as error:
      return Status.INVALID, str(error)
    part = out.with_name(f'{out.name}.part')
    part.write_bytes(data)
    part.replace(out)
    return Status.OK, ''

  def _start(self) -> None:
    self._end()
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
        start_new_session=True,  # Ctrl-C is the controller's to handle
      )

  def _end(self) -> None:
    """Ends the server, if there is one, and its pipes. The lock is held."""
    self._strike()
    server, self._server = self._server, None
    if server is None:
      return
    for pipe in (server.stdin, server.stdout):
      with contextlib.suppress(OSError):
        if pipe:
          pipe.close()

  def _strike(self) -> None:
    """Kills the server, if it runs; its child dies with it. The lock is held."""
    if self._server is not None and self._server.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(self._server.pid, signal.SIGKILL)
      self._server.wait()

  def _until_ready(self) -> None:
    """Waits for the server's start; a dead one is replaced once."""
    for attempt in range(2):
      try:
        if self._closed:
          raise _ServerGone('the tracer was closed.')
        self.start()
        if not self._ready:
          self._ready = bool(self._answer(START_SECONDS).get('ready'))
        return
      except _ServerGone:
        if attempt or self._cancelled or self._closed:
          raise

  def _send(self, message: dict[str, Any]) -> None:
    server = self._server
    if server is None or server.stdin is None:
      raise _ServerGone('the tracer is not running.')
    try:
      os.write(server.stdin.fileno(), msgspec.json.encode(message) + b'\n')
    except (OSError, ValueError):
      raise _ServerGone('the tracer has ended.') from None

  def _answer(self, seconds: float) -> dict[str, Any]:
    """The server's next line. A cancelled trace is given a moment, then the server is ended."""
    awake, deadline = Awake(), seconds
    while b'\n' not in self._buffer:
      server = self._server
      left = deadline - awake.seconds()
      if server is None or server.stdout is None:
        raise _ServerGone('the tracer was ended.')
      if left <= 0:
        raise _ServerGone(f'the tracer did not answer within {seconds:g} s and was ended.')
      if self._cancelled:
        deadline = min(deadline, awake.seconds() + GRACE_SECONDS)
      if not select.select([server.stdout], [], [], min(left, 0.5))[0]:
        continue
      data = os.read(server.stdout.fileno(), 1 << 16)
      if not data:
        gone = _ServerGone(f'the tracer ended without an answer; see {self.scratch}/tracer.log.')
        gone.killed = server.wait() == -signal.SIGKILL
        raise gone
      self._buffer += data
    line, _, self._buffer = self._buffer.partition(b'\n')
    return msgspec.json.decode(line)


def _clear(scratch: pathlib.Path) -> None:
  """Removes what traces left behind whose controller was killed."""
  for folder in scratch.resolve().glob(f'{_FOLDERS}*'):
    owner = folder.name.removeprefix(_FOLDERS).partition('-')[0]
    if owner == str(os.getpid()):
      left = folder not in _going_on
    else:
      left = not (owner.isdigit() and pathlib.Path('/proc', owner).exists())
    if left:
      shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
  """A clean environment: no keys, nothing of the user's, one thread, and no accelerator."""
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
