"""`python -m autoresearch_jax.report WORKDIR`: the plot and a summary, also of a run that goes on.

Reads the ledger and nothing else; writes WORKDIR/progress.png.
"""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.history import History
from autoresearch_jax.ledger import Ledger, LedgerError
from autoresearch_jax.report import plot
from autoresearch_jax.report.confirmed import confirmed_line
from autoresearch_jax.report.summary import summary

BAD_INPUT = 2


def report(workdir: pathlib.Path) -> str:
  """Draws the plot and returns the summary. Raises LedgerError."""
  with Ledger.read(workdir / 'ledger.db') as ledger:
    history = History.of(ledger.records())
  if history.started is None:
    raise LedgerError(f'The run in {workdir} has not begun: its ledger is empty.')
  plot.draw(history, workdir / 'progress.png')
  lines = [summary(history), f'Plot: {workdir / "progress.png"}', confirmed_line(history)]
  return '\n'.join(filter(None, lines))


def main(arguments: Sequence[str]) -> int:
  if len(arguments) != 1 or arguments[0].startswith('-'):
    asked = list(arguments) in (['--help'], ['-h'])
    usage = 'Usage: python -m autoresearch_jax.report WORKDIR  (the --workdir of a run)'
    print(usage, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else BAD_INPUT
  try:
    print(report(pathlib.Path(arguments[0])))
  except (LedgerError, OSError) as error:
    print(error, file=sys.stderr)
    return BAD_INPUT
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
