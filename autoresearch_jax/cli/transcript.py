"""`autoresearch transcript WORKDIR`: what models and agents were asked and answered."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine, Option
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import read_records
from autoresearch_jax.report.transcript import rendered, summary_lines, transcript

COMMAND = Command(
  'transcript',
  'Print what a model or an agent was asked and answered for a trial.',
  """
  Only reads the run's ledger; the run may be in progress. Prints every call for a trial with its
  turns, role, tokens and cost, repairs, reviews and failed attempts included. Without --trial it
  lists the calls of the run, a line each.
  """,
  (
    Option('trial', "The trial's number.", kind=int, minimum=0),
    Option('json', 'Print the calls as JSON instead.', False),
  ),
  operand=WORKDIR,
  examples={
    'autoresearch transcript runs/gpt_small --trial=7': 'All calls for trial 7.',
    'autoresearch transcript runs/gpt_small': 'A line for each call.',
  },
  exit_codes={'0': 'Done.', '2': 'There is no such run or trial, or its ledger cannot be read.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_transcript, arguments, (LedgerError, OSError))


def _transcript(line: CommandLine) -> int:
  directory, trial = pathlib.Path(line.operand), line['trial']
  records = read_records(directory)
  calls = transcript(records, trial)
  if trial is not None and not calls and trial not in History.of(records).edits:
    last = max(History.of(records).edits, default=0)
    raise LedgerError(f'The run in {directory} has no trial {trial}; give one from 0 to {last}.')
  if line['json']:
    print(msgspec.json.encode([dataclasses.asdict(call) for call in calls]).decode())
  elif not calls:
    what = 'this run' if trial is None else f'trial {trial}'
    print(f'No model or agent was called for {what}.')
  else:
    print(summary_lines(calls) if trial is None else rendered(calls))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
