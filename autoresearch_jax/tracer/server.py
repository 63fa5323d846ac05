"""The fork server that traces programs: `python -m autoresearch_jax.tracer.server`.

Started by `tracer/client.py`. It imports jax once and starts no backend, so that it stays a
process with one thread which can be forked in milliseconds. Each request, a line of JSON, is
served by a child that shuts itself in (`sandbox.enter`), and only then runs the program's Python.
The server itself never does. It believes nothing that the child says after that: answers are
bounded and typed, and the child's end is what the kernel reports.

It is ready when it has imported what most programs need. While nobody asks, it goes on, in pieces:
the rest of Python's own library, which a child may not be allowed to read, and a rehearsal. A child
that wants the library before that ends with an exit code of its own; the server then imports all
of it and traces again, so that a program never sees how far the server has come.

Requests: {"trace": Request} and {"cancel": true}; answers: {"ready": true}, then one
{"status", "reason", "isolation", "killed"} a trace. The server ends when its input closes.
"""

import gc
import importlib.metadata

if __name__ == '__main__':
  gc.disable()  # an import makes next to no garbage, and looking for it takes a fifth of the time
  # jax reads about each installed distribution whether it is an accelerator's plugin. None is used.
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
import warnings
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import msgspec
from flax import nnx  # noqa: F401

import autoresearch_jax.ops
from autoresearch_jax.clock import STRIDE, Awake
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.sandbox import linux, tracer
from autoresearch_jax.tracer import errors, export
from autoresearch_jax.types import Isolation, Spec, Status

IDLE_SECONDS = 0.1  # without a request: then there is time for what was put off
MAX_ANSWER_BYTES = 64 * 1024
# Not for programs that are traced: what has a screen or a terminal, acts when it is imported, or
# is (or imports) text that the `python` corpus holds out and that should not be in memory.
_NOT_IMPORTED = frozenset(
  """
  antigravity this idlelib tkinter turtle turtledemo test lib2to3 distutils ensurepip venv
  encodings readline rlcompleter curses pydoc_data pty tty
  compileall filecmp ftplib imaplib mailbox modulefinder netrc pickletools poplib sched shelve
  smtplib trace wave xmlrpc""".split()
)
_LIBRARY = sys.stdlib_module_names - _NOT_IMPORTED
_ON_TPUS = 'jax.experimental.pallas.ops.tpu.splash_attention'  # what `ops` import late
_TRACER_FAILED = 70  # exit code of a child whose sandbox could not be closed
_WANTS_LIBRARY = 71  # exit code of a child that wants more of the library than was imported
_MEMORY_WORDS = (b'bad_alloc', b'RESOURCE_EXHAUSTED', b'Cannot allocate memory', b'MemoryError')


class Request(msgspec.Struct, frozen=True):
  """What to trace. program: folder; artifact, log: files to be made; seconds: wall clock.

  niceness: of the trace among other processes, above 0 while a trial trains.
  """

  program: str
  entry: str
  spec: Spec
  evaluation_batch: int
  artifact: str
  log: str
  plan: tracer.Plan
  seconds: float
  niceness: int = 0


class Answer(msgspec.Struct, frozen=True):
  """How the trace ended. killed: by a SIGKILL that did not come from here."""

  status: Status
  reason: str
  isolation: Isolation
  killed: bool = False


class _Said(msgspec.Struct, frozen=True):
  """What a child says of itself, after its program ran: untrusted."""

  ok: bool
  reason: str = ''


class _Attempt(NamedTuple):
  """What a child said, what ended it ('deadline', 'cancel' or ''), its exit code, CPU seconds."""

  said: bytes
  ended_by: str
  code: int
  usage: float


def main() -> None:
  """Serves until standard input closes."""
  answers = os.dup(1)
  os.dup2(2, 1)
  linux.adopt_orphans()
  for module in pkgutil.iter_modules(autoresearch_jax.ops.__path__):
    importlib.import_module(f'autoresearch_jax.ops.{module.name}')
  tracer.shared_libraries()  # found here once, not in every child
  lines, library = _Lines(0), _Library()
  put_off = _put_off(library)
  _say(answers, {'ready': True})
  while (line := _next_line(lines, put_off)) is not None:
    message = msgspec.json.decode(line)
    if 'trace' in message:  # a `cancel` that comes late is for a trace that has ended
      request = msgspec.convert(message['trace'], Request)
      _say(answers, msgspec.to_builtins(_trace(request, lines, library)))


def _next_line(lines: '_Lines', put_off: Iterator[None]) -> bytes | None:
  """The next request, None at the end. Goes on with what was put off until there is one."""
  if not lines.waiting(IDLE_SECONDS):
    for _ in put_off:
      if lines.waiting(0):
        break
  return lines.next()


def _put_off(library: '_Library') -> Iterator[None]:
  """Makes later traces cheaper, one piece a step."""
  while library.left:
    library.import_one()
    yield
  _try_to_import(_ON_TPUS)
  yield
  yield from _rehearse()
  gc.freeze()  # what lives now is never looked at again, and so not copied in a child
  gc.enable()


