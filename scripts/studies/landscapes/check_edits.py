"""Compares a landscape with trainings through the engine: a sample of cells, trained anew.

  python check_edits.py --landscape=digits --cells=20

Prints a row for each cell: its levels, the recorded metric of each seed, and the engine's. In the
end, the root mean square of the differences, relative to the deviation between seeds, and the
number of cells on whose failure the two disagree. Exits with 1 if the differences are above
--tolerance seed deviations. Both train the same program on the same batches from the same keys;
what differs is the order of sums, which training amplifies.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
from spaces import SPACES, program_of

from autoresearch_jax.benchmark.simulations.landscape_table import Landscape, LandscapeError
from autoresearch_jax.executors import finished
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import Status, TrialRequest


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--landscape', choices=sorted(SPACES), default='digits')
  parser.add_argument('--file', help='the .npz file; default: the shipped landscape')
  parser.add_argument('--cells', type=int, default=20)
  parser.add_argument('--first', type=int, default=0, help='seed of the sample')
  parser.add_argument('--tolerance', type=float, default=1.0)
  arguments = parser.parse_args()
  space = SPACES[arguments.landscape]
  try:
    landscape = Landscape.load(arguments.file or arguments.landscape)
  except LandscapeError as error:
    print(error, file=sys.stderr)
    return 2
  config = space.config_of()
  start, task = starting_program(config), build_task(config)
  seeds = tuple(landscape.about['seeds'])
  complete = landscape.metric[np.isfinite(landscape.metric[:, -1]).all(axis=1), -1]
  deviation = float(np.sqrt(np.median(complete.var(axis=1, ddof=1))))
  rng = np.random.default_rng(arguments.first)
  differences, disagreements = [], 0
  with tempfile.TemporaryDirectory() as scratch:
    executor = task.start_executor(task.prepare_data(print), pathlib.Path(scratch))
    try:
      cells = rng.permutation(len(landscape.metric))[: arguments.cells]
      for number, cell in enumerate(cells):
        places = np.unravel_index(cell, landscape.shape)
        levels = {f.name: int(i) for f, i in zip(space.factors, places, strict=True)}
        program = program_of(space, start, levels)
        recorded = landscape.metric[cell, -1]
        if program is None:
          disagreements += not landscape.invalid[cell]
          continue
        (result,) = finished(executor, TrialRequest(number, program, seeds, config.budget))
        fresh = np.array([m.metrics[config.metric] for m in result.measurements])
        print(tuple(levels.values()), recorded, result.status.value, fresh, flush=True)
        if result.status is not Status.OK or np.isnan(recorded).any():
          disagreements += (result.status is Status.OK) == bool(np.isnan(recorded).any())
          continue
        differences.append(fresh - recorded)
    finally:
      executor.close()
  error = float(np.sqrt(np.mean(np.square(differences)))) if differences else 0.0
  print(
    f'{len(differences)} cells: root mean square difference {error:.3g}, '
    f'{error / deviation:.2f} of the typical deviation between seeds ({deviation:.3g}); '
    f'{disagreements} of {arguments.cells} disagree on failure.'
  )
  return int(error > arguments.tolerance * deviation or disagreements > 0)


if __name__ == '__main__':
  sys.exit(main())
