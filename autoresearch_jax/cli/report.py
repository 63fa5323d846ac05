"""`autoresearch report WORKDIR`: the plot and a summary of a run, also while it goes on."""

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
  'Draw the plot of a run and summarise it, also while it goes on.',
  """
  Reads the ledger of the run and nothing else. Prints how many trials there were, what was kept,
  the best program and what the final evaluation found, and writes WORKDIR/progress.png.
  """,
  operand=WORKDIR,
  examples={'autoresearch report runs/gpt_small_cpu': 'The run whose --workdir that is.'},
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
