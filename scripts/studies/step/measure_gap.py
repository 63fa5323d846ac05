"""How long the device waits for the host in a trial: training against calls with nothing between.

  python measure_gap.py --config=gpt_small:cpu
  python measure_gap.py --config=digits

One side trains the config's starting program as the runner does (`runner/train.py`: batches from
the loader, progress, losses read after each call). The other makes the same calls of the same
executables, with batches that lie on the device already, and reads nothing until the end. The two
take turns in one process; printed are the medians of a step and the median ratio of the pairs: 1
means that the host never keeps the device waiting.
"""

import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.data import loader
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner import client
from autoresearch_jax.runner.compile import (
  CompiledProgram,
  ExecutableTemplate,
  compile_template,
  prng_key_data,
)
from autoresearch_jax.runner.train import train
from autoresearch_jax.tracer import export
from autoresearch_jax.types import Budget, Dataset

_CONFIG = command.define_config('The run whose starting program is trained.')
_SECONDS = flags.DEFINE_float('seconds', 3.0, 'Of a training, about.', 0.1)
_PAIRS = flags.DEFINE_integer('pairs', 7, 'Trainings, and as often the calls alone.', 1)

STARTED = 'MEASURE_GAP_STARTED'


@dataclasses.dataclass
class Calls:
  """The calls of one training, and the batches that the last of each phase was given."""

  counts: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # phase, steps
  arguments: dict[int, tuple[Any, ...]] = dataclasses.field(default_factory=dict)

  def recorded(self, compiled: CompiledProgram) -> CompiledProgram:
    """The same program; it notes what it is called with."""
    return dataclasses.replace(
      compiled,
      phases=tuple(
        dataclasses.replace(phase, run=self._noting(index, phase.run))
        for index, phase in enumerate(compiled.phases)
      ),
    )

  def _noting(self, index: int, run: Any) -> Any:
    def noting(leaves: Any, inputs: Any, targets: Any, progress: Any, count: Any) -> Any:
      self.counts.append((index, int(count)))
      self.arguments[index] = inputs, targets, progress
      return run(leaves, inputs, targets, progress, count)

    return noting


def main(_argv: Sequence[str]) -> int:
  try:
    config = command.config_of(_CONFIG)
  except ConfigError as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  if STARTED not in os.environ:  # what a runner starts with is read once, when a process starts
    environment = client.process_environment(config.platform) | {STARTED: '1'}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)
  dataset = build_task(config).prepare_data(print)
  with tempfile.TemporaryDirectory() as scratch:
    compiled = compiled_start(config, dataset, pathlib.Path(scratch))
  budget = Budget(steps_of(compiled, dataset, _SECONDS.value), 'steps')
  training, calling = [], []
  for _ in range(_PAIRS.value):
    calls = Calls()
    training.append(trained(calls.recorded(compiled), dataset, budget))
    # The first call is the warm-up's, before the clock.
    calling.append(called(compiled, calls.counts[len(compiled.phases) :], calls.arguments))
  for name, seconds in (('trained', training), ('called', calling)):
    a_step = 1000 * statistics.median(seconds) / budget.amount
    print(f'{name:8} {a_step:8.3f} ms a step, {budget.amount:g} steps')
  pairs = [a / b for a, b in zip(training, calling, strict=True)]
  print(
    f'ratio    {statistics.median(pairs):8.3f} (median of {len(pairs)} pairs, from '
    f'{min(pairs):.3f} to {max(pairs):.3f})'
  )
  return 0


def compiled_start(config: Config, dataset: Dataset, folder: pathlib.Path) -> CompiledProgram:
  for name, text in starting_program(config).files:
    (folder / name).write_text(text)
  artifact = export.export_program(
    folder, config.entry, build_task(config).spec, dataset.evaluation_batch
  )
  template = ExecutableTemplate.from_artifact(artifact)
  return compile_template(template, jax.devices(), 0).bind(template)


def steps_of(compiled: CompiledProgram, dataset: Dataset, seconds: float) -> int:
  """How many steps a training of about so many seconds has."""
  trial = train(compiled, 0, Budget(seconds), feeds_of(compiled, dataset), np.inf, quiet)
  return trial.steps


def trained(compiled: CompiledProgram, dataset: Dataset, budget: Budget) -> float:
  """Seconds on the trial's own clock, `init` included."""
  return train(compiled, 0, budget, feeds_of(compiled, dataset), np.inf, quiet).seconds


def called(
  compiled: CompiledProgram, counts: list[tuple[int, int]], arguments: dict[int, Any]
) -> float:
  """Seconds of `init` and the same calls, one behind the other."""
  start = time.monotonic()
  leaves = jax.block_until_ready(compiled.init(prng_key_data(0)))
  for index, count in counts:
    leaves, _ = compiled.phases[index].run(leaves, *arguments[index], np.int32(count))
  jax.block_until_ready(leaves)
  return time.monotonic() - start


def feeds_of(compiled: CompiledProgram, dataset: Dataset) -> list[Iterator[loader.Batch]]:
  return [
    loader.batches(dataset, phase.batch_size, phase.sequence_length, 0) for phase in compiled.phases
  ]


def quiet(*_: Any) -> None:
  pass


if __name__ == '__main__':
  command.run(main)
