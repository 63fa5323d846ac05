"""Messages for people: text made safe to print, and what to do when a part or the machine fails.

Strategies and acceptance rules may be third-party code. An exception in one ends the session and
leaves the ledger whole. It cannot be skipped as a proposer's can, since their states are folded
over all events.
"""

import errno
import os
import pathlib
import shutil
import traceback
import types


def one_line(text: str, width: int = 0) -> str:
  """`text` on one line without control characters, cut to `width` characters if that is not 0.

  A tab, a line break or an escape sequence inside a description would otherwise add a column to
  results.tsv or redraw the reader's terminal; a direction mark would reorder it.
  """
  shown = ''.join(character if character.isprintable() else ' ' for character in text)
  shown = ' '.join(shown.split())
  return shown[: width - 1] + '…' if 0 < width < len(shown) else shown


STRATEGY, RULE = 'strategy', 'acceptance rule'
ADVICE = (
  'The ledger is whole: mend it and give the same command, which goes on from there; if its '
  'options are wrong, change them and name another --workdir.'
)


class PartError(RuntimeError):
  """A strategy or an acceptance rule raised, or gave what cannot be recorded."""


class PartCall:
  """A context that turns exceptions of a strategy or an acceptance rule into PartErrors.

  Args:
    role: STRATEGY or RULE.
    part: The object that is called inside the context.
    when: What it was called for, to end the sentence 'The strategy ... failed'.
  """

  __slots__ = ('_part', '_role', '_when')

  def __init__(self, role: str, part: object, when: str):
    self._role, self._part, self._when = role, part, when

  def __enter__(self) -> None:
    pass

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    if isinstance(error, Exception) and not isinstance(error, PartError):
      raise PartError(_sentence(self._role, self._part, self._when, error)) from error


def _sentence(role: str, part: object, when: str, error: Exception) -> str:
  kind = type(part)
  last = traceback.extract_tb(error.__traceback__)[-1]
  what = one_line(f'{type(error).__name__}: {error}', 400).rstrip('.')
  return (
    f'The {role} {kind.__name__} of {kind.__module__} failed {when}: {what} ({last.filename}, line '
    f'{last.lineno}).'
  )


# What the machine is to blame for, and nothing that was asked of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHUT = (errno.EROFS, errno.EACCES, errno.EPERM)
OF_THE_MACHINE = (*_FULL, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
ROOM_BYTES = 256 * 2**10  # a disk with less is full: too little for an artifact and its log


def of_machine(error: OSError) -> str:
  """The sentence for what the operating system refused, with what to do about it."""
  where = f' ({error.filename})' if error.filename else ''
  what = f'{error.strerror or error}{where}'
  if error.errno in _FULL:
    return f'The disk is full: {what}. Free some space; {_GOES_ON}'
  if error.errno in _SHUT:
    return f'Nothing can be written: {what}. Make it writable; {_GOES_ON}'
  if error.errno in OF_THE_MACHINE:
    return f'The machine failed: {what}. Mend that; {_GOES_ON}'
  return str(error)


def require_room(folder: pathlib.Path) -> None:
  """Raises OSError where the disk that holds the folder is full, so that no program is blamed."""
  if shutil.disk_usage(folder).free < ROOM_BYTES:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def no_room(error: Exception) -> bool:
  """Whether an error of a library speaks of a disk that is full or can not be written."""
  return any(os.strerror(code) in str(error) for code in (*_FULL, errno.EROFS, errno.EIO))


_GOES_ON = 'the ledger is whole, and the same command goes on from there.'
