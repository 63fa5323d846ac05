"""`autoresearch run`: starts or resumes a run."""

import contextlib
import pathlib
import sys
from collections.abc import Sequence

import pygit2

from autoresearch_jax.cli import fields, flags
from autoresearch_jax.cli.command import FAILED, Command, CommandLine, Option
from autoresearch_jax.cli.preemption import PreemptionNotice
from autoresearch_jax.cli.report import report
from autoresearch_jax.cli.signals import END_SECONDS, StopSignals
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import WorkspaceError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.messages import ComponentError, describe_os_error, say
from autoresearch_jax.mirror import MirrorError
from autoresearch_jax.report import View, live
from autoresearch_jax.report.dashboard.process import DashboardError, dashboard_beside
from autoresearch_jax.report.shared_progress import SharedProgress
from autoresearch_jax.research.session import run_session
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.service import client

COMMAND = Command(
  'run',
  'Start or resume a run: search for better programs until stopped.',
  """
  A strategy chooses what to try, a proposer edits the program, a trial trains it for a fixed
  budget, and an acceptance rule keeps or discards it. Everything is recorded in the run's folder,
  and the same command resumes a run that was stopped or killed.

  The first Ctrl-C, SIGTERM or SIGHUP stops the search gracefully, a second Ctrl-C or SIGTERM ends
  the process at once. If config.final_seeds is set, the best program and the baseline are then
  retrained and compared on the test split; another Ctrl-C skips that, and after SIGTERM or SIGHUP
  it does not start. After these two the process ends within 20 s, as it does when a spot machine of
  Google's is about to be preempted.

  The folder has results.tsv (a row per trial), progress.png, repo/ (git: the branch
  autoresearch/NAME has the kept programs) and ledger.db (all events).
  """,
  (
    Option('workdir', 'Folder of the run.', value='DIR', shown='runs/NAME of the config'),
    Option(
      'take_over', 'Take the run over from another controller that writes to config.mirror.', False
    ),
    Option('dashboard', 'Show the run in a browser while it goes on; prints the address.', False),
  ),
  config='The run: a shipped config (digits, gpt_small, packing), or a file.',
  describe=fields.run_fields,
  examples={
    'autoresearch run --config=digits': 'A small classifier, 24 trials in about a minute.',
    'autoresearch run --config=gpt_small:cpu --config.search.max_trials=40 --workdir=runs/first': (
      'A small GPT, 40 trials, in a folder of its own.'
    ),
    'autoresearch run --config=digits --config.search.strategy=tree --help': (
      'The same text with the values of that config, and the options of that strategy.'
    ),
  },
  exit_codes={
    '0': 'The run is done.',
    '1': 'The baseline, the machine, the strategy or the acceptance rule failed.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped gracefully by Ctrl-C.',
    '143': 'Stopped gracefully by SIGTERM; 129: by SIGHUP, when the terminal closes.',
    '141': 'Nobody reads its output any more, as after `| head`.',
  },
)

ERRORS = (
  ConfigError, LedgerError, ComponentError, WorkspaceError, SandboxError, MirrorError,
  DashboardError, client.ServiceError, OSError, pygit2.GitError,
)  # fmt: skip


def research(
  config: Config, directory: pathlib.Path, take_over: bool = False, dashboard: bool = False
) -> int:
  """Runs one session of the run in `directory` and returns the exit code."""
  notice = PreemptionNotice()
  stop = StopSignals(notice=notice, end_seconds=END_SECONDS)

  def say_if_heard(line: str) -> None:
    try:
      say(line)
    except BrokenPipeError:
      if not stop.exit_code:  # else it is the end of the session that closed the pipe, too
        raise

  def view(history: History) -> View:
    return SharedProgress(live.view(history, print_line=say_if_heard), directory)

  with notice, contextlib.ExitStack() as stack:
    if dashboard:
      say_if_heard(f'{"dashboard":<11}{stack.enter_context(dashboard_beside(directory))}')
    outcome = run_session(
      config, directory, say=say_if_heard, make_view=view, stop=stop, take_over=take_over
    )
  say_if_heard(f'Log: {directory / "results.tsv"}\n{report(directory)}')
  return stop.exit_code or (FAILED if outcome.failed else 0)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(
    _run, arguments, ERRORS, interrupted='Stopped before the run began.', sentence=_sentence
  )


def _run(line: CommandLine) -> int:
  config = flags.config_of(line.config)
  directory = pathlib.Path(line['workdir'] or f'runs/{config.name}')
  client.release(directory)
  return research(config, directory, line['take_over'], line['dashboard'])


def _sentence(error: Exception) -> str:
  return describe_os_error(error) if isinstance(error, OSError) else str(error)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
