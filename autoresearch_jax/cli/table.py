"""`autoresearch table`: describes a table of recorded trials as a benchmark problem."""

import sys
from collections.abc import Sequence

from autoresearch_jax.benchmark.simulations.recorded import DIRECTIONS, RecordedTable
from autoresearch_jax.benchmark.simulations.table import TableError
from autoresearch_jax.cli.command import Command, CommandLine, Option

COMMAND = Command(
  'table',
  'Describe a table of recorded trials as a problem for the benchmark.',
  """
  A table (CSV or JSON) has a row per training run: the constants of the program, the metric,
  whether the run succeeded and how long it took. The benchmark problem `recorded` fits a surrogate
  to it. This command prints the surrogate's cross-validated accuracy, which limits how far
  comparisons on it can be trusted.
  """,
  (
    Option('table', 'Name of a shipped table, or path of a CSV or JSON file.', RecordedTable.table),
    Option('metric', 'Column of the metric.', RecordedTable.metric),
    Option('direction', 'Direction of the metric.', RecordedTable.direction, choices=DIRECTIONS),
    Option('constants', 'Columns of constants, separated by commas.', (), value='A,B,...',
           shown='all other columns of numbers and categories'),
    Option('success', 'Column that says whether a run succeeded; looked for if absent.',
           RecordedTable.success),
    Option('seconds', 'Column of the duration of a run, in seconds.', RecordedTable.seconds),
    Option('seed', 'Column of the training seed.', RecordedTable.seed),
    Option('ties', 'Whether rows with an equal, doubtful extreme metric fail or are kept.',
           RecordedTable.ties, choices=('fail', 'keep')),
  ),
  examples={
    'autoresearch table': 'The shipped table of digits.',
    'autoresearch table --table=trials.csv --metric=val_bpb': 'Your own table.',
  },
  exit_codes={'0': 'Done.', '2': 'The table cannot be used; the message says why.'},
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
