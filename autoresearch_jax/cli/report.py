"""`autoresearch report WORKDIR`: draws the progress plot of a run and summarises the run."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.report import plot
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.summary import summary

COMMAND = Command(
  'report',
  'Draw the progress plot of a run and summarise the run.',
  """
  Only reads the run's ledger; the run may be in progress. Prints the number of trials and keeps,
  the best program and the result of the final evaluation, and writes WORKDIR/progress.png.
  """,
  operand=WORKDIR,
  examples={'autoresearch report runs/gpt_small_cpu': 'The run with that --workdir.'},
  exit_codes={'0': 'Done.', '2': 'There is no such run, or its ledger cannot be read.'},
)


def report(directory: pathlib.Path) -> str:
  """Draws the plot and returns the summary. Raises LedgerError."""
  history = read_history(directory)
  plot.draw(history, directory / 'progress.png')
  lines = [summary(history), f'Plot: {directory / "progress.png"}', conclusion(history)]
  return '\n'.join(filter(None, lines))


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_report, arguments, (LedgerError, OSError))


def _report(line: CommandLine) -> int:
  print(report(pathlib.Path(line.operand)))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
