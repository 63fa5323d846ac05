"""A run's folder, as `report`, `knowledge` and `repair` are given it."""

import pathlib

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger

OPERAND = 'WORKDIR'


def history(workdir: pathlib.Path) -> History:
  """What the run in `workdir` has done so far, also while it goes on. Raises LedgerError."""
  with Ledger.read(workdir / 'ledger.db') as ledger:
    found = History.of(ledger.records())
  if found.started is None:
    raise LedgerError(f'The run in {workdir} has not begun: its ledger is empty.')
  return found