def _rehearse() -> Iterator[None]:
  """Programs are traced without it too, and the GPT may be what is being worked on."""
  try:
    yield from export.rehearse()
  except Exception:
    _complain()


class _Library:
  """Python's own library, whose files a problem may hide: they may be its data.

  left: names of modules that are still to be imported.
  """

  def __init__(self):
    self.left = sorted((name for name in _LIBRARY if not name.startswith('_')), reverse=True)

  def import_one(self) -> None:
    """Imports the next module, with all that is inside of it."""
    name = self.left.pop()
    _try_to_import(name)
    folders = getattr(sys.modules.get(name), '__path__', ())
    for module in pkgutil.walk_packages(folders, f'{name}.', onerror=lambda _: None):
      if module.name.rpartition('.')[2] not in ('__main__', 'test', 'tests'):
        _try_to_import(module.name)

  def import_all(self) -> None:
    while self.left:
      self.import_one()


class _Unread:
  """Among the finders of `sys.meta_path`: ends a child that wants what the server put off."""

  @staticmethod
  def find_spec(name: str, *_: object) -> None:
    if name.partition('.')[0] in _LIBRARY:
      os._exit(_WANTS_LIBRARY)


def _try_to_import(name: str) -> None:
  with warnings.catch_warnings(action='ignore'), contextlib.suppress(Exception):
    importlib.import_module(name)  # some are for other systems, or were not built


def _trace(request: Request, lines: '_Lines', library: '_Library') -> Answer:
  """Traces what is asked for; once more if the program wanted what was not imported yet."""
  awake = Awake()
  made = _attempt(request, request.seconds, lines, whole=not library.left)
  if made.code == _WANTS_LIBRARY and library.left:
    library.import_all()
    for path in (request.artifact, request.log):
      os.unlink(path)  # noqa: PTH108
    made = _attempt(request, request.seconds - awake.seconds(), lines, whole=True)
  return _judge(request, made)


def _attempt(request: Request, seconds: float, lines: '_Lines', whole: bool) -> _Attempt:
  """Forks a child for the request and waits until nothing of it is left.

  whole: whether all of Python's library is imported.
  """
  reader, writer = os.pipe()
  parent = os.getpid()
  # Made here and not by the child, which may not make files.
  flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
  artifact, log = (os.open(path, flags, 0o600) for path in (request.artifact, request.log))
  sys.stdout.flush()
  sys.stderr.flush()
  child = os.fork()
  if child == 0:
    _child(request, whole, writer, artifact, log, parent)
  for descriptor in (writer, artifact, log):
    os.close(descriptor)
  try:
    said, ended_by = _watch(child, reader, seconds, lines)
  finally:
    os.close(reader)
    code, usage = _end(child)
  return _Attempt(said, ended_by, code, usage)


def _child(
  request: Request, whole: bool, writer: int, artifact: int, log: int, parent: int
) -> NoReturn:
  """Shuts itself in, traces, says how it went. Never returns to the server's code."""
  code = 1
  try:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request.program)
    os.nice(request.niceness)
    sys.dont_write_bytecode = True
    try:
      isolation = tracer.enter(request.plan, (0, 1, 2, writer, artifact), parent)
    except Exception:
      _complain()
      os._exit(_TRACER_FAILED)
    if not whole:
      sys.meta_path.insert(0, _Unread)
    # From here on, nothing that this process says can be believed.
    os.write(writer, msgspec.json.encode(isolation) + b'\n')
    said = _export(request, artifact)
    os.write(writer, msgspec.json.encode(said)[:MAX_ANSWER_BYTES])
    code = 0
  except BaseException:
    _complain()
  finally:
    os._exit(code)


def _export(request: Request, artifact: int) -> _Said:
  directory = pathlib.Path(request.program)
  gc.disable()  # a trace is short, and its garbage dies with the process
  try:
    made = export.export_program(
      directory, request.entry, request.spec, request.evaluation_batch
    ).to_bytes()
    if len(made) > request.plan.file_bytes:
      raise ContractError(
        f'{request.entry}: the traced program has {len(made) / 2**20:.1f} MiB and '
        f'limits.artifact_bytes allows {request.plan.file_bytes / 2**20:g}; compute large '
        'constants inside the functions, or loop with jax.lax.scan.'
      )
    left = memoryview(made)
    while left:
      left = left[os.write(artifact, left) :]
  except BaseException as error:
    _complain()
    if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
      return _Said(False, _memory_sentence(request))
    return _Said(False, errors.sentence(error, directory))
  return _Said(True)


def _complain() -> None:
  """Puts the traceback into the log, if the program left one to write to."""
  with contextlib.suppress(BaseException):
    traceback.print_exc()
    sys.stderr.flush()


