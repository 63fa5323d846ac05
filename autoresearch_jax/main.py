"""The command: a config in, research until told to stop. Short, and stays so.

  python -m autoresearch_jax.main --config=configs/gpt_small.py [--workdir=DIR]

The same command resumes. Exit codes: 0 done, 1 the baseline, the machine, the strategy or the
acceptance rule failed, 2 a sentence says what does not fit, 130 or 143 stopped by Ctrl-C or
SIGTERM (in good order; a second one ends it at once). However it ended, unless by SIGTERM, the
best is then compared with the baseline on the test split; Ctrl-C leaves that out.
"""

import pathlib
import sys
from collections.abc import Sequence

import pygit2
from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.signals import StopSignals
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import WorkspaceError
from autoresearch_jax.messages import PartError, of_machine
from autoresearch_jax.report import live
from autoresearch_jax.report.__main__ import report
from autoresearch_jax.research.session import run_session
from autoresearch_jax.sandbox.tracer_policy import SandboxError

_CONFIG = command.define_config('The run, e.g. configs/gpt_small.py:cpu.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run. [runs/NAME of the config]')

FAILED, INTERRUPTED = 1, 130
SENTENCES = (
  ConfigError,
  LedgerError,
  PartError,
  WorkspaceError,
  SandboxError,
  OSError,
  pygit2.GitError,
)


def research(config: Config, directory: pathlib.Path) -> int:
  """Runs one session of the run in `directory` and returns the exit code."""
  stop = StopSignals()
  outcome = run_session(config, directory, say=_say, make_view=live.view, stop=stop)
  _say(f'Log: {directory / "results.tsv"}\n{report(directory)}')
  return stop.exit_code or (FAILED if outcome.failed else 0)


def _say(line: str) -> None:
  print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag; the flags are --config and --workdir.')
    config = command.config_of(_CONFIG)
    return research(config, pathlib.Path(_WORKDIR.value or f'runs/{config.name}'))
  except SENTENCES as error:
    print(of_machine(error) if isinstance(error, OSError) else error, file=sys.stderr)
    return command.BAD_INPUT
  except KeyboardInterrupt:
    print('Stopped before the run began.', file=sys.stderr)
    return INTERRUPTED


if __name__ == '__main__':
  command.run(main)
