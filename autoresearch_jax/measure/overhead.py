"""Seconds that a trial takes beyond its budget, by what is new in it and by phase.

  autoresearch measure overhead --config=configs/gpt_small.py:cpu --config.budget.amount=1.5

Runs trials of the starting program through the real executor: with another seed, with another value
of one constant, with another structure, in turn. The compilation cache starts empty. For each kind
it prints the median (and in brackets the minimum and maximum) of the seconds between submission and
result that exceed the budget, and of their parts: trace; load (check the artifact, fingerprint);
compile; warm-up (before the clock starts: first batches, one step of each phase); evaluate. Trials
that fail, for instance diverge, are excluded.

With --ahead, each program is traced and read while the starting program trains, and submitted
afterwards, as in a run. With --compile_ahead, further trials follow in pairs: a new structure that
was traced and compiled while the starting program trained (executor_options.compile_ahead), and one
that was only traced. For both it prints the seconds beyond the budget, and how much the compilation
slowed down the training, in steps. The budget must be long enough to hide the compilation:
--config.budget.amount=5 --rounds=1.

It also prints the seconds from a tracer's start to its first artifact, and the memory of an idle
tracer and an idle runner before and after the trials, as proportional set size (PSS).
"""

import dataclasses
import pathlib
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import finished
from autoresearch_jax.executors.local import LocalExecutor
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Program, Progress, Status, TrialRequest

_CONFIG = command.define_config('Config whose trials are measured.')
_ROUNDS = flags.DEFINE_integer('rounds', 9, 'Trials of each kind.', lower_bound=1)
_AHEAD = flags.DEFINE_bool(
  'ahead', False, 'Trace and read programs while another one trains, as in a run.'
)
_COMPILE_AHEAD = flags.DEFINE_bool(
  'compile_ahead', False, 'Also measure structures that are compiled while another program trains.'
)
_DRAW = flags.DEFINE_integer('draw', 0, 'Seed for choosing constants and structures.')

FLOAT = re.compile(r'^([A-Z][A-Z0-9_]*) = (\d+\.\d+(?:e-?\d+)?)(?=\s)', re.M)
FACTORS = (1.05, 1.5)  # range of the factor by which a constant is multiplied or divided
# (old text, new text) in the GPT program; each changes shapes or the graph.
STRUCTURES = (
  ('jnp.square(jax.nn.relu(x))', 'jax.nn.gelu(x)'),
  ('MLP_RATIO = 4 ', 'MLP_RATIO = 3 '),
  ('BATCH_SIZE = 8 ', 'BATCH_SIZE = 7 '),
  ("WINDOW_PATTERN = 'SSSL'", "WINDOW_PATTERN = 'L'"),
  ('jnp.square(jax.nn.relu(x))', 'jax.nn.silu(x)'),
  ('VALUE_GATE_CHANNELS = 32', 'VALUE_GATE_CHANNELS = 16'),
  ('return layer % 2 == (DEPTH - 1) % 2', 'return layer == DEPTH - 1'),
  ('BATCH_SIZE = 8 ', 'BATCH_SIZE = 9 '),
  ('jnp.square(jax.nn.relu(x))', 'jax.nn.relu(x)'),
  ('MLP_RATIO = 4 ', 'MLP_RATIO = 5 '),
  ('DEPTH = 2 ', 'DEPTH = 3 '),
)
PARTS = ('trace', 'load', 'compile', 'warm-up', 'evaluate')


@dataclasses.dataclass(frozen=True)
class TrialOverhead:
  """Time of one trial beyond its budget.

  Attributes:
    seconds: The total.
    parts: Seconds by the names in PARTS.
  """

  seconds: float
  parts: dict[str, float]