def _watch(child: int, reader: int, seconds: float, lines: '_Lines') -> tuple[bytes, str]:
  """Collects what the child says until it ends. Returns it, and 'deadline' or 'cancel' or ''."""
  awake = Awake()
  said = b''
  ended = os.pidfd_open(child)
  waiting = [reader, ended, lines.descriptor]
  try:
    while True:
      left = seconds - awake.seconds()
      ready = select.select(waiting, [], [], min(max(0.0, left), STRIDE))[0]
      if lines.descriptor in ready and _cancelled(lines):
        return said, 'cancel'
      if reader in ready:
        data = os.read(reader, MAX_ANSWER_BYTES)
        said = (said + data)[: 2 * MAX_ANSWER_BYTES]
        if not data:
          waiting.remove(reader)
      elif ended in ready:
        return said, ''
      elif left <= 0:
        return said, 'deadline'
  finally:
    os.close(ended)


def _cancelled(lines: '_Lines') -> bool:
  line = lines.next()
  return line is None or 'cancel' in msgspec.json.decode(line)


def _end(child: int) -> tuple[int, float]:
  """Ends the child and whatever it started. Returns its exit code (or -signal), CPU seconds."""
  for kill in (os.killpg, os.kill):
    with contextlib.suppress(ProcessLookupError, PermissionError):
      kill(child, signal.SIGKILL)
  _, status, usage = os.wait4(child, 0)
  while orphans := tracer.children():  # without seccomp, a program may have forked
    for pid in orphans:
      os.kill(pid, signal.SIGKILL)
      os.waitpid(pid, 0)
  return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _judge(request: Request, made: _Attempt) -> Answer:
  """Status and sentence, from what the child said and how it ended."""
  said, ended_by, code, usage = made
  first, _, rest = said.partition(b'\n')
  killed = not ended_by and code == -signal.SIGKILL
  try:
    isolation = msgspec.json.decode(first, type=Isolation)
  except msgspec.DecodeError:
    if ended_by or killed:  # before it could shut itself in
      status, reason = _outcome(request, b'', ended_by, code, usage)
      return Answer(Status.CRASH if killed else status, reason, Isolation(), killed)
    detail = errors.tidy(_tail(request.log).decode('utf-8', 'replace').strip()[-300:])
    return Answer(
      Status.CRASH, f'The sandbox of the tracer could not be closed: {detail}', Isolation()
    )
  status, reason = _outcome(request, rest, ended_by, code, usage)
  return Answer(status, reason, isolation, killed and status == Status.INVALID)


def _outcome(
  request: Request, said: bytes, ended_by: str, code: int, usage: float
) -> tuple[Status, str]:
  if ended_by == 'cancel':
    return Status.CANCELLED, 'The trial was cancelled while it was traced.'
  if ended_by == 'deadline':
    return Status.TIMEOUT, (
      f'{request.entry}: tracing took longer than the {request.seconds:g} s that '
      'limits.trace_seconds allows; look for an endless loop, or use jax.lax loops.'
    )
  limit = request.plan.cpu_seconds
  if code == -signal.SIGXCPU or (code == -signal.SIGKILL and usage >= limit - 1):
    return Status.TIMEOUT, (
      f'{request.entry}: tracing used more than the {limit} s of processor time that '
      'limits.trace_cpu_seconds allows; look for an endless loop, or use jax.lax loops.'
    )
  if said and code == 0:
    try:
      told = msgspec.json.decode(said, type=_Said)
      return (Status.OK, '') if told.ok else (Status.INVALID, errors.tidy(told.reason))
    except msgspec.DecodeError:
      return Status.INVALID, f'{request.entry}: the program disturbed the tracer; remove that.'
  return Status.INVALID, _abrupt(request, code)


def _abrupt(request: Request, code: int) -> str:
  """The sentence for a child that ended without saying how it went."""
  if code >= 0:
    return (
      f"{request.entry}: the program ended the tracer's process with exit code {code}; "
      'remove the exit.'
    )
  if code == -signal.SIGABRT and any(word in _tail(request.log) for word in _MEMORY_WORDS):
    return _memory_sentence(request)
  name = signal.Signals(-code).name
  return f"{request.entry}: the program crashed the tracer's process with {name}."


def _memory_sentence(request: Request) -> str:
  return f'{request.entry}: {errors.out_of_memory(request.plan.memory_bytes / 2**30)}.'


def _tail(log: str) -> bytes:
  with open(log, 'rb') as file:  # noqa: PTH123
    file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
    return file.read()


def _say(descriptor: int, message: object) -> None:
  left = memoryview(msgspec.json.encode(message) + b'\n')
  while left:
    left = left[os.write(descriptor, left) :]


class _Lines:
  """Lines of a file descriptor, without a buffer that `select` can not see for long."""

  def __init__(self, descriptor: int):
    self.descriptor = descriptor
    self._buffer = b''

  def waiting(self, seconds: float) -> bool:
    """Whether something can be read, now or within so many seconds."""
    return bool(self._buffer or select.select([self.descriptor], [], [], seconds)[0])

  def next(self) -> bytes | None:
    """The next line, None at the end."""
    while b'\n' not in self._buffer:
      data = os.read(self.descriptor, 1 << 16)
      if not data:
        return None
      self._buffer += data
    line, _, self._buffer = self._buffer.partition(b'\n')
    return line


if __name__ == '__main__':
  main()
