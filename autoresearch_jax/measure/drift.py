"""Steps of the same trial while other processes use the machine, by both clocks.

  autoresearch measure drift --config=configs/gpt_small.py:cpu [--hogs=0,1,2] [--kind=compute]

Trains the config's starting program, or `--programs`, once for each number of busy processes
("hogs") and each clock, `--rounds` times over, so that a machine whose speed drifts is the same for
all. With the wall clock a trial makes fewer steps while hogs run. With the calibrated clock it
should make as many; the last column says by how much it fails.
"""

import dataclasses
import itertools
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Literal

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import finished
from autoresearch_jax.measure.hogs import HOGS, hogs
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import Program, ReferenceStep, Status, TrialRequest

_CONFIG = command.define_config('The run whose trials are measured.')
_HOGS = flags.DEFINE_list('hogs', ['0', '1', '2'], 'Numbers of busy processes.')
flags.register_validator(_HOGS, lambda words: all(map(str.isdecimal, words)), 'Numbers, please.')
_KIND = flags.DEFINE_enum('kind', 'compute', list(HOGS), 'What hogs do.')
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Trials for each clock and number of hogs.', 1)
_PROGRAMS = flags.DEFINE_list('programs', [], 'Files of programs; by default the starting program.')
Clock = Literal['wall', 'calibrated']


@dataclasses.dataclass(frozen=True)
class TrialRow:
  """One trial: its steps, the machine's speed by its record, and calibration / training time."""

  steps: int
  speed: float
  price: float


def measured(
  config: Config, programs: dict[str, Program], counts: Sequence[int]
) -> dict[tuple[str, Clock, int], list[TrialRow]]:
  """Trains every program with every clock beside every number of hogs."""
  task = build_task(config)
  dataset = task.prepare_data(lambda _: None)
  rows: dict[tuple[str, Clock, int], list[TrialRow]] = {}
  numbers = itertools.count()
  reference = ReferenceStep(starting_program(config))
  with tempfile.TemporaryDirectory() as folder:
    executor = task.start_executor(dataset, pathlib.Path(folder))

    def train(program: Program, clock: Clock, seed: int = 0) -> TrialRow:
      nonlocal reference
      budget = dataclasses.replace(config.budget, clock=clock)
      request = TrialRequest(next(numbers), program, (seed,), budget, reference=reference)
      (result,) = finished(executor, request)
      if result.status != Status.OK:
        raise ConfigError(f'A trial ended as {result.status}: {result.reason}')
      if 'reference_step_seconds' in result.facts:
        step = result.facts['reference_step_seconds']
        reference = dataclasses.replace(reference, step_seconds=step)
      cost = result.measurements[0].cost
      return TrialRow(cost.steps, cost.speed, cost.calibration_seconds / cost.training_seconds)

    try:
      train(reference.program, 'calibrated')
      print(f'A step of the reference takes {reference.step_seconds:.4f} s.', flush=True)
      for round_ in range(_ROUNDS.value):
        for count, (name, program) in itertools.product(counts, programs.items()):
          clocks: tuple[Clock, ...] = ('wall', 'calibrated')
          with hogs(count, _KIND.value):
            for clock in clocks if round_ % 2 else clocks[::-1]:
              row = train(program, clock)
              print(f'{name} {clock} {count}: {row}', flush=True)
              rows.setdefault((name, clock, count), []).append(row)
    finally:
      executor.close()
  return rows


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag.')
    config = command.config_of(_CONFIG)
    programs = {'baseline': starting_program(config)}
    if _PROGRAMS.value:
      paths = map(pathlib.Path, _PROGRAMS.value)
      programs = {str(p): programs['baseline'].with_text(p.read_text()) for p in paths}
    counts = [int(count) for count in _HOGS.value]
    rows = measured(config, programs, counts)
    print('| program | clock | hogs | steps | speed | price | steps vs. no hogs |')
    print('|---|---|---|---|---|---|---|')
    for (name, clock, count), found in rows.items():
      quiet = statistics.fmean(row.steps for row in rows[name, clock, counts[0]])
      steps = statistics.fmean(row.steps for row in found)
      print(
        f'| {name} | {clock} | {count} | {", ".join(str(row.steps) for row in found)} | '
        f'{statistics.fmean(row.speed for row in found):.3f} | '
        f'{100 * statistics.fmean(row.price for row in found):.1f} % | '
        f'{100 * (steps / quiet - 1):+.1f} % |'
      )
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0
