"""`autoresearch audit WORKDIR ...`: what a run measured about itself."""

import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import FAILED, WORKDIR, Command, CommandLine, Option, UsageError
from autoresearch_jax.config import ConfigError
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_history
from autoresearch_jax.messages import say
from autoresearch_jax.report.canaries import canary_rates, format_canaries
from autoresearch_jax.report.metric_audit import (
  audit_table,
  audited_programs,
  describe_audit,
  metric_audit,
)
from autoresearch_jax.report.next_setting import describe_settings, describe_stale
from autoresearch_jax.research.build import build_task
from autoresearch_jax.research.final_evaluation import FinalEvaluation
from autoresearch_jax.sandbox.tracer_policy import SandboxError

COMMAND = Command(
  'audit',
  'Say how far a run can be trusted: its canaries, its metric, and what to try next.',
  """
  Prints the false-keep rate, power and catch rate that the canaries have measured, pooled over all
  runs that are named; whether the search split ranks the kept programs as the test split does, for
  the older and the newer half of them; and harder settings for a run whose gains are under the
  noise, each with the cost of a pilot.

  With --seeds, the kept programs are first trained anew and scored on the test split. The search is
  never told about that. An audit that is stopped resumes by the same command.
  """,
  (
    Option('seeds', 'Training runs of each kept program for the test split; 0: only what is '
           'recorded.', 0, minimum=0, maximum=1000, value='N'),
  ),
  operand=WORKDIR,
  more_operands=True,
  examples={
    'autoresearch audit runs/digits_steps': 'From what is recorded.',
    'autoresearch audit runs/digits_steps --seeds=4': 'Trains the kept programs four times each.',
    'autoresearch audit runs/night1 runs/night2': 'Canaries of two nights, pooled.',
  },
  exit_codes={
    '0': 'Done.',
    '1': 'A machine failed; the same command resumes.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped by Ctrl-C; the same command resumes.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  errors = (LedgerError, WorkspaceError, SandboxError, OSError, UnicodeError)
  return COMMAND.run(_audit, arguments, errors, interrupted='Stopped; the same command resumes.')


def _audit(line: CommandLine) -> int:
  directories = [pathlib.Path(operand) for operand in dict.fromkeys(line.operands)]
  if line['seeds'] and len(directories) > 1:
    raise UsageError('--seeds trains the programs of one run; name one WORKDIR.')
  histories = [read_history(directory) for directory in directories]
  if line['seeds'] and not _retrained(directories[0], line['seeds']):
    return FAILED
  if line['seeds']:
    histories = [read_history(directories[0])]
  print(format_canaries(canary_rates(histories)) or 'Canaries: none has a verdict yet.')
  for directory, history in zip(directories, histories, strict=True):
    heading = f'\n{directory}\n' if len(directories) > 1 else '\n'
    print(heading + _of_run(directory, history))
  return 0


def _retrained(directory: pathlib.Path, seeds: int) -> bool:
  """Scores the kept programs on the test split. Returns False if the machine failed."""
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    history = History.of(ledger.records())
    programs = tuple(audited_programs(history))
    if history.started is None or not programs:
      return True
    task = build_task(history.config)
    dataset = task.prepare_data(say)
    if not dataset.test:
      raise ConfigError(
        f'The problem {history.config.problem!r} of the run in {directory} has no test split, so '
        'its metric cannot be audited. Set one aside in config.data, in another --workdir.'
      )
    if dataset.fingerprint != history.started.dataset:
      raise ConfigError(
        f'The data differ from those of the run in {directory}, so scores do not compare. Restore '
        'them, or leave out --seeds.'
      )
    executor = task.start_executor(dataset, workspace.scratch)
    try:
      return FinalEvaluation(
        ledger, history, executor, task.config.budget, seeds, lambda: '', say, programs
      ).run()
    except Unavailable as error:
      print(error, file=sys.stderr)
      return False
    finally:
      executor.close()


def _of_run(directory: pathlib.Path, history: History) -> str:
  audit = metric_audit(history)
  if audit is None:
    parts = [
      'Metric: too few kept programs have scores on both splits; --seeds=N trains them for the '
      f'test split ({len(audited_programs(history))} and the baseline, N times each).'
    ]
  else:
    descriptions = {n: edit.description for n, edit in history.edits.items()}
    parts = [audit_table(audit, descriptions), describe_audit(audit)]
  if settings := describe_settings(history, directory):
    why = describe_stale(history) or 'Gains are not under the noise yet.'
    parts += [f'\n{why}', f'Harder settings, by the cost of a pilot:\n{settings}']
  return '\n'.join(parts)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
