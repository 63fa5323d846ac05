"""The score of one unmodified program on many training seeds: the noise that keep decisions face.

  python record_seed_scores.py --config=digits --seeds=200 --out=digits.txt
  python measure_acceptance.py --scores=digits=digits.txt

Real trainings by the real tracer and runner, one after the other; a line for each seed, as it
comes, so that what was stopped is not lost. Prints mean, deviation, and how the tails compare with
a normal distribution's (excess kurtosis, 0 for a normal one).
"""

import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS
from autoresearch_jax.executors import finished
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import Status, TrialRequest

_CONFIG = command.define_config('The run whose starting program is trained.')
SEEDS = flags.DEFINE_integer('seeds', 200, 'How many, from 1000 on, which no run uses.', 2)
OUT = flags.DEFINE_string('out', 'scores.txt', 'File for the scores.')
FIRST = 1000
AT_ONCE = 10  # seeds of one request: what is recorded together


def main(arguments: Sequence[str]) -> int:
  del arguments
  try:
    config = command.config_of(_CONFIG)
    task = build_task(config)
    dataset = task.prepare_data(print)
    program = starting_program(config)
    scores: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, pathlib.Path(OUT.value).open('w') as out:
      executor = task.start_executor(dataset, pathlib.Path(scratch))
      try:
        for begin in range(0, SEEDS.value, AT_ONCE):
          seeds = range(FIRST + begin, FIRST + min(begin + AT_ONCE, SEEDS.value))
          request = TrialRequest(begin, program, tuple(seeds), config.budget)
          (result,) = finished(executor, request)
          if result.status is not Status.OK:
            raise OSError(f'The program did not train: {result.reason}')
          scores += (found := [m.metrics[config.metric] for m in result.measurements])
          out.writelines(f'{score!r}\n' for score in found)
          out.flush()
      finally:
        executor.close()
    print(described(scores))
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0


def described(scores: list[float]) -> str:
  mean, deviation = statistics.fmean(scores), statistics.stdev(scores)
  fourth = statistics.fmean(((score - mean) / deviation) ** 4 for score in scores)
  return f'{len(scores)} seeds: {mean:.6f} ± {deviation:.6f}, excess kurtosis {fourth - 3:+.2f}'


if __name__ == '__main__':
  command.run(main)
