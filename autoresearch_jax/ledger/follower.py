"""`LedgerFollower`: reads a ledger while another process appends to it."""

import pathlib

from autoresearch_jax.ledger.events import Damaged, Record
from autoresearch_jax.ledger.store import Ledger, Position

LEDGER = 'ledger.db'


class LedgerFollower:
  """Reads the events of a run's ledger as they are appended.

  Attributes:
    directory: The run's folder.
    place: The place after the last event that was read.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory, self.place = directory, Position()
    self._signature: list[object] = []

  def new_records(self) -> tuple[bool, list[Record]]:
    """Returns the events that are new.

    Returns:
      Whether the ledger was replaced, as after a repair, and the events since the last call; if it
      was replaced, all its events.

    Raises:
      LedgerError: There is no ledger, or it cannot be read. The next call tries again.
    """
    signature = self._signature_now()
    if signature == self._signature:
      return False, []
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
    return self._signature == self._signature_now()

  def _signature_now(self) -> list[object]:
    """Returns what differs after the ledger was written."""
    found: list[object] = []
    for name in (LEDGER, f'{LEDGER}-wal'):
      try:
        status = (self.directory / name).stat()
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
      except OSError:
        found.append(None)
    return found
