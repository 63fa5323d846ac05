"""`autoresearch table`: how well a table of recorded trials serves as a benchmark problem."""

import sys
from collections.abc import Sequence

from autoresearch_jax.benchmark.simulations.recorded import DIRECTIONS, RecordedTable
from autoresearch_jax.benchmark.simulations.table import TableError
from autoresearch_jax.cli.command import Command, CommandLine, Option

COMMAND = Command(
  'table',
  'Describe a table of recorded trials as a problem for the benchmark.',
  """
  A table has a row per training run: the constants of the program, the metric, whether the run
  succeeded and how long it took (CSV or JSON). The problem `recorded` of the benchmark fits a
  surrogate to it. This command prints how well that fits, cross-validated: believe a comparison
  on it no further than that.
  """,
  (
    Option('table', 'Name of a shipped table, or path of a CSV or JSON file.', RecordedTable.table),
    Option('metric', 'Column of the metric.', RecordedTable.metric),
    Option('direction', 'What is better.', RecordedTable.direction, choices=DIRECTIONS),
    Option('constants', 'Columns of constants, separated by commas.', (), value='A,B,...',
           shown='all other columns of numbers'),
    Option('success', 'Column that says whether a run succeeded.', RecordedTable.success),
    Option('seconds', 'Column of the seconds that a run took.', RecordedTable.seconds),
    Option('seed', 'Column of the training seed.', RecordedTable.seed),
  ),
  examples={
    'autoresearch table': 'The shipped table of digits.',
    'autoresearch table --table=trials.csv --metric=val_bpb': 'One of your own.',
  },
  exit_codes={'0': 'Done.', '2': 'The table cannot be used; a sentence says why.'},
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_table, arguments, (TableError, OSError))


def _table(line: CommandLine) -> int:
  options = dict(line.options)
  print(RecordedTable(**{**options, 'constants': tuple(options['constants'] or ())}).describe())
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
