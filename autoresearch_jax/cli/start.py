"""`autoresearch start`: writes the starting program of a run into a folder."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli import fields, flags
from autoresearch_jax.cli.command import Command, CommandLine, Option, UsageError
from autoresearch_jax.programs.start import starting_program, write_program

COMMAND = Command(
  'start',
  'Write the starting program of a run into a folder, for editing.',
  """
  Writes the files in config.editable, with the values of config.constants, and prints their paths.
  """,
  (Option('out', 'New or empty folder to write into; required.', value='DIR'),),
  config='The run: a shipped config or a file.',
  describe=fields.run_fields,
  examples={'autoresearch start --config=digits --out=my_program': 'Writes my_program/model.py.'},
  exit_codes={'0': 'Written.', '2': 'Invalid input; the message says what to fix.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_start, arguments, (OSError,))


def _start(line: CommandLine) -> int:
  if not line['out']:
    raise UsageError('Name a new folder, for instance --out=my_program.')
  config = flags.config_of(line.config)
  for path in write_program(starting_program(config), pathlib.Path(line['out'])):
    print(path)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
