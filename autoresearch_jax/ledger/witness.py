"""The witness: a small file beside the ledger with the index and checksum of the last event.

A truncated ledger, or an older copy of it, is consistent in itself; the witness shows that events
are missing. It is written after each event, so after a crash it may be one event behind. Without a
witness nothing is checked.
"""

import contextlib
import hashlib
import os
import pathlib
from typing import Self


def witness_path(ledger: pathlib.Path) -> pathlib.Path:
  """Returns the path of a ledger's witness."""
  return ledger.with_suffix('.head')


def read_witness(ledger: pathlib.Path) -> tuple[int, str] | None:
  """Returns index and checksum of the last event; None if the witness is absent or damaged."""
  try:
    line = witness_path(ledger).read_bytes()
    index, checksum, _ = line.decode().split(' ')
    return (int(index), checksum) if line == _line(int(index), checksum) else None
  except (OSError, ValueError):
    return None


class Witness:
  """The witness of a ledger that is open for appending."""

  def __init__(self, descriptor: int | None):
    self._descriptor = descriptor

  @classmethod
  def open(cls, ledger: pathlib.Path) -> Self:
    """Opens or creates the witness. If that fails, `write` does nothing."""
    descriptor = None
    with contextlib.suppress(OSError):
      flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
      descriptor = os.open(witness_path(ledger), flags, 0o644)
    return cls(descriptor)

  def write(self, index: int, checksum: str) -> None:
    """Records the last event. Failures are ignored: the witness then falls behind."""
    if self._descriptor is not None:
      with contextlib.suppress(OSError):
        os.pwrite(self._descriptor, _line(index, checksum), 0)

  def close(self) -> None:
    """Closes the file. Idempotent."""
    if self._descriptor is not None:
      os.close(self._descriptor)
      self._descriptor = None


def _line(index: int, checksum: str) -> bytes:
  """Returns the file's only line. Its length is fixed, so one call overwrites it."""
  text = f'{index:012d} {checksum}'
  return f'{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n'.encode()
