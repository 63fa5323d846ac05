"""A program trained in the engine and in a plain JAX loop, by processes that take turns.

No jax here: the engine is a runner, and the plain loop is `measure.plain_loop`.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.programs.start import write_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.client import JAX_PLATFORMS, RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Budget, Program, Status

ERROR_PROBABILITY = 0.05  # of the interval
ACCELERATOR_MEMORY = '0.45'  # fraction that each side may take, since both are there at once


@dataclasses.dataclass(frozen=True)
class PlainComparison:
  """Trainings of a program in the engine and in a plain loop, in pairs.

  Attributes:
    steps: Steps of a training.
    engine: Seconds of each training in the engine.
    plain: The same in the plain loop.
    losses: At the last step, in the engine and in the plain loop.
    dispatch: How the engine dispatches the steps of each phase.
  """

  steps: int
  engine: list[float]
  plain: list[float]
  losses: tuple[float, float]
  dispatch: list[str]

  @property
  def step_milliseconds(self) -> tuple[float, float]:
    """Median of a step in the engine and in the plain loop."""
    engine, plain = (1000 * statistics.median(x) / self.steps for x in (self.engine, self.plain))
    return engine, plain

  @property
  def ratios(self) -> list[float]:
    """Engine / plain of each pair, sorted."""
    return sorted(a / b for a, b in zip(self.engine, self.plain, strict=True))

  @property
  def ratio(self) -> float:
    return statistics.median(self.ratios)

  @property
  def interval(self) -> tuple[float, float]:
    return sign_interval(self.ratios)

  def __str__(self) -> str:
    engine, plain = self.step_milliseconds
    low, high = self.interval
    return (
      f'{engine:.3f} / {plain:.3f} ms a step = {self.ratio:.3f} ({low:.3f} to {high:.3f}); '
      f'{self.steps} steps, dispatch {", ".join(self.dispatch)}; '
      f'loss {self.losses[0]:.6g} / {self.losses[1]:.6g}'
    )


def sign_interval(values: Sequence[float]) -> tuple[float, float]:
  """Confidence interval of the median of sorted values, by the sign test.

  It has the probability 1 - ERROR_PROBABILITY or more; of fewer than 6 values it is their range.
  """
  count, outside, skip = len(values), 0.0, 0
  for i in range((count - 1) // 2):
    outside += 2 * math.comb(count, i) / 2**count
    if outside <= ERROR_PROBABILITY:
      skip = i
  return values[skip], values[-1 - skip]


class PlainSides:
  """The engine's processes and the plain loop's, for programs of one problem. Close it.

  Args:
    config: The problem, its data, and the platform.

  Attributes:
    dispatch: How the engine dispatches the steps of the loaded program.
  """

  def __init__(self, config: Config):
    self.config = config
    self.dispatch: list[str] = []
    self._stack = contextlib.ExitStack()
    folder = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
    self._folder, self._number = folder, 0
    task = build_task(config)
    self._dataset, self._spec = task.prepare_data(lambda line: None), task.spec
    setup = RunnerSetup(config.platform, self._dataset, config.limits, str(folder / 'cache'))
    share = {} if config.platform == 'cpu' else {'XLA_CLIENT_MEM_FRACTION': ACCELERATOR_MEMORY}
    self._runner = RunnerClient(setup, folder / 'runner.log', share)
    self._stack.callback(self._runner.close)
    hidden = task.hidden_paths(self._dataset)
    self._tracer = TracerClient(config.limits, hidden, folder / 'traces')
    self._stack.callback(self._tracer.close)
    self._runner.start()
    self._runner.wait_until_ready()
    self._plain = self._stack.enter_context(_plain_loop(config, folder / 'plain.log', share))

  def __enter__(self) -> 'PlainSides':
    return self

  def __exit__(self, *error: object) -> None:
    self._stack.close()

  def load(self, program: Program) -> None:
    """Compiles a program for the engine. Raises ConfigError."""
    self._number += 1
    write_program(program, self._program_folder)
    artifact = self._folder / f'artifact_{self._number}'
    traced = self._tracer.trace(program, self._spec, self._dataset.evaluation_batch, artifact)
    if traced.status is not Status.OK:
      raise ConfigError(f'The program does not trace: {traced.reason}')
    self._request('load', artifact=str(artifact))
    self.dispatch = self._request('compile')['dispatch']

  def engine(self, budget: Budget) -> tuple[float, float, int]:
    """Trains the program as a trial does.

    Returns:
      Seconds on the trial's clock, the last loss, and the number of steps.

    Raises:
      ConfigError: the training failed.
    """
    measurement = self._request('run', seed=0, budget=budget)['measurement']
    cost = measurement['cost']
    return cost['training_seconds'], measurement['metrics']['train_loss'], cost['steps']

  def plain(self, steps: int) -> tuple[float, float]:
    """Trains the program in a plain loop; returns seconds and the last loss. Raises ConfigError."""
    request = {
      'steps': steps, 'folder': str(self._program_folder), 'entry': self.config.entry,
      'spec': self._spec, 'dataset': self._dataset,
    }  # fmt: skip
    assert self._plain.stdin is not None and self._plain.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # reported below
      self._plain.stdin.write(msgspec.json.encode(request).decode() + '\n')
      self._plain.stdin.flush()
    line = self._plain.stdout.readline()
    if not line:
      log = (self._folder / 'plain.log').read_text().strip().splitlines()
      raise ConfigError(f'The plain loop died: {"".join(log[-1:])}')
    found = msgspec.json.decode(line)
    if 'error' in found:
      raise ConfigError(f'The plain loop fails: {found["error"]}')
    return found['seconds'], found['loss']

  @property
  def _program_folder(self) -> pathlib.Path:
    return self._folder / f'program_{self._number}'

  def _request(self, method: str, **arguments: Any) -> dict[str, Any]:
    limits = self.config.limits
    seconds = limits.step_seconds if method == 'run' else limits.compile_seconds
    try:
      return self._runner.request(method, seconds, lambda progress: None, **arguments)
    except RunnerError as error:
      raise ConfigError(f'The engine fails to {method} the program: {error}') from None


@contextlib.contextmanager
def _plain_loop(
  config: Config, log: pathlib.Path, environment: dict[str, str]
) -> Iterator['subprocess.Popen[str]']:
  variables = {**os.environ, **environment, 'JAX_PLATFORMS': JAX_PLATFORMS[config.platform]}
  with log.open('w') as errors:
    process = subprocess.Popen(
      [sys.executable, '-m', 'autoresearch_jax.measure.plain_loop'],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=variables, text=True,
    )  # fmt: skip
  try:
    yield process
  finally:
    process.kill()
    process.communicate()


def compare(
  sides: PlainSides, program: Program, pairs: int, seconds: float = 0.0, steps: int = 0
) -> PlainComparison:
  """Trains a program on both sides in turn.

  Args:
    sides: The processes.
    program: The program.
    pairs: Trainings on each side.
    seconds: Of a training in the engine, about, if `steps` is 0.
    steps: Of a training.

  Raises:
    ConfigError: the program fails on either side.
  """
  sides.load(program)
  if not steps:
    sides.engine(Budget(seconds, clock='wall'))  # the first training of a process is slower
    steps = sides.engine(Budget(seconds, clock='wall'))[2]
  losses = sides.engine(Budget(steps, 'steps'))[1], sides.plain(steps)[1]
  engine, plain = list[float](), list[float]()
  for turn in range(pairs):
    if turn % 2:
      plain.append(sides.plain(steps)[0])
    engine.append(sides.engine(Budget(steps, 'steps'))[0])
    if not turn % 2:
      plain.append(sides.plain(steps)[0])
  return PlainComparison(steps, engine, plain, losses, sides.dispatch)
