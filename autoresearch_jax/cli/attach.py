"""`autoresearch attach WORKDIR`: the live view of a run that was started elsewhere."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.messages import say
from autoresearch_jax.report.attach import attach
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.summary import summary

COMMAND = Command(
  'attach',
  'Show a run that was started elsewhere in this terminal.',
  """
  Shows the live view of the run in WORKDIR until its process ends, for instance after a dropped
  connection. The run is only read: Ctrl-C ends the view, not the run. Where the output is no
  terminal, a line per event is printed.
  """,
  operand=WORKDIR,
  examples={'autoresearch attach runs/gpt_small': 'The run with that --workdir.'},
  exit_codes={
    '0': 'The run has ended, or Ctrl-C.',
    '2': 'There is no such run, or its ledger cannot be read.',
  },
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_attach, arguments, (LedgerError, OSError))


def _attach(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  ended = not is_in_use(directory)
  try:
    history = attach(directory)
  except KeyboardInterrupt:
    say('Detached; the run goes on.')
    return 0
  if ended:
    say(f'No process on this machine runs {directory}.')
  for text in (summary(history), conclusion(history)):
    if text:
      say(text)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
