"""`python -m autoresearch_jax.report WORKDIR`: the plot and a summary, also of a run that goes on.

Reads the ledger and nothing else; writes WORKDIR/progress.png.
"""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli import workdir
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.report import plot
from autoresearch_jax.report.confirmed import confirmed_line
from autoresearch_jax.report.summary import summary


def report(directory: pathlib.Path) -> str:
  """Draws the plot and returns the summary. Raises LedgerError."""
  history = workdir.history(directory)
  plot.draw(history, directory / 'progress.png')
  lines = [summary(history), f'Plot: {directory / "progress.png"}', confirmed_line(history)]
  return '\n'.join(filter(None, lines))


def main(arguments: Sequence[str]) -> int:
  directory = workdir.named('report', arguments)
  if isinstance(directory, int):
    return directory
  try:
    print(report(directory))
  except (LedgerError, OSError) as error:
    print(error, file=sys.stderr)
    return workdir.BAD_INPUT
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
