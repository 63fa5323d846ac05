"""The witness: a small file beside the ledger that names the last event that was written.

A ledger that was cut off, or replaced by an older copy, is consistent in itself; the witness shows
that events are missing. It is written after each event, so after a crash it may name an earlier
one. It may be absent: then nothing is checked.
"""

import contextlib
import hashlib
import os
import pathlib
from typing import Self


def witness_path(ledger: pathlib.Path) -> pathlib.Path:
  """The witness of the ledger at this path."""
  return ledger.with_suffix('.head')


def read_witness(ledger: pathlib.Path) -> tuple[int, str] | None:
  """Index and checksum of the last event, or None when the witness is absent or damaged."""
  try:
    line = witness_path(ledger).read_bytes()
    index, checksum, _ = line.decode().split(' ')
    return (int(index), checksum) if line == _line(int(index), checksum) else None
  except (OSError, ValueError):
    return None


class Witness:
  """The open witness of a ledger to which events are appended."""

  def __init__(self, descriptor: int | None):
    self._descriptor = descriptor

  @classmethod
  def open(cls, ledger: pathlib.Path) -> Self:
    """Opens or creates the witness; where that fails, nothing is written later."""
    descriptor = None
    with contextlib.suppress(OSError):
      flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
      descriptor = os.open(witness_path(ledger), flags, 0o644)
    return cls(descriptor)

  def write(self, index: int, checksum: str) -> None:
    """Names the last event. A failure is ignored: the witness then names an earlier event."""
    if self._descriptor is not None:
      with contextlib.suppress(OSError):
        os.pwrite(self._descriptor, _line(index, checksum), 0)

  def close(self) -> None:
    """Closes the file. Idempotent."""
    if self._descriptor is not None:
      os.close(self._descriptor)
      self._descriptor = None


def _line(index: int, checksum: str) -> bytes:
  """The only line of the file. Its length is fixed, so it is overwritten in one call."""
  text = f'{index:012d} {checksum}'
  return f'{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n'.encode()
