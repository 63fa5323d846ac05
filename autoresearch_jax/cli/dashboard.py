"""`autoresearch dashboard`: shows runs live in a browser."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import Command, CommandLine, Option, UsageError
from autoresearch_jax.messages import say
from autoresearch_jax.report.dashboard.process import DashboardError, require_packages

RUNS_DIR = 'RUNS_DIR'

COMMAND = Command(
  'dashboard',
  'Show runs live in a browser.',
  """
  Serves a web page about the run in RUNS_DIR, or about all runs in its subfolders, and updates it
  while they go on. Without --steer it only reads their ledgers. Ctrl-C ends the server, not the
  runs.

  On the loopback interface, every user of this machine can look, and with --steer can steer. From
  elsewhere, use `ssh -L 8730:localhost:8730 MACHINE`, or another --host: the address then has a
  token, without which nothing is shown. There is no encryption.
  """,
  (
    Option('port', 'The port; 0 for any that is free.', kind=int, minimum=0, maximum=65535,
           shown='8730, or one that is free'),
    Option('host', 'The interface: its name or address, 0.0.0.0 for all.', '127.0.0.1'),
    Option('steer', 'Let the page steer runs: hints, ideas, pauses. Without it, it only reads.',
           False),
  ),
  operand=RUNS_DIR,
  examples={
    'autoresearch dashboard runs': 'All runs in a folder.',
    'autoresearch dashboard runs/gpt_small --port=9000': 'One run, at that port.',
  },
  exit_codes={
    '0': 'Stopped by Ctrl-C.',
    '2': 'Invalid input, the port is taken, or a package is missing.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_dashboard, arguments, (DashboardError, OSError))


def _dashboard(line: CommandLine) -> int:
  folder = pathlib.Path(line.operand)
  if not folder.is_dir():
    raise UsageError(f'There is no folder {folder}; give the folder of a run, or of several.')
  require_packages()
  from autoresearch_jax.report.dashboard.serve import serve  # noqa: PLC0415 - needs an extra

  try:
    serve(
      folder,
      line['host'],
      line['port'],
      line['steer'],
      lambda address: say(f'Dashboard: {address}'),
    )
  except KeyboardInterrupt:
    say('The dashboard is closed; runs go on.')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
