"""`autoresearch check FOLDER`: traces a program and says what is wrong, without training it."""

import pathlib
import sys
import tempfile
from collections.abc import Sequence

from autoresearch_jax.cli import fields, flags
from autoresearch_jax.cli.command import FAILED, Command, CommandLine, UsageError
from autoresearch_jax.config import Limits
from autoresearch_jax.programs.check_task import TASK_VARIABLE, CheckTask
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Status

COMMAND = Command(
  'check',
  'Trace a program without training it, and say what is wrong.',
  f"""
  Imports the program in a folder and traces `init`, `train_step` and `predict` for the run's
  problem, as a run does before a trial. No data is read and no device is used. Without --config the
  problem is the one in the file that the environment variable {TASK_VARIABLE} names, as in a coding
  agent's sandbox.
  """,
  operand='FOLDER',
  config='The run: a shipped config or a file.',
  describe=fields.run_fields,
  examples={
    'autoresearch start --config=digits --out=my_program': 'Write a program, then edit it.',
    'autoresearch check my_program --config=digits': 'Check it.',
  },
  exit_codes={
    '0': 'The program traces.',
    '1': 'It does not; the status and the reason are printed.',
    '2': 'Invalid input; the message on standard error says what to fix.',
  },
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_check, arguments, (OSError, ValueError, SandboxError))


def _check(line: CommandLine) -> int:
  task, limits = _task(line)
  folder = pathlib.Path(line.operand)
  try:
    program = task.read_program(folder)
  except (OSError, ValueError) as error:
    names = ', '.join(task.files)
    raise UsageError(
      f'The program ({names}) cannot be read from {str(folder)!r}: {error}. '
      '`autoresearch start` writes a folder with one.'
    ) from None
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    tracer = TracerClient(limits, (), pathlib.Path(scratch))
    try:
      out = pathlib.Path(scratch) / 'artifact'
      result = tracer.trace(program, task.spec, task.evaluation_batch, out)
    finally:
      tracer.close()
  if result.status == Status.OK:
    print(f'ok: the program traces ({result.seconds:.1f} s).')
    return 0
  print(f'{result.status}: {result.reason}')
  return FAILED


def _task(line: CommandLine) -> tuple[CheckTask, Limits]:
  """Returns the problem, of the config or of the environment, and the limits of the trace.

  An agent's sandbox cannot contain another one, and needs none.
  """
  if line.config is None and (task := CheckTask.from_environment()):
    return task, Limits(isolation='none')
  if line.config is None:
    raise UsageError('Name the run, for instance --config=digits.')
  config = flags.config_of(line.config)
  files = tuple(sorted({config.entry, *config.editable}))
  return CheckTask(build_task(config).spec, config.entry, files), config.limits


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
