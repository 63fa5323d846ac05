"""`autoresearch start`: writes the starting program of a run into a folder."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import RUN_FIELDS, Command, CommandLine, Option, UsageError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.programs.start import starting_program, write_program
from autoresearch_jax.types import Program

COMMAND = Command(
  'start',
  'Write the starting program of a run, or its best one, into a folder, for editing.',
  """
  Writes the files in config.editable, with the values of config.constants, and prints their paths.
  With --workdir, the program is the best one of that run so far.
  """,
  (
    Option('out', 'New or empty folder to write into; required.', value='DIR'),
    Option('workdir', 'Folder of a run, whose best program is written.', value='DIR'),
  ),
  config='The run: a shipped config or a file.',
  describe=RUN_FIELDS,
  examples={'autoresearch start --config=digits --out=my_program': 'Writes my_program/model.py.'},
  exit_codes={'0': 'Written.', '2': 'Invalid input; the message says what to fix.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_start, arguments, (OSError, LedgerError))


def _start(line: CommandLine) -> int:
  if not line['out']:
    raise UsageError('Name a new folder, for instance --out=my_program.')
  if line['workdir']:
    program = _best_program(pathlib.Path(line['workdir']))
  else:
    program = starting_program(flags.config_of(line.config))
  for path in write_program(program, pathlib.Path(line['out'])):
    print(path)
  return 0


def _best_program(directory: pathlib.Path) -> Program:
  """Returns the best program of a run. Raises LedgerError."""
  incumbent = read_history(directory).incumbent
  if incumbent is None:
    raise LedgerError(
      f'The run in {directory} has no program with a score yet; leave --workdir out for the '
      'starting one.'
    )
  return incumbent.edit.program


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
