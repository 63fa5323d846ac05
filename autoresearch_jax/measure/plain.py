"""The engine against plain JAX: time of a training, for one program.

  autoresearch measure plain --config=digits [--program=FOLDER] [--pairs=9] [--seconds=2]

One side trains the config's program as a trial does, with a budget in steps, by the trial's own
clock: traced, compiled by a runner, fed by its loader. The other is the loop that one would write
by hand: `jax.jit(train_step, donate_argnums=0)` in a process with JAX's own settings, on the same
batches, which lie in memory. Both count from `init` to the last step, without compilation. They
take turns, so that a busy machine is busy for both.

Printed are the median time of a step on both sides, the median ratio of the pairs with its 95 %
interval, how the engine dispatches steps, and the last loss of both. The program is imported here,
outside of any sandbox.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import ConfigError
from autoresearch_jax.measure.plain_sides import PlainSides, compare
from autoresearch_jax.programs.start import read_program, starting_program
from autoresearch_jax.runner.client import RunnerError

_CONFIG = command.define_config('The problem, its data, and the program.')
_PROGRAM = flags.DEFINE_string('program', '', "Folder of another program than the config's.")
_PAIRS = flags.DEFINE_integer('pairs', 9, 'Trainings on each side.', 1)
_SECONDS = flags.DEFINE_float('seconds', 2.0, 'Of a training in the engine, about.', 0.1)


def main(arguments: Sequence[str]) -> int:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is no flag.')
  try:
    config = command.config_of(_CONFIG)
    program = starting_program(config)
    if _PROGRAM.value:
      program = read_program(config, pathlib.Path(_PROGRAM.value), '--program')
    with PlainSides(config) as sides:
      print(compare(sides, program, _PAIRS.value, _SECONDS.value))
  except (ConfigError, RunnerError, OSError) as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0


if __name__ == '__main__':
  command.run(main)
