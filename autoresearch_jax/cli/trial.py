"""`autoresearch trial`: runs a single trial, for a coding agent or a person."""

import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence

import msgspec

from autoresearch_jax.cli import fields, flags
from autoresearch_jax.cli.command import FAILED, Command, CommandLine, Option
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Unavailable, finished
from autoresearch_jax.messages import say
from autoresearch_jax.programs.start import constants_of, read_program, starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import Program, Progress, Result, Status, TrialRequest, to_builtins

SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes
COMMAND = Command(
  'trial',
  'Train one program once, and print its score.',
  """
  Traces, trains and evaluates the program in a folder. Prints the original's summary block (`---`,
  then one `key: value` per line) on standard output and progress on standard error, and writes the
  complete result as JSON. It does not touch a run's ledger.
  """,
  (
    Option('program', 'Folder with the editable files.', value='DIR', shown='the starting program'),
    Option('out', 'JSON file to write the result to.', value='FILE'),
    Option('json', 'Print the content of --out instead of the summary block.', False),
    Option('seed', 'Seed of the training run.', 0, minimum=0, value='N'),
  ),
  config='The run: a shipped config or a file.',
  describe=fields.run_fields,
  examples={
    'autoresearch start --config=gpt_small --out=my_program': 'Write the program, then edit it.',
    'autoresearch trial --config=gpt_small --program=my_program --out=trial.json': 'Train it.',
  },
  exit_codes={
    '0': 'The program trained and has a score (status ok).',
    '1': 'The program has no score; status and reason say why.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped by Ctrl-C; nothing was written.',
  },
)


def run_trial(config: Config, program: Program, seed: int) -> Result:
  """Traces, trains and evaluates one program, with progress on standard error."""
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    task = build_task(config)
    executor = task.start_executor(task.prepare_data(_say), pathlib.Path(scratch))
    try:
      request = TrialRequest(0, program, (seed,), config.budget)
      (result,) = finished(executor, request, each=_progress_printer())
      return result
    finally:
      executor.close()


def depth_of(program: Program) -> int | None:
  """Returns the program's constant DEPTH, or None."""
  try:
    depth = constants_of(program).get('DEPTH')
  except ConfigError:  # not valid Python, which the trial reports
    return None
  return depth if isinstance(depth, int) else None


def summary(config: Config, result: Result, depth: int | None = None) -> str:
  """Returns the original's summary block: `---`, then one `key: value` per line."""
  lines = ['---']
  if result.measurements:
    measurement = result.measurements[0]
    cost = measurement.cost
    rows = {
      config.metric: f'{measurement.metrics[config.metric]:.6f}',
      'training_seconds': f'{cost.training_seconds:.1f}',
      'total_seconds': f'{cost.total_seconds:.1f}',
      'peak_vram_mb': f'{cost.peak_bytes / 2**20:.1f}',
      'mfu_percent': f'{cost.mfu_percent:.2f}',
      'total_tokens_M': f'{cost.tokens / 1e6:.1f}',
      'num_steps': f'{cost.steps}',
      'num_params_M': f'{cost.parameters / 1e6:.1f}',
      'trace_seconds': f'{cost.trace_seconds:.1f}',
      'compile_seconds': f'{cost.compile_seconds:.1f}',
    }
    if depth is not None:
      rows['depth'] = f'{depth}'
    lines += [f'{key + ":":<18}{value}' for key, value in rows.items()]
  lines.append(f'{"status:":<18}{result.status}')
  if result.reason:
    lines.append(f'{"reason:":<18}{result.reason}')
  if note := result.facts.get('devices_note'):
    lines.append(f'{"note:":<18}{note}')
  return '\n'.join(lines)


def record(result: Result) -> dict[str, object]:
  """Returns the content of the --out file: the result, with metrics and cost of its one seed."""
  values = to_builtins(result)
  measurements = values.pop('measurements')
  first = measurements[0] if measurements else {'metrics': {}, 'cost': {}}
  return {'schema': SCHEMA, **values, 'metrics': first['metrics'], 'cost': first['cost']}


def _progress_printer() -> Callable[[Progress], None]:
  """Returns a function that prints each phase as it begins, and in a terminal the progress."""
  phase = ''

  def show(progress: Progress) -> None:
    nonlocal phase
    if progress.phase != phase:
      phase = progress.phase
      _say(f'{phase} ...')
    elif phase == 'train' and sys.stderr.isatty():
      _say(_training(progress), end='\r')

  return show


def _training(progress: Progress) -> str:
  return f'train {progress.fraction:6.1%}  step {progress.step:>6}  loss {progress.loss:.4f}  '


def _say(line: str, end: str = '\n') -> None:
  say(line, end=end, file=sys.stderr)


def _require_writable(out: str | None) -> None:
  """Raises ConfigError if --out cannot be written, before minutes of training."""
  if out and not pathlib.Path(out).absolute().parent.is_dir():
    raise ConfigError(f'--out is {out!r}, but its folder does not exist; make it first.')
  if out and pathlib.Path(out).is_dir():
    raise ConfigError(f'--out is {out!r}, which is a folder; name a file in it.')


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  errors = (OSError, UnicodeError, SandboxError, Unavailable)
  return COMMAND.run(_trial, arguments, errors, interrupted='Stopped; nothing was written.')


def _trial(line: CommandLine) -> int:
  config = flags.config_of(line.config)
  _require_writable(line['out'])
  if line['program'] is None:
    program = starting_program(config)
  else:
    program = read_program(config, pathlib.Path(line['program']), '--program')
  result = run_trial(config, program, line['seed'])
  data = msgspec.json.encode(record(result))
  if line['out']:
    pathlib.Path(line['out']).write_bytes(msgspec.json.format(data, indent=1) + b'\n')
  print(data.decode() if line['json'] else summary(config, result, depth_of(program)))
  return 0 if result.status == Status.OK else FAILED


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