class TimedTrials:
  """Runs trials of three kinds: with a new seed, a new constant, or a new structure."""

  def __init__(self, config: Config, executor: LocalExecutor):
    self._config = config
    self._executor = executor
    self._start = starting_program(config)
    self._random = random.Random(_DRAW.value)
    self._structures = self._random.sample(self._possible(), len(self._possible()))
    self._number = 0

  def seed(self) -> TrialOverhead | None:
    return self._trial(self._start, self._number + 1)

  def constant(self) -> TrialOverhead | None:
    text = self._start.text()
    found = [match for match in FLOAT.finditer(text) if float(match[2])]
    match = self._random.choice(found)
    factor = self._random.uniform(*FACTORS) ** self._random.choice((-1, 1))
    value = f'{float(match[2]) * factor:.6g}'
    return self._trial(
      self._start.with_text(text.replace(match[0], f'{match[1]} = {value}', 1)), 0, match[1]
    )

  def structure(self) -> TrialOverhead | None:
    before, after = self._structures.pop()
    text = self._start.text().replace(before, after)
    return self._trial(self._start.with_text(text), 0, after)

  def in_parallel(self, compiled: bool) -> tuple[int, TrialOverhead | None]:
    """Prepares a new structure while the start trains. Returns the start's steps, the overhead."""
    before, after = self._structures.pop()
    program = self._start.with_text(self._start.text().replace(before, after))
    self._executor.compile_ahead = compiled
    return self._steps_while_preparing(program), self._measured(program, 0, after)

  def _steps_while_preparing(self, program: Program) -> int:
    """Trains the start and meanwhile prepares `program` as in a run. Returns the start's steps."""
    self._number += 1
    reason = ''

    def on_progress(progress: Progress) -> None:
      nonlocal reason
      if progress.phase == 'train' and not progress.step:
        reason = self._executor.check(program, self._config.budget)

    request = TrialRequest(self._number, self._start, (0,), self._config.budget)
    (result,) = finished(self._executor, request, each=on_progress)
    if reason or result.status != Status.OK:
      raise ConfigError(reason or result.reason)
    return result.measurements[0].cost.steps

  def _possible(self) -> list[tuple[str, str]]:
    return [pair for pair in STRUCTURES if self._start.text().count(pair[0]) == 1]

  def _trial(self, program: Program, seed: int, what: str = '') -> TrialOverhead | None:
    if _AHEAD.value:
      self._steps_while_preparing(program)
    return self._measured(program, seed, what)

  def _measured(self, program: Program, seed: int, what: str) -> TrialOverhead | None:
    self._number += 1
    phases: dict[str, float] = {}  # when each began
    began = time.monotonic()
    (result,) = finished(
      self._executor,
      TrialRequest(self._number, program, (seed,), self._config.budget),
      each=lambda progress: phases.setdefault(progress.phase, time.monotonic()),
    )
    ended = time.monotonic()
    if result.status != Status.OK:
      print(f'{what}: {result.status}: {result.reason}', file=sys.stderr)
      return None
    cost = result.measurements[0].cost
    parts = {
      'trace': cost.trace_seconds,
      'load': phases['compile'] - began - cost.trace_seconds,
      'compile': phases['train'] - phases['compile'],
      'evaluate': cost.evaluate_seconds,
    }
    seconds = ended - began - cost.training_seconds
    parts['warm-up'] = seconds - sum(parts.values())
    words = ', '.join(f'{name} {parts[name]:.3f}' for name in PARTS)
    print(f'  {what or "seed"}: {seconds:.3f} s: {words}; {cost.steps} steps', flush=True)
    return TrialOverhead(seconds, parts)


def measure(config: Config, folder: pathlib.Path) -> Iterator[str]:
  task = build_task(config)
  dataset = task.prepare_data(lambda line: None)
  hidden, spec = task.hidden_paths(dataset), task.spec
  yield f'tracer start to artifact: {tracer_start(config, folder):.2f} s'
  executor = LocalExecutor(
    spec, dataset, hidden, config.limits, folder / 'scratch', folder / 'cache'
  )
  try:
    yield from in_turn(config, executor)
  finally:
    executor.close()
  if _COMPILE_AHEAD.value:
    executor = LocalExecutor(
      spec, dataset, hidden, config.limits, folder / 'scratch', folder / 'other'
    )
    try:
      yield from in_pairs(config, executor)
    finally:
      executor.close()


