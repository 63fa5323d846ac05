"""One sentence for whoever wrote the program: the file, the line, what happened, what to do."""

import errno
import pathlib
import re
import traceback

from autoresearch_jax.programs.contract import ContractError

MAX_CHARACTERS = 500
# What the sandbox answers: files, system calls, read-only file systems, sockets.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENETDOWN)


def sentence(error: BaseException, directory: pathlib.Path) -> str:
  """What `error`, raised while the program in `directory` was traced, means to its author."""
  if isinstance(error, ContractError):
    return tidy(str(error))
  place = _place(error, directory)
  return tidy(f'{place}: {_what(error)}')


def tidy(text: str) -> str:
  """One line of printable characters, not too long, that ends with a full stop."""
  text = ''.join(c if c.isprintable() else ' ' for c in text)
  text = re.sub(r' +', ' ', text).strip()
  if len(text) > MAX_CHARACTERS:
    text = text[: MAX_CHARACTERS - 4].rstrip() + ' ...'
  return text if text.endswith(('.', '!', '?', '...')) else f'{text}.'


def out_of_memory(gibibytes: float) -> str:
  return (
    f'tracing needed more than the {gibibytes:g} GiB of memory that limits.trace_bytes allows '
    '(at most three quarters of what the machine has); '
    'make no large arrays outside of traced functions'
  )


def _what(error: BaseException) -> str:
  if isinstance(error, OSError) and error.errno in _REFUSALS:
    return _refused(error)
  match error:
    case SystemExit():
      what = f"the program ended the tracer's process with exit code {error.code or 0}"
      todo = 'remove the exit'
    case SyntaxError():
      what, todo = f'{type(error).__name__}: {error.msg}', 'correct the syntax'
    case RecursionError():
      what, todo = 'RecursionError: a function calls itself without end', 'give it an end'
    case ModuleNotFoundError():
      what, todo = error.msg, 'import what is installed or a file of the program'
    case _:
      return f'{type(error).__name__}: {_message(error)}'
  return f'{what}; {todo}'


def _refused(error: OSError) -> str:
  if error.errno == errno.ENETDOWN:
    what = 'a network socket'
  elif error.filename is not None:
    what = f'access to {str(error.filename)!r:.120}'
  else:
    what = f'a system call ({error.strerror or error})'
  return (
    f'the sandbox refused {what}; a program may not use the network, start processes, write '
    'files, or read any but its own'
  )


def _message(error: BaseException) -> str:
  text = str(error).split('\n-----')[0]  # jax appends a note on its tracebacks
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  return ' '.join(lines[:6]) or 'without a message'


def _place(error: BaseException, directory: pathlib.Path) -> str:
  """The innermost line of the program that led to the error."""
  if isinstance(error, SyntaxError) and error.filename:
    inside = _inside(error.filename, directory)
    if inside:
      return f'{inside}:{error.lineno}'
  for frame in reversed(traceback.extract_tb(error.__traceback__)):
    inside = _inside(frame.filename, directory)
    if inside:
      return f'{inside}:{frame.lineno}'
  return 'The program'


def _inside(filename: str, directory: pathlib.Path) -> str:
  path = pathlib.Path(filename)
  return str(path.relative_to(directory)) if path.is_relative_to(directory) else ''
