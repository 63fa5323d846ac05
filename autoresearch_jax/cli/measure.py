"""`autoresearch measure NAME`: runs a measurement of this machine, a module of `measure`."""

import difflib
import importlib
import shutil
import sys
import types
from collections.abc import Iterator, Sequence

from absl import flags

from autoresearch_jax.cli.command import MAX_WIDTH, Command, Row, table
from autoresearch_jax.cli.flags import BAD_INPUT, run

MEASUREMENTS = {
  'accelerator': "Speed and MFU of the GPT in the original's setting, on this accelerator.",
  'described': "Step time of a program on TPUs that need not be present, by XLA's estimates.",
  'drift': 'Steps of a trial while other processes use the machine, by both clocks.',
  'memory': 'Memory and FLOPs of the GPT on chips that need not be present, from XLA.',
  'overhead': 'Seconds that a trial takes beyond its budget: trace, compile, evaluate.',
  'plain': 'Time of a training in the engine and in a plain JAX loop of the same program.',
  'profile': 'Kernels of a train step on an accelerator, and their times.',
  'slots': 'Trials per hour with several slots.',
  'steps': 'Seconds per train step of given artifacts, for three ways of dispatching.',
  'utilization': 'Fraction of a run in which the device trains.',
  'yardstick': 'Evaluations that separate programs better per device second than the metric.',
}

COMMAND = Command(
  'measure',
  'Measure this machine: speed, memory, overhead, utilization.',
  """
  Each measurement has options of its own, which `autoresearch measure NAME --help` explains.
  """,
  operand='NAME',
  describe=lambda config: [('Measurements:', list(MEASUREMENTS.items()))],
  examples={
    'autoresearch measure overhead --config=gpt_small:cpu': 'Time of a trial beyond its budget.',
    'autoresearch measure memory --help': 'The options of that measurement.',
  },
  exit_codes={'0': 'Measured.', '2': 'Invalid input; the message says what to fix.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the measurement that the arguments name; returns the exit code."""
  if not arguments or arguments[0].startswith('-'):
    return COMMAND.run(lambda line: 0, arguments)
  name, *rest = arguments
  if name not in MEASUREMENTS:
    near = difflib.get_close_matches(name, MEASUREMENTS, n=1)
    hint = f'did you mean {near[0]}?' if near else f'there are: {", ".join(MEASUREMENTS)}.'
    print(f'There is no measurement {name!r}; {hint}', file=sys.stderr)
    return BAD_INPUT
  module = importlib.import_module(f'autoresearch_jax.measure.{name}')
  if {'--help', '-h'} & set(rest):
    print(_help(name, module))
    return 0
  sys.argv = [f'autoresearch measure {name}', *rest]
  run(module.main)  # exits
  return 0


def _help(name: str, module: types.ModuleType) -> str:
  """Returns the help text of a measurement: its module's docstring and flags."""
  width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
  rows = [*_rows(module), ('--help', 'Shows this text.')]
  usage = f'Usage: autoresearch measure {name} [OPTIONS]'
  return f'{usage}\n\n{(module.__doc__ or "").strip()}\n\nOptions:\n{table(rows, width)}'


def _rows(module: types.ModuleType) -> Iterator[Row]:
  """Yields the options that a module holds as absl flags, in order of their definition."""
  for holder in vars(module).values():
    if not isinstance(holder, flags.FlagHolder):
      continue
    flag = flags.FLAGS[holder.name]
    if flag.name == 'config':
      yield '--config=NAME[:VARIANT]', str(flag.help)
      yield '--config.FIELD=VALUE', 'Sets a field of the config; see `autoresearch run --help`.'
      continue
    choices = getattr(flag.parser, 'enum_values', None)
    value = '' if flag.boolean else f'={"|".join(choices) if choices else _placeholder(flag)}'
    default = ','.join(flag.default) if isinstance(flag.default, list) else flag.default
    text = str(flag.help).removeprefix(f'<{"|".join(choices or ())}>: ')
    text = text.partition(';\n')[0]  # absl's own remark on flags that may be repeated
    yield f'--{flag.name}{value}', text if default in (None, '', False) else f'{text} [{default}]'


def _placeholder(flag: flags.Flag) -> str:
  """Returns what stands for a flag's value in the help text."""
  return {'int': 'N', 'float': 'X'}.get(flag.flag_type(), flag.name.upper())
