"""What all commands share as processes: output that cannot fail on a character, quiet endings.

Imports only the standard library, so that a Ctrl-C during the imports of a command finds it ready.
"""

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit codes: 128 + the signal's number


def run_module(module: str, arguments: Sequence[str]) -> int:
  """Imports a module and calls its `main` with the arguments; returns its exit code."""

  def call() -> int:
    with _quiet_interrupt():
      main = importlib.import_module(module).main
    return main([_as_utf8(argument) for argument in arguments])

  return guarded(call)


def guarded(call: Callable[[], int]) -> int:
  """Calls the body of a command; returns its exit code.

  Characters that a stream cannot encode are replaced. Ctrl-C, and a closed pipe such as that of
  `| head`, end the process without a message.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='replace')
  try:
    code = call()
    if sys.stdout is not None:
      sys.stdout.flush()
    return code
  except KeyboardInterrupt:
    return INTERRUPTED
  except BrokenPipeError:
    _discard_output()
    return BROKEN_PIPE


@contextlib.contextmanager
def _quiet_interrupt() -> Iterator[None]:
  """Makes Ctrl-C end the process at once; imports would report it with a traceback."""
  ours = threading.current_thread() is threading.main_thread()
  if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    yield
    return
  signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _as_utf8(argument: str) -> str:
  """Returns an argument as UTF-8 text, also where the locale is ASCII."""
  with contextlib.suppress(UnicodeError):
    return os.fsencode(argument).decode()
  return argument


def _discard_output() -> None:
  """Sends what is still buffered nowhere, or Python would report the closed pipe at its end."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError, AttributeError):
      os.dup2(nowhere, stream.fileno())
  os.close(nowhere)
