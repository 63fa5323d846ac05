"""The fork server that traces programs: `python -m autoresearch_jax.tracer.server`.

Started by `client`. It imports jax once and starts no backend, so it remains a process with one
thread that forks in milliseconds. Each request is served by a forked child, which enters the
sandbox (`tracer_policy.enter`) and only then runs the program's Python. The server itself never
runs any. It trusts nothing that the child reports after entering: replies are bounded and typed,
and how the child ended is taken from the kernel.

The server is ready once it has imported what most programs need. While it is idle, `preload`
continues in small steps: it imports the rest of the standard library, whose files a child may not
be allowed to read, and warms up jax. A child that imports a standard module before that exits with
NEEDS_STDLIB. The server then imports the whole standard library and traces again, so the outcome of
a trace does not depend on how far the server has come.

Protocol, JSON lines. Requests: {"trace": TraceRequest} and {"cancel": true}. Replies:
{"ready": true} after the start, then one TraceReply for each trace. The server exits when its
stdin closes.
"""

import gc
import importlib.metadata

if __name__ == '__main__':
  gc.disable()  # imports create almost no garbage, and collecting would take a fifth of the time
  # jax asks each installed distribution for accelerator plugins; none is used here.
  _distributions = importlib.metadata.distributions
  importlib.metadata.distributions = lambda **_: iter(())
  import jax  # noqa: F401

  importlib.metadata.distributions = _distributions

import contextlib
import importlib
import os
import pathlib
import pkgutil
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import msgspec
from flax import nnx  # noqa: F401

import autoresearch_jax.ops
from autoresearch_jax.artifact.kernel import KernelArtifact
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.clock import POLL_SECONDS, ActiveTimer
from autoresearch_jax.config import Limits
from autoresearch_jax.sandbox import linux, tracer_policy
from autoresearch_jax.tracer import errors, export
from autoresearch_jax.tracer.preload import (
  NEEDS_STDLIB,
  ExitOnMissingStdlib,
  StandardLibrary,
  preload,
)
from autoresearch_jax.types import Isolation, Spec, Status

IDLE_SECONDS = 0.1  # without a request, before the deferred warm-up continues
MAX_REPLY_BYTES = 64 * 1024
_SANDBOX_FAILED = 70  # exit code of a child that could not enter the sandbox
_MEMORY_ERRORS = (b'bad_alloc', b'RESOURCE_EXHAUSTED', b'Cannot allocate memory', b'MemoryError')


class TraceRequest(msgspec.Struct, frozen=True):
  """A program to trace.

  Attributes:
    program: Folder with the program's files.
    entry: Name of its entry file.
    spec: The problem that it is traced for.
    evaluation_batch: Rows (examples) of the batch that `predict` is exported for.
    artifact: Path to write the artifact to; must not exist.
    log: Path for the child's stdout and stderr; must not exist.
    policy: Permissions and limits of the child.
    limits: Limits of the artifact.
    timeout_seconds: Wall-clock limit.
    niceness: Of the child; above 0 while a trial trains.
  """

  program: str
  entry: str
  spec: Spec
  evaluation_batch: int
  artifact: str
  log: str
  policy: tracer_policy.TracerPolicy
  limits: Limits
  timeout_seconds: float
  niceness: int = 0


class TraceReply(msgspec.Struct, frozen=True):
  """How a trace ended.

  Attributes:
    status: `ok`, or why there is no artifact.
    reason: Error message, '' when ok.
    isolation: What the sandbox enforced.
    killed: Whether the child was killed by a SIGKILL that the server did not send.
  """

  status: Status
  reason: str
  isolation: Isolation
  killed: bool = False


class _ChildReport(msgspec.Struct, frozen=True):
  """What a child reports after it ran the program; not trusted."""

  ok: bool
  reason: str = ''


class _ChildRun(NamedTuple):
  """One run of a child.

  Attributes:
    output: What it wrote to its pipe: its isolation, a newline, its report.
    stopped_by: 'timeout' or 'cancel' if the server killed it, else ''.
    exit_code: Exit status, or minus the number of the signal that killed it.
    cpu_seconds: CPU time that it used.
  """

  output: bytes
  stopped_by: str
  exit_code: int
  cpu_seconds: float


def main() -> None:
  """Serves requests until stdin closes."""
  replies = os.dup(1)
  os.dup2(2, 1)
  linux.adopt_orphans()
  for module in pkgutil.iter_modules(autoresearch_jax.ops.__path__):
    importlib.import_module(f'autoresearch_jax.ops.{module.name}')
  tracer_policy.shared_libraries()  # cached here, so that children need not search for them
  tracer_policy.library_links()
  requests, stdlib = _LineReader(0), StandardLibrary()
  deferred = preload(stdlib)
  _send(replies, {'ready': True})
  while (line := _next_request(requests, deferred)) is not None:
    message = msgspec.json.decode(line)
    if 'trace' in message:  # ignores a `cancel` that arrives after its trace has ended
      request = msgspec.convert(message['trace'], TraceRequest)
      _send(replies, msgspec.to_builtins(_trace(request, requests, stdlib)))


