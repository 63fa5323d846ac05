"""`autoresearch check FOLDER`: traces a program and says what is wrong, without training it."""

import pathlib
import sys
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import (
  FAILED,
  RUN_FIELDS,
  Command,
  CommandLine,
  Option,
  UsageError,
)
from autoresearch_jax.config import Limits
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.programs.check_task import TASK_VARIABLE, CheckTask
from autoresearch_jax.programs.siblings import with_siblings
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.service import client
from autoresearch_jax.service.checker import CheckReport, traced
from autoresearch_jax.types import Program, Status, to_builtins

SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes
COMMAND = Command(
  'check',
  'Trace a program without training it, and say what is wrong.',
  f"""
  Imports the program in a folder and traces `init`, `train_step` and `predict`, or `kernel`, for
  the run's problem, as a run does before a trial. Prints what is wrong, or what the trace tells:
  fingerprint, parameters, FLOPs of a train step, memory of the state. No device is used.

  With --workdir, it also says whether an earlier trial of that run computes the same. While a
  service of that run is active (`autoresearch serve`), a check takes about a second; otherwise JAX
  has to start first.

  Without --config and --workdir, the problem is the one in the file that the environment variable
  {TASK_VARIABLE} names, as in a coding agent's sandbox.
  """,
  (
    Option('workdir', 'Folder of the run, instead of --config.', value='DIR'),
    Option('json', 'Print the result as JSON.', False),
  ),
  operand='FOLDER',
  config='The run: a shipped config or a file.',
  describe=RUN_FIELDS,
  examples={
    'autoresearch start --config=digits --out=my_program': 'Write a program, then edit it.',
    'autoresearch check my_program --config=digits': 'Check it.',
  },
  exit_codes={
    '0': 'The program traces, and is new to the run.',
    '1': 'It does not, or is a duplicate; the status and the reason are printed.',
    '2': 'Invalid input; the message on standard error says what to fix.',
  },
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(
    _check, arguments, (OSError, ValueError, SandboxError, LedgerError, client.ServiceError)
  )


def _check(line: CommandLine) -> int:
  folder = pathlib.Path(line.operand)
  directory = pathlib.Path(line['workdir']) if line['workdir'] else None
  history = None if directory is None else client.begun(directory)
  if directory is not None and history is not None:
    flags.require_same(line.config, history.config, directory)
    report = _checked_in_run(folder, directory, history)
  elif directory is not None and line.config is None:
    raise UsageError(
      f'There is no run in {directory} yet; name its config, such as --config=digits.'
    )
  else:
    task, limits = _task(line)
    report = traced(task, limits, _read(folder, task.entry, task.files))
  if line['json']:
    print(msgspec.json.encode({'schema': SCHEMA, **to_builtins(report)}).decode())
  else:
    print(_text(report))
  return 0 if report.status is Status.OK else FAILED


def _checked_in_run(folder: pathlib.Path, directory: pathlib.Path, history: History) -> CheckReport:
  """Checks a program for a run: by its service if there is one, otherwise here."""
  config = history.config
  program = _read(folder, config.entry, config.program_files)
  return client.checked(directory, program, config, history)


def _read(folder: pathlib.Path, entry: str, files: tuple[str, ...]) -> Program:
  try:
    return Program.read(folder, with_siblings(folder, files), entry)
  except (OSError, ValueError) as error:
    raise UsageError(
      f'The program ({", ".join(files)}) cannot be read from {str(folder)!r}: {error}. '
      '`autoresearch start` writes a folder with one.'
    ) from None


def _task(line: CommandLine) -> tuple[CheckTask, Limits]:
  """Returns the problem, of the config or of the environment, and the limits of the trace.

  An agent's sandbox cannot contain another one, and needs none.
  """
  if line.config is None and (task := CheckTask.from_environment()):
    return task, Limits(isolation='none')
  if line.config is None:
    raise UsageError('Name the run, for instance --config=digits.')
  config = flags.config_of(line.config)
  return client.check_task(config), config.limits


def _text(report: CheckReport) -> str:
  if report.status is not Status.OK:
    return f'{report.status}: {report.reason}'
  rows = {'fingerprint': report.fingerprint[:16]}
  if report.batch_size:  # not a kernel
    rows |= {
      'parameters': f'{report.parameters:,}',
      'batch size': f'{report.batch_size:,}',
      'FLOPs a step': f'{report.flops_per_step:.3g} (matrix products)',
      'state': f'{report.state_bytes / 2**20:.1f} MiB'
      + (f' of {report.device_bytes / 2**20:,.0f} MiB' if report.device_bytes else ''),
    }
  lines = [f'ok: the program traces ({report.seconds:.1f} s).']
  return '\n'.join([*lines, *(f'  {key:<14}{value}' for key, value in rows.items())])


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
