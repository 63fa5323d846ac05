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

from autoresearch_jax import messages
from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.signals import StopSignals
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError, branch_name, tag_of
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import PartError, of_machine
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.report import live
from autoresearch_jax.report.__main__ import report
from autoresearch_jax.research import build
from autoresearch_jax.research.final_evaluation import Closing, announcement
from autoresearch_jax.research.loop import Research
from autoresearch_jax.research.session import begin
from autoresearch_jax.sandbox.tracer import SandboxError

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
  """One session of a run: from where the ledger ends until there is a reason to stop."""
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    start, minds = starting_program(config), build.minds(config)
    for word, value in _opening(config, directory, minds):
      _say(f'{word:<11}{messages.one_line(value)}')
    for line in build.space(minds.strategy, start).splitlines():
      _say(f'{"samples":<11}{line}')
    dataset = build.dataset(config, _say)
    _say(f'{"test split":<11}{announcement(config, dataset)}')
    history, states = begin(ledger, config, minds.strategy, minds.acceptance, dataset.fingerprint)
    if history.trials:
      _say(f'resuming after {len(history.trials)} trials')
    executor = build.executor(config, dataset, workspace.scratch)
    if executor.slots > 1:
      _say(f'{"slots":<11}{executor.slots} trials at once')
    try:
      with StopSignals() as stop:
        with live.view(history) as view:
          loop = Research(
            ledger, history, states, workspace, minds.strategy, minds.proposer, minds.acceptance,
            executor, build.spec(config), start, config.search.max_trials, view, stop,
            build.hidden(config, dataset),
          )  # fmt: skip
          reason = loop.run()
        _say(reason)
        failed = loop.failed or loop.unavailable or loop.broken
        if not failed and stop.spared():
          closing = Closing(
            ledger, history, executor, config.budget, config.final_seeds, stop, _say
          )  # fmt: skip
          failed = not closing.run()
    finally:
      executor.close()
  _say(f'Log: {workspace.results_path}\n{report(directory)}')
  return stop.exit_code or (FAILED if failed else 0)


def _opening(config: Config, directory: pathlib.Path, minds: build.Minds) -> list[tuple[str, str]]:
  budget = f'{config.budget.amount:g} {config.budget.unit} a trial'
  return [
    ('proposer', minds.proposer.title or config.proposer),
    ('config', config.name),
    ('platform', config.platform),
    ('problem', f'{config.problem}, {config.direction} {config.metric}, {budget}'),
    ('strategy', config.search.strategy),
    ('acceptance', config.acceptance),
    ('isolation', config.limits.isolation),
    ('workdir', str(directory)),
    ('branch', f'{branch_name(tag_of(config.name))} in {directory / "repo"}'),
  ]


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
