"""One trial from the command line, for a coding agent or a person.

  python -m autoresearch_jax.trial --config=configs/gpt_small.py --program=DIR --out=FILE.json

Trains the program in DIR once, prints the original's summary block, writes everything known of
the trial to FILE.json, and exits with 0 only when the status is `ok`.
"""

import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence

import msgspec
from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Unavailable, finished
from autoresearch_jax.programs.start import constants_of, read_program, starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import Program, Progress, Result, Status, TrialRequest, to_builtins

_CONFIG = command.define_config('The run this trial belongs to, e.g. configs/gpt_small.py.')
_PROGRAM = flags.DEFINE_string(
  'program', None, "Folder that holds the program's editable files; default: the starting program."
)
_OUT = flags.DEFINE_string('out', None, 'JSON file to write the result to.')
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the training run.', lower_bound=0)

INTERRUPTED = 130


def run_trial(config: Config, program: Program, seed: int) -> Result:
  """Traces, trains and evaluates one program, with news on standard error."""
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    task = build_task(config)
    executor = task.start_executor(task.prepare_data(_say), pathlib.Path(scratch))
    try:
      request = TrialRequest(0, program, (seed,), config.budget)
      (result,) = finished(executor, request, each=_teller())
      return result
    finally:
      executor.close()


def depth_of(program: Program) -> int | None:
  """The program's constant DEPTH, where it has one and can be read at all."""
  try:
    depth = constants_of(program).get('DEPTH')
  except ConfigError:  # not Python, which is what the trial's reason says
    return None
  return depth if isinstance(depth, int) else None


def summary(config: Config, result: Result, depth: int | None = None) -> str:
  """The original's block: `---`, then one `key: value` a line."""
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
  return '\n'.join(lines)


def record(result: Result) -> dict[str, object]:
  """What FILE.json holds: the result, with the metrics and cost of its one seed on top."""
  values = to_builtins(result)
  measurements = values.pop('measurements')
  first = measurements[0] if measurements else {'metrics': {}, 'cost': {}}
  return {**values, 'metrics': first['metrics'], 'cost': first['cost']}


def _teller() -> Callable[[Progress], None]:
  """What says each phase as it begins, and in a terminal how far training is."""
  phase = ''

  def tell(news: Progress) -> None:
    nonlocal phase
    if news.phase != phase:
      phase = news.phase
      _say(f'{phase} ...')
    elif phase == 'train' and sys.stderr.isatty():
      _say(_training(news), end='\r')

  return tell


def _training(news: Progress) -> str:
  return f'train {news.fraction:6.1%}  step {news.step:>6}  loss {news.loss:.4f}  '


def _say(line: str, end: str = '\n') -> None:
  print(line, end=end, file=sys.stderr, flush=True)


def _program(config: Config) -> Program:
  if _PROGRAM.value is None:
    return starting_program(config)
  return read_program(config, pathlib.Path(_PROGRAM.value), '--program')


def _require_writable(out: str | None) -> None:
  """A trial takes minutes, so what would lose its result is said before it. Raises ConfigError."""
  if out and not pathlib.Path(out).absolute().parent.is_dir():
    raise ConfigError(f'--out is {out!r}, but its folder does not exist; make it first.')
  if out and pathlib.Path(out).is_dir():
    raise ConfigError(f'--out is {out!r}, which is a folder; name a file in it.')


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(
        f'{arguments[1]!r} is no flag; the flags are --config, --program, --out and --seed.'
      )
    config = command.config_of(_CONFIG)
    _require_writable(_OUT.value)
    program = _program(config)
    result = run_trial(config, program, _SEED.value)
  except (ConfigError, OSError, UnicodeError, SandboxError, Unavailable) as error:
    _say(str(error))
    return command.BAD_INPUT
  except KeyboardInterrupt:
    _say('Stopped; nothing was written.')
    return INTERRUPTED
  if _OUT.value:
    data = msgspec.json.format(msgspec.json.encode(record(result)), indent=1)
    pathlib.Path(_OUT.value).write_bytes(data + b'\n')
  print(summary(config, result, depth_of(program)))
  return 0 if result.status == Status.OK else 1


if __name__ == '__main__':
  command.run(main)
