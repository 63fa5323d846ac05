"""`autoresearch report WORKDIR`: summarises a run, as text, a plot, a web page or JSON."""

import pathlib
import sys
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine, Option
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.report import plot
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.page import RunProjection, RunView, write_page
from autoresearch_jax.report.summary import summary

COMMAND = Command(
  'report',
  'Draw the progress plot of a run and summarise the run.',
  """
  Only reads the run's ledger; the run may be in progress. Prints the number of trials and keeps,
  the best program and the result of the final evaluation, and writes WORKDIR/progress.png.
  """,
  (
    Option('html', 'Write WORKDIR/report.html, one file that opens offline.', False),
    Option('json', 'Print the whole run as JSON instead; docs/reference/report.md.', False),
  ),
  operand=WORKDIR,
  examples={
    'autoresearch report runs/gpt_small_cpu': 'The run with that --workdir.',
    'autoresearch report runs/gpt_small_cpu --html': 'A page with all trials, to look at or mail.',
  },
  exit_codes={'0': 'Done.', '2': 'There is no such run, or its ledger cannot be read.'},
)


def report(directory: pathlib.Path) -> str:
  """Draws the plot and returns the summary. Raises LedgerError."""
  history = read_history(directory)
  plot.draw(history, directory / 'progress.png')
  lines = [summary(history), f'Plot: {directory / "progress.png"}', conclusion(history)]
  return '\n'.join(filter(None, lines))


def view(directory: pathlib.Path) -> RunView:
  """Returns the run as plain data. Raises LedgerError."""
  return RunProjection.of(read_records(directory)).view()


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_report, arguments, (LedgerError, OSError))


def _report(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  if line['json']:
    print(msgspec.json.encode(view(directory)).decode())
    return 0
  print(report(directory))
  if line['html']:
    write_page(view(directory), directory / 'report.html')
    print(f'Page: {directory / "report.html"}')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