def _next_request(requests: '_LineReader', deferred: Iterator[None]) -> bytes | None:
  """The next request, None at the end of input. Runs the deferred warm-up while idle."""
  if not requests.wait(IDLE_SECONDS):
    for _ in deferred:
      if requests.wait(0):
        break
  return requests.next()


def _trace(request: TraceRequest, requests: '_LineReader', stdlib: StandardLibrary) -> TraceReply:
  """Traces a program; a second time if it needs a standard module that was not imported yet."""
  timer = ActiveTimer()
  complete = not stdlib.remaining
  run = _run_child(request, request.timeout_seconds, requests, stdlib_imported=complete)
  if run.exit_code == NEEDS_STDLIB and stdlib.remaining:
    stdlib.import_all()
    for path in (request.artifact, request.log):
      os.unlink(path)  # noqa: PTH108
    remaining = request.timeout_seconds - timer.seconds()
    run = _run_child(request, remaining, requests, stdlib_imported=True)
  return _reply(request, run)


def _run_child(
  request: TraceRequest, timeout: float, requests: '_LineReader', stdlib_imported: bool
) -> _ChildRun:
  """Forks a child for the request and waits until it and its descendants have ended."""
  reader, writer = os.pipe()
  parent = os.getpid()
  # Created here: the child is not allowed to create files.
  flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
  artifact, log = (os.open(path, flags, 0o600) for path in (request.artifact, request.log))
  sys.stdout.flush()
  sys.stderr.flush()
  child = os.fork()
  if child == 0:
    _child(request, stdlib_imported, writer, artifact, log, parent)
  for descriptor in (writer, artifact, log):
    os.close(descriptor)
  try:
    output, stopped_by = _wait_for_child(child, reader, timeout, requests)
  finally:
    os.close(reader)
    exit_code, cpu_seconds = _kill_child(child)
  return _ChildRun(output, stopped_by, exit_code, cpu_seconds)


def _child(
  request: TraceRequest, stdlib_imported: bool, writer: int, artifact: int, log: int, parent: int
) -> NoReturn:
  """The child: enters the sandbox, traces, reports. Never returns to the server's code."""
  code = 1
  try:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request.program)
    os.nice(request.niceness)
    sys.dont_write_bytecode = True
    try:
      isolation = tracer_policy.enter(request.policy, (0, 1, 2, writer, artifact), parent)
    except Exception:
      _log_traceback()
      os._exit(_SANDBOX_FAILED)
    if not stdlib_imported:
      sys.meta_path.insert(0, ExitOnMissingStdlib)
    # From here on, nothing that this process reports can be trusted.
    os.write(writer, msgspec.json.encode(isolation) + b'\n')
    report = _export(request, artifact)
    os.write(writer, msgspec.json.encode(report)[:MAX_REPLY_BYTES])
    code = 0
  except BaseException:
    _log_traceback()
  finally:
    os._exit(code)


def _export(request: TraceRequest, artifact: int) -> _ChildReport:
  """Exports the program and writes its artifact to a file descriptor."""
  directory = pathlib.Path(request.program)
  gc.disable()  # a trace is short, and its garbage dies with the process
  try:
    data = _exported(request, directory).to_bytes()
    rest = memoryview(data)
    while rest:
      rest = rest[os.write(artifact, rest) :]
  except BaseException as error:
    _log_traceback()
    if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
      return _ChildReport(False, _out_of_memory(request))
    return _ChildReport(False, errors.describe(error, directory))
  return _ChildReport(True)


def _exported(request: TraceRequest, directory: pathlib.Path) -> Artifact | KernelArtifact:
  if request.spec.kind == 'kernel':
    return export.export_kernel(directory, request.entry, request.spec, request.limits)
  return export.export_program(
    directory, request.entry, request.spec, request.evaluation_batch, request.limits
  )


def _log_traceback() -> None:
  """Writes the traceback to the log, unless the program has closed it."""
  with contextlib.suppress(BaseException):
    traceback.print_exc()
    sys.stderr.flush()


def _wait_for_child(
  child: int, reader: int, timeout: float, requests: '_LineReader'
) -> tuple[bytes, str]:
  """Collects the child's output until it ends, is cancelled or times out.

  Returns:
    The output, and 'timeout', 'cancel' or ''.
  """
  timer = ActiveTimer()
  output = b''
  ended = os.pidfd_open(child)
  descriptors = [reader, ended, requests.descriptor]
  try:
    while True:
      remaining = timeout - timer.seconds()
      readable = select.select(descriptors, [], [], min(max(0.0, remaining), POLL_SECONDS))[0]
      if requests.descriptor in readable and _is_cancelled(requests):
        return output, 'cancel'
      if reader in readable:
        data = os.read(reader, MAX_REPLY_BYTES)
        output = (output + data)[: 2 * MAX_REPLY_BYTES]
        if not data:
          descriptors.remove(reader)
      elif ended in readable:
        return output, ''
      elif remaining <= 0:
        return output, 'timeout'
  finally:
    os.close(ended)


