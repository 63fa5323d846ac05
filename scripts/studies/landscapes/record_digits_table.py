"""Records a table of real trials for `benchmark/simulations/recorded.py`: constants -> val_loss.

  python record_digits_table.py [--out=FILE] [--programs=150] [--minutes=6]

Trains programs/mlp on digits (configs/digits.py, but for --steps) with constants from a Latin
hypercube, through the real trial engine; every fifth program on a second seed, so that noise is
seen. Programs above DEVICE_BYTES are refused as out of memory, high learning rates diverge: the
table has its failures. Writes a row a training run: the constants, seed, val_loss, ok, status,
seconds. Stops when the minutes are over; the same command goes on where the table ends.
"""

import argparse
import csv
import dataclasses
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from scipy.stats import qmc

from autoresearch_jax.config import Config, from_config_dict, load
from autoresearch_jax.executors import Executor, finished
from autoresearch_jax.programs.start import starting_program, with_constants
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import TrialRequest

TABLE = 'autoresearch_jax/problems/simulated/tables/digits.csv'
DEVICE_BYTES = 6 * 2**20  # of the pretended device
# name: (low, high, whether the logarithm is sampled); an int where both ends are ints
RANGES = {
  'DEPTH': (1, 4, False),
  'WIDTH': (4, 1024, True),
  'DROPOUT_RATE': (0.0, 0.7, False),
  'BATCH_SIZE': (4, 256, True),
  'LEARNING_RATE': (1e-4, 1.0, True),
  'WEIGHT_DECAY': (1e-6, 1.0, True),
  'LABEL_SMOOTHING': (0.0, 0.3, False),
}


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path(TABLE))
  parser.add_argument('--programs', type=int, default=150)
  parser.add_argument('--steps', type=float, default=200.0)
  parser.add_argument('--minutes', type=float, default=6.0)
  arguments = parser.parse_args()
  deadline = time.monotonic() + 60 * arguments.minutes
  config = pretended(from_config_dict(load('digits')), arguments.steps)
  done = recorded(arguments.out)
  with tempfile.TemporaryDirectory() as scratch, arguments.out.open('a', newline='') as file:
    table = csv.writer(file, lineterminator='\n')
    if not done:
      table.writerow([*RANGES, 'seed', 'val_loss', 'ok', 'status', 'seconds'])
    task = build_task(config)
    executor = task.start_executor(task.prepare_data(print), pathlib.Path(scratch))
    try:
      for number, constants in enumerate(samples(arguments.programs)):
        if time.monotonic() > deadline:
          print(f'The minutes are over before program {number}; run it again to go on.')
          break
        if tuple(map(str, constants.values())) not in done:
          seeds = (0, 1) if number % 5 == 0 else (0,)
          table.writerows(rows(executor, config, number, constants, seeds))
          file.flush()
    finally:
      executor.close()
  return 0


def recorded(path: pathlib.Path) -> set[tuple[str, ...]]:
  """The constants of the programs that the table has already."""
  if not path.exists():
    return set()
  with path.open(newline='') as file:
    return {tuple(row[name] for name in RANGES) for row in csv.DictReader(file)}


def pretended(config: Config, steps: float) -> Config:
  """The config on a device of DEVICE_BYTES, with another budget."""
  return dataclasses.replace(
    config,
    budget=dataclasses.replace(config.budget, amount=steps),
    limits=dataclasses.replace(config.limits, device_bytes=DEVICE_BYTES),
  )


def samples(count: int) -> Iterator[dict[str, Any]]:
  for point in qmc.LatinHypercube(len(RANGES), rng=0).random(count):
    yield {
      name: scaled(share, *limits)
      for share, (name, limits) in zip(point.tolist(), RANGES.items(), strict=True)
    }


def scaled(share: float, low: float, high: float, log: bool) -> float:
  if isinstance(low, int):  # each integer has as much room as the others
    low, high, whole = low - 0.5, high + 0.5, True
  else:
    whole = False
  value = low * (high / low) ** share if log else low + (high - low) * share
  return max(math.ceil(low), round(value)) if whole else float(f'{value:.4g}')


def rows(
  executor: Executor, config: Config, number: int, constants: dict[str, Any], seeds: tuple[int, ...]
) -> Iterator[list[Any]]:
  """Trains one program; a row a seed, or one row when it failed."""
  program = with_constants(starting_program(config), constants)
  began = time.monotonic()
  (result,) = finished(executor, TrialRequest(number, program, seeds, config.budget))
  print(f'{number}: {result.status} {result.reason}', flush=True)
  for seed in seeds:
    measured = [m for m in result.measurements if m.seed == seed]
    if measured:
      loss, cost = measured[0].metrics['val_loss'], measured[0].cost
      yield [*constants.values(), seed, f'{loss:.6g}', 1, 'ok', f'{cost.total_seconds:.3f}']
    else:
      seconds = f'{time.monotonic() - began:.3f}'
      yield [*constants.values(), seed, '', 0, result.status.value, seconds]
      return


if __name__ == '__main__':
  sys.exit(main())
