"""A run's folder on the command line of `report`, `knowledge` and `repair`."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger

BAD_INPUT = 2


def named(command: str, arguments: Sequence[str]) -> pathlib.Path | int:
  """The folder that the command line names; the exit code, usage printed, where it names none."""
  if len(arguments) == 1 and not arguments[0].startswith('-'):
    return pathlib.Path(arguments[0])
  asked = list(arguments) in (['--help'], ['-h'])
  usage = f'Usage: python -m autoresearch_jax.{command} WORKDIR  (the --workdir of a run)'
  print(usage, file=sys.stdout if asked else sys.stderr)
  return 0 if asked else BAD_INPUT


def history(workdir: pathlib.Path) -> History:
  """What the run in `workdir` has done so far, also while it goes on. Raises LedgerError."""
  with Ledger.read(workdir / 'ledger.db') as ledger:
    found = History.of(ledger.records())
  if found.started is None:
    raise LedgerError(f'The run in {workdir} has not begun: its ledger is empty.')
  return found
