"""Eight kinds of programs in the engine against plain JAX loops, by `autoresearch measure plain`.

  python scripts/studies/step/program_kinds.py [--kinds=cnn,moe] [--pairs=9] [--seconds=2]

Prints a Markdown table: what a step takes on both sides, and the median ratio of the pairs with its
95 % interval. The bar is a ratio of 1.05 for each kind.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError, from_config_dict, load
from autoresearch_jax.measure.plain_sides import PlainComparison, PlainSides, compare
from autoresearch_jax.programs.start import read_program, starting_program
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import Program

PROGRAMS = pathlib.Path(__file__).with_name('programs')
# Config, and folder of the program if it is not the config's own.
KINDS = {
  'mlp': ('digits', ''),
  'cnn': ('digits', 'cnn'),
  'cnn3': ('digits', 'cnn3'),
  'gpt': ('gpt_small', ''),
  'recurrent': ('gpt_small', 'recurrent'),
  'moe': ('gpt_small', 'moe'),
  'muon': ('digits', 'muon'),
  'logistic': ('digits', 'logistic'),
}
BAR = 1.05

_KINDS = flags.DEFINE_list('kinds', list(KINDS), 'Kinds to measure.')
_PAIRS = flags.DEFINE_integer('pairs', 9, 'Trainings on each side.', 1)
_SECONDS = flags.DEFINE_float('seconds', 2.0, 'Of a training in the engine, about.', 0.1)
_PLATFORM = flags.DEFINE_enum('platform', 'cpu', ['cpu', 'gpu', 'tpu'], 'What to run on.')


def config_of(name: str, platform: str) -> Config:
  """One of the configs, on a platform."""
  raw = load(f'{name}:cpu' if name == 'gpt_small' else name)
  raw.platform = platform
  return from_config_dict(raw)


def program_of(kind: str, config: Config) -> Program:
  folder = KINDS[kind][1]
  if not folder:
    return starting_program(config)
  return read_program(config, PROGRAMS / folder, '--kinds')


def main(arguments: Sequence[str]) -> int:
  if len(arguments) > 1 or set(_KINDS.value) - set(KINDS):
    raise app.UsageError(f'--kinds are of {", ".join(KINDS)}.')
  print('| kind | engine, ms a step | plain, ms a step | ratio | interval | steps | dispatch |')
  print('|---|---|---|---|---|---|---|', flush=True)
  slow = []
  try:
    for name in sorted({KINDS[kind][0] for kind in _KINDS.value}):
      config = config_of(name, _PLATFORM.value)
      with PlainSides(config) as sides:
        for kind in (kind for kind in _KINDS.value if KINDS[kind][0] == name):
          program = program_of(kind, config)
          found = compare(sides, program, _PAIRS.value, _SECONDS.value)
          print(row(kind, found), flush=True)
          slow += [kind] if found.ratio > BAR else []
  except (ConfigError, RunnerError, OSError) as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  print(f'\nAbove {BAR}: {", ".join(slow)}.' if slow else f'\nNone is above {BAR}.')
  return 0


def row(kind: str, found: PlainComparison) -> str:
  engine, plain = found.step_milliseconds
  low, high = found.interval
  return (
    f'| {kind} | {engine:.3f} | {plain:.3f} | {found.ratio:.3f} | {low:.3f} to {high:.3f} | '
    f'{found.steps} | {", ".join(found.dispatch)} |'
  )


if __name__ == '__main__':
  app.run(main)
