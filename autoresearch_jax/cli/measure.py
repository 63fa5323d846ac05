"""`autoresearch measure NAME`: what this machine does, measured by a module of `measure`."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.cli.command import Command
from autoresearch_jax.cli.flags import BAD_INPUT, run

MEASUREMENTS = {
  'accelerator': "The GPT in the original's setting on this machine's GPU or TPU: speed and MFU.",
  'memory': 'Bytes and FLOPs of the GPT for chips that need not be there, by XLA.',
  'overhead': 'Seconds of a trial beyond its budget: trace, compile, evaluate.',
  'profile': "Where an accelerator's time goes within a train step.",
  'slots': 'Trials an hour with several slots.',
  'steps': 'Seconds of a train step of given artifacts, dispatched in three ways.',
  'utilization': 'The share of a run in which the device trains.',
}


COMMAND = Command(
  'measure',
  'Measure this machine: speed, memory, overhead, utilization.',
  """
  Each measurement is a module of autoresearch_jax/measure with options of its own, which
  `autoresearch measure NAME --help` explains.
  """,
  operand='NAME',
  describe=lambda config: [('Measurements:', list(MEASUREMENTS.items()))],
  examples={
    'autoresearch measure overhead --config=gpt_small:cpu': 'What a trial takes beyond its budget.',
    'autoresearch measure memory --help': 'What that measurement does, and its options.',
  },
  exit_codes={'0': 'Measured.', '2': 'Something does not fit; a sentence says what.'},
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
    print(f'{module.__doc__}\nOptions:\n{flags.FLAGS.module_help(module)}')
    return 0
  sys.argv = [f'autoresearch measure {name}', *rest]
  run(module.main)  # exits
  return 0
