"""Messages to the user: text made safe to print, and errors of components and of the machine.

A strategy or an acceptance rule may be third-party code. An exception in one ends the session and
leaves the ledger intact. It cannot be skipped, as a proposer's is, since the states of both are
folds over all events.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import sys
import traceback
import types
from collections.abc import Iterator
from typing import TextIO


def one_line(text: str, width: int = 0) -> str:
  """Returns `text` on one line without control characters, cut to `width` characters if not 0.

  Otherwise a tab in a description would add a column to results.tsv, and an escape sequence could
  redraw the terminal.
  """
  shown = ''.join(character if character.isprintable() else ' ' for character in text)
  shown = ' '.join(shown.split())
  return shown[: width - 1] + '…' if 0 < width < len(shown) else shown


def say(line: str, end: str = '\n', file: TextIO | None = None) -> None:
  """Prints a line at once, with replaced characters where the stream cannot encode them.

  A terminal that is gone is ignored, so that a run ends in good order when its connection drops.

  Raises:
    BrokenPipeError: The stream is a pipe that nobody reads any more.
  """
  stream = sys.stdout if file is None else file
  encoding = getattr(stream, 'encoding', None) or 'utf-8'
  text = line.encode(encoding, 'replace').decode(encoding)
  with ignored_hangup():
    print(text, end=end, file=stream, flush=True)


@contextlib.contextmanager
def ignored_hangup() -> Iterator[None]:
  """Ignores the error of writing to a terminal that is gone."""
  try:
    yield
  except OSError as error:
    if error.errno != errno.EIO:
      raise


STRATEGY, RULE = 'strategy', 'acceptance rule'
RESUME_ADVICE = (
  'The ledger is intact: fix it and run the same command again to resume. If its options are '
  'wrong, change them and use another --workdir.'
)


class ComponentError(RuntimeError):
  """A strategy or an acceptance rule raised, or returned a value that cannot be recorded."""


class ComponentCall:
  """A context manager that turns exceptions of a strategy or acceptance rule into ComponentErrors.

  Args:
    role: STRATEGY or RULE.
    component: The object that is called inside the context.
    when: What it was called for; completes the sentence 'The strategy ... failed'.
  """

  __slots__ = ('_component', '_role', '_when')

  def __init__(self, role: str, component: object, when: str):
    self._role, self._component, self._when = role, component, when

  def __enter__(self) -> None:
    pass

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    if isinstance(error, Exception) and not isinstance(error, ComponentError):
      raise ComponentError(_sentence(self._role, self._component, self._when, error)) from error


def _sentence(role: str, component: object, when: str, error: Exception) -> str:
  kind = type(component)
  last = traceback.extract_tb(error.__traceback__)[-1]
  what = one_line(f'{type(error).__name__}: {error}', 400).rstrip('.')
  return (
    f'The {role} {kind.__name__} of {kind.__module__} failed {when}: {what} ({last.filename}, line '
    f'{last.lineno}).'
  )


_RESUMABLE = 'The ledger is intact, and the same command resumes the run.'
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
# Errors of the machine, for which no program is blamed.
MACHINE_ERRNOS = (*_DISK_FULL, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
MIN_FREE_BYTES = 256 * 2**10  # enough for an artifact and its log; a disk with less is full


class ExplainedError(OSError):
  """An error of the operating system whose message is a sentence with a remedy.

  Args:
    code: The errno.
    sentence: The message.
  """

  def __init__(self, code: int, sentence: str):
    super().__init__(code, sentence)

  def __str__(self) -> str:
    return str(self.strerror)


def is_disk_full(folder: pathlib.Path, error: BaseException) -> bool:
  """Returns whether a failed write was due to a full disk; not all libraries give the errno."""
  if isinstance(error, OSError) and error.errno is not None:
    return error.errno in _DISK_FULL
  with contextlib.suppress(OSError):
    return is_disk_error(error) or shutil.disk_usage(folder).free < MIN_FREE_BYTES
  return False


def describe_os_error(error: OSError, then: str = _RESUMABLE) -> str:
  """Describes an error of the operating system, and what to do about it.

  Args:
    error: The error.
    then: The last sentence where the machine is the cause.
  """
  if isinstance(error, ExplainedError):
    return f'{error} {then}'.strip()
  where = f' ({error.filename})' if error.filename else ''
  what = f'{error.strerror or error}{where}'
  if error.errno in _DISK_FULL:
    return f'The disk is full: {what}. Free some space. {then}'.strip()
  if error.errno in _NOT_WRITABLE:
    return f'No write access: {what}. Make it writable. {then}'.strip()
  if error.errno in MACHINE_ERRNOS:
    return f'The machine failed: {what}. Fix that. {then}'.strip()
  return str(error)


def require_disk_space(folder: pathlib.Path) -> None:
  """Raises OSError if the folder's disk is full, so that no program is blamed for it."""
  if shutil.disk_usage(folder).free < MIN_FREE_BYTES:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def is_disk_error(error: BaseException) -> bool:
  """Returns whether a library's error message is about a disk that is full or not writable."""
  return any(os.strerror(code) in str(error) for code in (*_DISK_FULL, errno.EROFS, errno.EIO))


def available_memory() -> int:
  """Bytes of main memory that are available now; 0 where the kernel does not say."""
  for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
    if line.startswith('MemAvailable:'):
      return int(line.split()[1]) * 1024
  return 0
