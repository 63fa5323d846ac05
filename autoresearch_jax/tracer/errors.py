"""Error messages for exceptions of a traced program: file, line, what happened, what to do."""

import errno
import pathlib
import re
import traceback

from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.tracer.importing import PACKAGE

MAX_CHARACTERS = 500
MAX_HEAD = 220  # characters of a long message before what is cut out of it
_CUT = ' ... '
# Where jax was tracing: in this library, with arguments that a program's author does not know.
_JAX_CONTEXT = re.compile(
  r'The error occurred while tracing the function .*? for jit\. ?'
  r'|This (concrete )?value was not available in Python because it depends on the values? of the '
  r'arguments? .*?\. '
  r'|See https://docs\.jax\.dev/en/latest/errors\.html#\S+'
)
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
  explanation = _explanation(error, directory)
  for ours in (f'{directory}/', f'{PACKAGE}.'):  # which the author of the program does not know
    explanation = explanation.replace(ours, '')
  return one_line(f'{_location(error, directory)}: {explanation}')


def one_line(text: str) -> str:
  """The text as one line of at most MAX_CHARACTERS printable characters, with a full stop.

  What is too long loses its middle: libraries end their messages with what to do.
  """
  text = ''.join(c if c.isprintable() else ' ' for c in text)
  text = re.sub(r' +', ' ', text).strip()
  if len(text) > MAX_CHARACTERS:
    head, tail = text[:MAX_HEAD], text[MAX_HEAD + len(_CUT) - MAX_CHARACTERS :]
    text = f'{head.rpartition(" ")[0]}{_CUT}{tail.partition(" ")[2]}'
  text = text.rstrip(' ;:,')
  return text if text.endswith(('.', '!', '?')) else f'{text}.'


def out_of_memory(gibibytes: float) -> str:
  """The reason of a trial whose trace exceeded its memory limit."""
  return (
    f'tracing exceeded its memory limit of {gibibytes:g} GiB (limits.trace_bytes, at most three '
    "quarters of the machine's memory); create no large arrays outside of traced functions"
  )


def _explanation(error: BaseException, directory: pathlib.Path) -> str:
  if isinstance(error, OSError) and error.errno in _SANDBOX_ERRORS:
    return _sandbox_error(error)
  kind = type(error).__name__
  match error:
    case SystemExit():
      what = f"the program ended the tracer's process with exit code {error.code or 0}"
      todo = 'remove the exit'
    case SyntaxError():
      what, todo = f'{kind}: {error.msg}', 'correct the syntax'
    case RecursionError():
      what, todo = f'{kind}: a function calls itself endlessly', 'bound the recursion'
    case ModuleNotFoundError():
      what, todo = error.msg, 'import an installed module or a file of the program'
    case ImportError() if _is_sibling(error.name, directory):
      what = f'{kind}: {_message(error)}'
      todo = 'rename the file, whose name an installed module has, or import it relatively'
    case FileNotFoundError():
      what = f'there is no file {str(error.filename)!r:.120} in the program'
      todo = 'compute what it holds, or put it next to the entry file as text and name it there'
    case _:
      what, todo = f'{kind}: {_message(error)}', _remedy(kind, str(error))
  return f'{what.rstrip(".;: ")}; {todo}' if todo else what


_LEAKED = (
  'a function uses an array that another one has traced, so return it in the state instead of '
  'storing it elsewhere'
)
# What to do about frequent mistakes, by words of the exception: its type or its message.
_REMEDIES = {
  'TracerBoolConversionError': (
    'a traced array has no value yet, so use jnp.where or jax.lax.cond instead of if, and '
    'jax.lax.while_loop instead of while'
  ),
  'TracerArrayConversionError': 'use jax.numpy instead of numpy for traced arrays',
  'TracerIntegerConversionError': (
    'sizes, ranges and list indices must be Python ints, so take them from shapes or constants'
  ),
  'ConcretizationTypeError': (
    'a traced array has no value yet, so compute with jax.numpy, and take sizes from shapes or '
    'constants'
  ),
  'NonConcreteBooleanIndexError': (
    'shapes are fixed, so use jnp.where(mask, x, 0) instead of x[mask]'
  ),
  'UnexpectedTracerError': _LEAKED,
  'safe_zip()': _LEAKED,
  'sorting pytree dictionary keys': 'use keys of one type in each dict of the state',
  'Number of devices': (
    'make meshes of jax.device_count() devices, of which the tracer has one; the runner shares '
    'batches among its devices by itself'
  ),
  'is an invalid keyword': 'look the name of the argument up',
  'unexpected keyword argument': 'look the name of the argument up',
  'NotImplementedError': 'use another function or option',
}
# Words with which libraries say what to do.
_ADVICE = re.compile(
  r'\b(consider|try|use|using|wrap|replace|instead|did you mean|you (can|should|may|must)|see http'
  r'|please|make sure|should be|must be)\b',
  re.IGNORECASE,
)


def _remedy(kind: str, message: str) -> str:
  """What to do about an exception; '' if its own message says so."""
  for words, remedy in _REMEDIES.items():
    if words == kind or words in message:
      return remedy
  return '' if _ADVICE.search(message) else 'correct this line'


def _is_sibling(name: str | None, directory: pathlib.Path) -> bool:
  """Whether a file of the program has the name of a module."""
  return bool(name) and any(directory.rglob(f'{name}.py'))


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
  text = _JAX_CONTEXT.sub('', re.sub(r'\s+', ' ', text)).strip()
  return text or 'no message'


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
  return getattr(error, 'place_in_program', 'The program')


def _relative(filename: str, directory: pathlib.Path) -> str:
  """The path of a file relative to the program's folder; '' when it is elsewhere."""
  path = pathlib.Path(filename)
  return str(path.relative_to(directory)) if path.is_relative_to(directory) else ''
