"""`autoresearch repair WORKDIR`: makes a run with a damaged ledger resumable."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import WorkspaceError
from autoresearch_jax.ledger.repair import repair
from autoresearch_jax.messages import describe_os_error

COMMAND = Command(
  'repair',
  'Make a run with a damaged ledger resumable.',
  """
  A run's state depends on all events before it, so a run can only resume from before the damage.
  The command prints which events and trials are lost, moves the damaged files to
  WORKDIR/damaged.N, and writes a ledger of the intact events. It changes nothing if there is no
  damage.
  """,
  operand=WORKDIR,
  examples={'autoresearch repair runs/gpt_small_cpu': 'The run with that --workdir.'},
  exit_codes={'0': 'Repaired, or not damaged.', '2': 'Not repairable; the message says why.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_repair, arguments, (LedgerError, WorkspaceError, OSError), sentence=_sentence)


def _repair(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  if not directory.is_dir():
    raise LedgerError(f'There is no folder {directory}; use the --workdir of a run.')
  print(repair(directory))
  return 0


def _sentence(error: Exception) -> str:
  return describe_os_error(error) if isinstance(error, OSError) else str(error)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