def _is_cancelled(requests: '_LineReader') -> bool:
  line = requests.next()
  return line is None or 'cancel' in msgspec.json.decode(line)


def _kill_child(child: int) -> tuple[int, float]:
  """Kills the child and its descendants. Returns its exit code (or -signal) and CPU seconds."""
  for kill in (os.killpg, os.kill):
    with contextlib.suppress(ProcessLookupError, PermissionError):
      kill(child, signal.SIGKILL)
  _, status, usage = os.wait4(child, 0)
  while orphans := tracer_policy.children():  # without seccomp, a program may have forked
    for pid in orphans:
      os.kill(pid, signal.SIGKILL)
      os.waitpid(pid, 0)
  return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _reply(request: TraceRequest, run: _ChildRun) -> TraceReply:
  """Status and reason, from the child's output and how it ended."""
  first, _, report = run.output.partition(b'\n')
  killed = not run.stopped_by and run.exit_code == -signal.SIGKILL
  try:
    isolation = msgspec.json.decode(first, type=Isolation)
  except msgspec.DecodeError:
    if run.stopped_by or killed:  # before it had entered the sandbox
      status, reason = _outcome(request, run, b'')
      return TraceReply(Status.CRASH if killed else status, reason, Isolation(), killed)
    detail = errors.one_line(_tail(request.log).decode('utf-8', 'replace').strip()[-300:])
    return TraceReply(
      Status.CRASH, f'The tracer could not enter its sandbox: {detail}', Isolation()
    )
  status, reason = _outcome(request, run, report)
  return TraceReply(status, reason, isolation, killed and status == Status.INVALID)


def _outcome(request: TraceRequest, run: _ChildRun, report: bytes) -> tuple[Status, str]:
  if run.stopped_by == 'cancel':
    return Status.CANCELLED, 'The trial was cancelled while it was traced.'
  if run.stopped_by == 'timeout':
    return Status.TIMEOUT, (
      f'{request.entry}: tracing exceeded the timeout of {request.timeout_seconds:g} s '
      '(limits.trace_seconds); look for an endless loop, or use jax.lax loops.'
    )
  limit = request.policy.cpu_seconds
  out_of_cpu = run.exit_code == -signal.SIGKILL and run.cpu_seconds >= limit - 1
  if run.exit_code == -signal.SIGXCPU or out_of_cpu:
    return Status.TIMEOUT, (
      f'{request.entry}: tracing used more than {limit} s of CPU time '
      '(limits.trace_cpu_seconds); look for an endless loop, or use jax.lax loops.'
    )
  if report and run.exit_code == 0:
    try:
      decoded = msgspec.json.decode(report, type=_ChildReport)
    except msgspec.DecodeError:
      return Status.INVALID, (
        f"{request.entry}: the program wrote to the tracer's pipe; remove that."
      )
    return (Status.OK, '') if decoded.ok else (Status.INVALID, errors.one_line(decoded.reason))
  return Status.INVALID, _crash_reason(request, run.exit_code)


def _crash_reason(request: TraceRequest, exit_code: int) -> str:
  """The reason for a child that ended without a report."""
  if exit_code >= 0:
    return (
      f"{request.entry}: the program ended the tracer's process with exit code {exit_code}; "
      'remove the exit.'
    )
  if exit_code == -signal.SIGABRT and any(w in _tail(request.log) for w in _MEMORY_ERRORS):
    return _out_of_memory(request)
  name = signal.Signals(-exit_code).name
  return f"{request.entry}: the program crashed the tracer's process with {name}."


def _out_of_memory(request: TraceRequest) -> str:
  return f'{request.entry}: {errors.out_of_memory(request.policy.memory_bytes / 2**30)}.'


def _tail(log: str) -> bytes:
  with open(log, 'rb') as file:  # noqa: PTH123
    file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
    return file.read()


def _send(descriptor: int, message: object) -> None:
  rest = memoryview(msgspec.json.encode(message) + b'\n')
  while rest:
    rest = rest[os.write(descriptor, rest) :]


class _LineReader:
  """Reads lines from a file descriptor that is also used with `select`."""

  def __init__(self, descriptor: int):
    self.descriptor = descriptor
    self._buffer = b''

  def wait(self, timeout: float) -> bool:
    """Whether input is available now or within `timeout` seconds."""
    return bool(self._buffer or select.select([self.descriptor], [], [], timeout)[0])

  def next(self) -> bytes | None:
    """The next line, None at the end of input."""
    while b'\n' not in self._buffer:
      data = os.read(self.descriptor, 1 << 16)
      if not data:
        return None
      self._buffer += data
    line, _, self._buffer = self._buffer.partition(b'\n')
    return line


if __name__ == '__main__':
  main()
