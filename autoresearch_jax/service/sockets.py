"""The Unix socket of a run's service: one JSON line for a request, one for the answer.

{"check": Program}   a `CheckReport`
{"stop": true}       {}, and the session ends, so that another command can use the run's folder
"""

import contextlib
import os
import pathlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from autoresearch_jax.types import to_json

SOCKET = 'service.sock'
MAX_LINE = 16 * 2**20  # bytes

Answer = Callable[[dict[str, Any]], object]


class _Handler(socketserver.StreamRequestHandler):
  answer: Answer

  def handle(self) -> None:
    with contextlib.suppress(OSError):  # the client is gone
      line = self.rfile.readline(MAX_LINE)
      try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        reply = self.answer(request)
      except (msgspec.MsgspecError, ValueError) as error:
        reply = {'error': str(error)}
      self.wfile.write(to_json(reply) + b'\n')


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
  daemon_threads = True


@contextlib.contextmanager
def answering(directory: pathlib.Path, answer: Answer) -> Iterator[None]:
  """Answers requests at a run's socket, in threads, until the context ends.

  Args:
    directory: The run's folder, whose lock this process holds.
    answer: Returns what to answer, or raises ValueError with a sentence. Called by any thread.
  """
  path = directory / SOCKET
  handler = type('_AnsweringHandler', (_Handler,), {'answer': staticmethod(answer)})
  with contextlib.ExitStack() as stack:
    short = stack.enter_context(_short(path))
    try:
      path.unlink(missing_ok=True)  # of a process that was killed
      server = stack.enter_context(_Server(short, handler))
      path.chmod(0o600)
      own = path.stat().st_ino
    except OSError:  # a file system without sockets: checks are then slow, and that is all
      yield
      return
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name='service', daemon=True)
    thread.start()
    try:
      yield
    finally:
      server.shutdown()
      thread.join()
      with contextlib.suppress(OSError):
        if path.stat().st_ino == own:  # not that of a later run in a folder of the same name
          path.unlink()


def ask(directory: pathlib.Path, request: dict[str, Any], timeout: float) -> bytes | None:
  """Sends a request to a run's service and returns the answer's line; None if there is no service.

  Args:
    directory: The run's folder.
    request: The request.
    timeout: Seconds to wait for the answer.

  Raises:
    OSError: There is no answer in time.
  """
  with _short(directory / SOCKET) as short, socket.socket(socket.AF_UNIX) as client:
    client.settimeout(timeout)
    try:
      client.connect(short)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
      return None
    client.sendall(to_json(request) + b'\n')
    with client.makefile('rb') as answer:
      return answer.readline() or None


@contextlib.contextmanager
def _short(path: pathlib.Path) -> Iterator[str]:
  """Gives a path of any length a short name, since addresses of sockets have 107 bytes at most."""
  try:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
  except OSError:  # the folder does not exist
    yield str(path)[:100]
    return
  try:
    yield f'/proc/self/fd/{folder}/{path.name}'
  finally:
    os.close(folder)
