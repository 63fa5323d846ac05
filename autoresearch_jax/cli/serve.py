"""`autoresearch serve WORKDIR`: keeps a run warm for trials that are requested."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import FAILED, RUN_FIELDS, WORKDIR, Command, CommandLine, Option
from autoresearch_jax.cli.preemption import PreemptionNotice
from autoresearch_jax.cli.run import ERRORS
from autoresearch_jax.cli.signals import END_SECONDS, StopSignals
from autoresearch_jax.config import Config
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import say
from autoresearch_jax.report import View, live
from autoresearch_jax.report.shared_progress import SharedProgress
from autoresearch_jax.service import client
from autoresearch_jax.service.serve import IDLE_SECONDS, serve

COMMAND = Command(
  'serve',
  'Keep a run warm for trials that are requested by `autoresearch trial`.',
  """
  Trains the baseline, and then what `autoresearch trial FOLDER --workdir=WORKDIR` requests, with
  the same ledger, results, branch and report as a search. `autoresearch check` is fast meanwhile.
  `autoresearch trial` starts it in the background, so that you need not; its output is then in
  WORKDIR/service.log.

  It ends by itself when nothing was requested for a while, after it has compared the best program
  with the baseline on the test split if config.final_seeds is set. Nothing is lost then, or if it
  is killed: the next trial starts another one. `autoresearch run` with the same --workdir ends it
  and goes on with a search.
  """,
  (
    Option('idle_minutes', 'End after so many minutes without a request.', IDLE_SECONDS / 60,
           minimum=0.0),
    Option('stop', 'End the service of the run instead of starting one.', False),
  ),
  operand=WORKDIR,
  config='The run: a shipped config or a file; not needed for a run that has begun.',
  describe=RUN_FIELDS,
  examples={
    'autoresearch serve runs/mine --config=digits': 'In another terminal, run trials.',
    'autoresearch serve runs/mine --stop': 'End it; the next trial starts another one.',
  },
  exit_codes={
    '0': 'Nothing was requested any more.',
    '1': 'The baseline or the machine failed.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped by Ctrl-C; the next trial resumes the run.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_serve, arguments, ERRORS)


def config_of(line: CommandLine, directory: pathlib.Path) -> Config:
  """Returns the config on the command line, or that of the run in a folder.

  Raises:
    ConfigError: There is neither.
    LedgerError: The ledger cannot be read.
  """
  if line.config is None and (directory / 'ledger.db').exists():
    return read_history(directory).config
  return flags.config_of(line.config)


def _serve(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  if line['stop']:
    client.release(directory)
    return 0
  config = config_of(line, directory)
  notice = PreemptionNotice()
  stop = StopSignals(notice=notice, end_seconds=END_SECONDS)

  def view(history: History) -> View:
    return SharedProgress(live.view(history), directory)

  with notice:
    outcome = serve(
      config, directory, say=say, make_view=view, stop=stop,
      idle_seconds=60 * line['idle_minutes'],
    )  # fmt: skip
  return stop.exit_code or (FAILED if outcome.failed else 0)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
