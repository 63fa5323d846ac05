"""The fork server of candidate strategies: `python -m autoresearch_jax.meta.server SOCKET`.

It never holds an instance, an optimum or a score: the process that plays starts it anew and passes
it program folders and pipes alone. For each start it forks a child, which enters the tracer's
sandbox and only then runs the candidate's Python.

Protocol, JSON messages on a socket with the file descriptor SOCKET. Requests: {"start": ...} with
two pipes, answered by {"pid": n}; {"end": pid}, answered by {"exit_code": n}. The child reads one
call a line from its first pipe and writes one reply a line to the second; its first line is its
isolation, and the first call only starts the import. Nothing that comes from a child is trusted.
"""

import contextlib
import os
import pathlib
import signal
import socket
import sys
from types import ModuleType
from typing import Any, NoReturn

import msgspec
import numpy as np

from autoresearch_jax.sandbox import linux, tracer_policy
from autoresearch_jax.tracer import errors, importing
from autoresearch_jax.types import Objective, Trial

MAX_MESSAGE_BYTES = 64 * 1024  # on the socket
FUNCTIONS = ('init', 'ask', 'tell')


class StartRequest(msgspec.Struct, frozen=True):
  """A candidate to start.

  Attributes:
    program: Folder with its files.
    entry: Name of its entry file.
    policy: Permissions and limits of the child.
  """

  program: str
  entry: str
  policy: tracer_policy.TracerPolicy


class Call(msgspec.Struct, frozen=True):
  """A call of one of the strategy's functions.

  Attributes:
    function: Its name.
    state: JSON of the state; unused by `init`.
    objective: Argument of `init`.
    entropy: Seed of the generator that `ask` gets.
    trial: Argument of `tell`.
  """

  function: str
  state: msgspec.Raw = msgspec.Raw(b'null')
  objective: Objective | None = None
  entropy: tuple[int, ...] = ()
  trial: Trial | None = None


def main() -> None:
  """Serves requests until the socket closes."""
  connection = socket.socket(fileno=int(sys.argv[1]))
  tracer_policy.shared_libraries()  # cached here, so that children need not search for them
  tracer_policy.library_links()
  while True:
    data, pipes, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 2)
    if not data:
      return
    message = msgspec.json.decode(data)
    if 'start' in message:
      request = msgspec.convert(message['start'], StartRequest)
      reply = {'pid': _start(request, *pipes)}
      for pipe in pipes:
        os.close(pipe)
    else:
      reply = {'exit_code': _end(message['end'])}
    connection.send(msgspec.json.encode(reply))


def _start(request: StartRequest, calls: int, replies: int) -> int:
  parent = os.getpid()
  child = os.fork()
  if child == 0:
    _child(request, calls, replies, parent)
  return child


def _end(child: int) -> int:
  """Kills a child unless it has ended; returns its exit status, or minus the signal's number."""
  for kill in (os.killpg, os.kill):
    with contextlib.suppress(ProcessLookupError, PermissionError):
      kill(child, signal.SIGKILL)
  _, status = os.waitpid(child, 0)
  return os.waitstatus_to_exitcode(status)


def _child(request: StartRequest, calls: int, replies: int, parent: int) -> NoReturn:
  """The child: enters the sandbox and answers calls. Never returns to the server's code."""
  try:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
      os.dup2(null, descriptor)
    os.chdir(request.program)
    sys.dont_write_bytecode = True
    isolation = tracer_policy.enter(request.policy, (0, 1, 2, calls, replies), parent)
  except Exception as error:
    _write(replies, {'sandbox': errors.one_line(str(error))})
    os._exit(1)
  try:
    # From here on, nothing that this process writes can be trusted.
    _write(replies, {'isolation': isolation})
    _serve(request, calls, replies)
  finally:
    os._exit(0)


def _serve(request: StartRequest, calls: int, replies: int) -> None:
  folder = pathlib.Path(request.program)
  decoder = msgspec.json.Decoder(Call)
  lines = os.fdopen(calls, 'rb')
  lines.readline()  # until the isolation was read
  try:
    module = importing.import_entry(folder, request.entry)
    if missing := [name for name in FUNCTIONS if not callable(getattr(module, name, None))]:
      raise LookupError(missing[0])
  except LookupError as error:
    _write(replies, {'error': f'{request.entry}: there is no function {error.args[0]}; define it.'})
    return
  except BaseException as error:
    _write(replies, {'error': _described(error, request, folder)})
    return
  _write(replies, {})
  for line in lines:
    try:
      reply = _answer(module, decoder.decode(line))
    except BaseException as error:
      reply = {'error': _described(error, request, folder)}
    _write(replies, reply)


def _described(error: BaseException, request: StartRequest, folder: pathlib.Path) -> str:
  if isinstance(error, MemoryError):
    limit = request.policy.memory_bytes / 2**30
    return f'{request.entry}: the strategy needs more than {limit:g} GiB of memory; keep less.'
  return errors.describe(error, folder)


def _answer(module: ModuleType, call: Call) -> dict[str, Any]:
  state = msgspec.json.decode(call.state)
  match call.function:
    case 'init':
      return {'state': module.init(call.objective)}
    case 'ask':
      answer = module.ask(state, np.random.default_rng(call.entropy))
      if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError('ask must return a pair: the Proposal and the new state')
      return {'proposal': answer[0], 'state': answer[1]}
    case _:
      return {'state': module.tell(state, call.trial)}


def _write(descriptor: int, message: object) -> None:
  rest = memoryview(msgspec.json.encode(message) + b'\n')
  while rest:
    rest = rest[os.write(descriptor, rest) :]


if __name__ == '__main__':
  linux.adopt_orphans()
  main()
