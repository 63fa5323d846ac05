"""Records how a program's score depends on its number of train steps.

  python record_step_scores.py --config=gpt_small:cpu --steps=60,80,100,120,150 --out=gpt_cpu.csv

The starting program of the config is trained on each seed with each number of steps. The CSV has a
row `steps,seed,score` for each run; `measure_drift.py` simulates machines of changing speed by it.
"""

import csv
import dataclasses
import itertools
import pathlib
import sys
import tempfile

from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.executors import finished
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import Budget, Status, TrialRequest

_CONFIG = command.define_config('The run whose starting program is trained.')
_STEPS = flags.DEFINE_list('steps', None, 'Numbers of train steps.', required=True)
_SEEDS = flags.DEFINE_integer('seeds', 4, 'Training seeds of each.', 1)
_OUT = flags.DEFINE_string('out', None, 'CSV file to write.', required=True)


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  config = command.config_of(_CONFIG)
  task = build_task(config)
  dataset = task.prepare_data(lambda line: None)
  numbers = itertools.count()
  with tempfile.TemporaryDirectory() as folder, pathlib.Path(_OUT.value).open('w') as file:
    executor = task.start_executor(dataset, pathlib.Path(folder))
    writer = csv.writer(file)
    writer.writerow(('steps', 'seed', config.metric))
    try:
      for steps in map(int, _STEPS.value):
        budget = dataclasses.replace(config.budget, amount=float(steps), unit='steps')
        assert isinstance(budget, Budget)
        request = TrialRequest(
          next(numbers), starting_program(config), tuple(range(_SEEDS.value)), budget
        )
        (result,) = finished(executor, request)
        if result.status != Status.OK:
          raise SystemExit(f'{steps} steps: {result.status}: {result.reason}')
        for run in result.measurements:
          writer.writerow((steps, run.seed, run.metrics[config.metric]))
        file.flush()
        print(f'{steps} steps: done', file=sys.stderr, flush=True)
    finally:
      executor.close()


if __name__ == '__main__':
  app.run(main)
