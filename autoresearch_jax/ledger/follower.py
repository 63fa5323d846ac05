"""`LedgerFollower`: reads a ledger while another process appends to it."""

import pathlib
import time

from autoresearch_jax.ledger.events import Damaged, Record
from autoresearch_jax.ledger.store import Ledger, Position

LEDGER = 'ledger.db'
SETTLE_SECONDS = 1.0  # after its last change, in which a file is read again


class LedgerFollower:
  """Reads the events of a run's ledger as they are appended.

  Attributes:
    directory: The run's folder.
    place: The place after the last event that was read.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory, self.place = directory, Position()
    self._signature: list[tuple[int, int, int] | None] = []
    self._settled = False  # the files had not changed for a while when they were last read

  def new_records(self) -> tuple[bool, list[Record]]:
    """Returns the events that are new.

    Returns:
      Whether the ledger was replaced, as after a repair, and the events since the last call; if it
      was replaced, all its events.

    Raises:
      LedgerError: There is no ledger, or it cannot be read. The next call tries again.
    """
    signature = self._signature_now()
    if signature == self._signature and self._settled:
      return False, []
    # File systems count times in steps of milliseconds, so that a second write in the same step
    # would not show.
    self._settled = time.time() - self._newest(signature) > SETTLE_SECONDS
    replaced = False
    with Ledger.read(self.directory / LEDGER) as ledger:
      try:
        records, place = ledger.records_since(self.place)
      except Damaged:
        if not self.place.index:
          raise
        replaced = True
        records, place = ledger.records_since(Position())
    self.place, self._signature = place, signature
    return replaced, records

  def is_current(self) -> bool:
    """Returns whether nothing was written since the last call of `new_records`."""
    return self._settled and self._signature == self._signature_now()

  @staticmethod
  def _newest(signature: list[tuple[int, int, int] | None]) -> float:
    """Returns when the files of a signature were last written, in Unix seconds."""
    return max((each[2] / 1e9 for each in signature if each is not None), default=0.0)

  def _signature_now(self) -> list[tuple[int, int, int] | None]:
    """Returns inode, size and time of the last change of each file; None for a missing one."""
    found: list[tuple[int, int, int] | None] = []
    for name in (LEDGER, f'{LEDGER}-wal'):
      try:
        status = (self.directory / name).stat()
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
      except OSError:
        found.append(None)
    return found