def in_turn(config: Config, executor: LocalExecutor) -> Iterator[str]:
  trials = TimedTrials(config, executor)
  for trial in (trials.seed, trials.constant, trials.structure):
    trial()  # warm-up
  yield f'idle: {memory(executor)}'
  found: dict[str, list[TrialOverhead]] = {'seed': [], 'constant': [], 'structure': []}
  rounds = min(_ROUNDS.value, len(trials._structures))
  for _ in range(rounds):
    for kind, measured in found.items():
      if (beyond := getattr(trials, kind)()) is not None:
        measured.append(beyond)
  yield f'after {3 * rounds + 3} trials: {memory(executor)}'
  yield f'beyond the budget of {config.budget.amount:g} s, another'
  for kind, measured in found.items():
    yield from _described(kind, measured)


def in_pairs(config: Config, executor: LocalExecutor) -> Iterator[str]:
  trials = TimedTrials(config, executor)
  trials.seed()  # warm-up
  shares: list[float] = []
  found: dict[bool, list[TrialOverhead]] = {True: [], False: []}
  for pair in range(len(trials._structures) // 2):
    steps = {}
    for compiled in (True, False) if pair % 2 else (False, True):
      steps[compiled], beyond = trials.in_parallel(compiled)
      found[compiled] += [beyond] if beyond else []
    shares.append(steps[True] / steps[False])
  yield f'beyond the budget of {config.budget.amount:g} s, another'
  yield from _described('structure, compiled while the start trained', found[True])
  yield from _described('structure, traced while the start trained', found[False])
  yield f'steps while compiling / while only tracing: {_spread(shares)}, {len(shares)} pairs'


def _described(kind: str, measured: Sequence[TrialOverhead]) -> Iterator[str]:
  yield f'  {kind}: {_spread([b.seconds for b in measured])} s, {len(measured)} trials'
  parts = (f'{name} {_spread([b.parts[name] for b in measured])}' for name in PARTS)
  yield f'    {", ".join(parts)}'


def tracer_start(config: Config, folder: pathlib.Path) -> float:
  """Returns the median seconds, of three, from a tracer's start to its first artifact."""
  task = build_task(config)
  dataset = task.prepare_data(lambda line: None)
  seconds = []
  for _ in range(3):
    began = time.monotonic()
    tracer = TracerClient(config.limits, task.hidden_paths(dataset), folder / 'traces')
    tracer.start()
    traced = tracer.trace(
      starting_program(config),
      task.spec,
      dataset.evaluation_batch,
      folder / 'artifact',
    )
    seconds.append(time.monotonic() - began)
    tracer.close()
    if traced.status != Status.OK:
      raise ConfigError(traced.reason)
  return statistics.median(seconds)


def memory(executor: LocalExecutor) -> str:
  return ', '.join(
    f'{name} {_pss(pid) / 2**20:.0f} MiB' for name, pid in executor.pids().items() if pid
  )


def _pss(pid: int) -> int:
  """Returns the proportional set size of a process, in bytes."""
  text = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text()
  found = re.search(r'^Pss:\s+(\d+) kB', text, re.M)
  return int(found[1]) * 1024 if found else 0


def _spread(values: Sequence[float]) -> str:
  if not values:
    return 'nothing'
  return f'{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})'


def main(arguments: Sequence[str]) -> int:
  del arguments
  try:
    config = command.config_of(_CONFIG)
    with tempfile.TemporaryDirectory() as folder:
      for line in measure(config, pathlib.Path(folder)):
        print(line, flush=True)
  except (ConfigError, OSError) as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0


if __name__ == '__main__':
  command.run(main)
