"""Error messages for exceptions of a traced program: file, line, what happened, what to do."""

import errno
import pathlib
import re
import traceback

from autoresearch_jax.programs.contract import ContractError

MAX_CHARACTERS = 500
# Errors of the sandbox: files, system calls, read-only file systems, sockets.
_SANDBOX_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENETDOWN)


def describe(error: BaseException, directory: pathlib.Path) -> str:
  """The reason of a trial whose program raised `error` while it was traced.

  Args:
    error: The exception.
    directory: Folder with the program's files.
  """
  if isinstance(error, ContractError):
    return one_line(str(error))
  return one_line(f'{_location(error, directory)}: {_explanation(error)}')


def one_line(text: str) -> str:
  """The text as one line of at most MAX_CHARACTERS printable characters, with a full stop."""
  text = ''.join(c if c.isprintable() else ' ' for c in text)
  text = re.sub(r' +', ' ', text).strip()
  if len(text) > MAX_CHARACTERS:
    text = text[: MAX_CHARACTERS - 4].rstrip() + ' ...'
  return text if text.endswith(('.', '!', '?', '...')) else f'{text}.'


def out_of_memory(gibibytes: float) -> str:
  """The reason of a trial whose trace exceeded its memory limit."""
  return (
    f'tracing exceeded its memory limit of {gibibytes:g} GiB (limits.trace_bytes, at most three '
    "quarters of the machine's memory); create no large arrays outside of traced functions"
  )


def _explanation(error: BaseException) -> str:
  if isinstance(error, OSError) and error.errno in _SANDBOX_ERRORS:
    return _sandbox_error(error)
  match error:
    case SystemExit():
      what = f"the program ended the tracer's process with exit code {error.code or 0}"
      todo = 'remove the exit'
    case SyntaxError():
      what, todo = f'{type(error).__name__}: {error.msg}', 'correct the syntax'
    case RecursionError():
      what, todo = 'RecursionError: a function calls itself endlessly', 'bound the recursion'
    case ModuleNotFoundError():
      what, todo = error.msg, 'import an installed module or a file of the program'
    case _:
      return f'{type(error).__name__}: {_message(error)}'
  return f'{what}; {todo}'


def _sandbox_error(error: OSError) -> str:
  if error.errno == errno.ENETDOWN:
    what = 'a network socket'
  elif error.filename is not None:
    what = f'access to {str(error.filename)!r:.120}'
  else:
    what = f'a system call ({error.strerror or error})'
  return (
    f'the sandbox refused {what}; a program may not use the network, start processes, write '
    'files, or read files other than its own'
  )


def _message(error: BaseException) -> str:
  text = str(error).split('\n-----')[0]  # jax appends a note about its tracebacks
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  return ' '.join(lines[:6]) or 'no message'


def _location(error: BaseException, directory: pathlib.Path) -> str:
  """File and line of the program's innermost frame in the traceback."""
  if isinstance(error, SyntaxError) and error.filename:
    path = _relative(error.filename, directory)
    if path:
      return f'{path}:{error.lineno}'
  for frame in reversed(traceback.extract_tb(error.__traceback__)):
    path = _relative(frame.filename, directory)
    if path:
      return f'{path}:{frame.lineno}'
  return 'The program'


def _relative(filename: str, directory: pathlib.Path) -> str:
  """The path of a file relative to the program's folder; '' when it is elsewhere."""
  path = pathlib.Path(filename)
  return str(path.relative_to(directory)) if path.is_relative_to(directory) else ''
