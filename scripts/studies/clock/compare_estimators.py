r"""How well estimates of a machine's speed make trials equal while other processes come and go.

  python compare_estimators.py --config=gpt_small:cpu [--program=memory_bound.py] [--rounds=5]

Records the duration and the CPU time of every train step of the config's starting program, and of
--program in turn with it, beside no, one and two busy processes that compute or copy memory, or
compute now and then. Then trials of --seconds are replayed on the record. A step in 22 is a burst
of the reference, which is the starting program. A trial ends when its seconds are used:

  wall    seconds of the wall clock
  bursts  times the speed of the latest three bursts
  share   times the share of CPU time that XLA's threads got
  both    times that, and the moving average of the bursts' speed: the calibrated clock

The table has the mean steps beside each kind of process relative to those of an idle machine, the
standard deviation between these means, and that between the trials of a kind.
"""

import dataclasses
import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.measure.gpt_setting import trace
from autoresearch_jax.measure.hogs import hogs
from autoresearch_jax.measure.train_step import CompiledTrainStep, begin
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.runner.cpu_time import CpuTime

_CONFIG = command.define_config('The run whose starting program is the reference.')
_PROGRAM = flags.DEFINE_string('program', '', 'File of the program that trains, if another.')
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Trials beside each kind of process.', 2)
_SECONDS = flags.DEFINE_float('seconds', 8.0, 'Reference seconds of a trial.', 1.0)
KINDS = (
  ('compute', 0), ('compute', 1), ('compute', 2), ('memory', 1), ('memory', 2), ('sometimes', 1),
)  # fmt: skip
CLOCKS = ('wall', 'bursts', 'share', 'both')
BURST_INTERVAL = 22  # steps: 4.5 % of the time
AVERAGED_BURSTS = 20
FIRST_BURSTS = 20  # that define the reference second


@dataclasses.dataclass(frozen=True)
class TimedStep:
  """A step: wall-clock seconds, and the share of CPU time that its threads got."""

  seconds: float
  share: float


Record = list[tuple[TimedStep, TimedStep | None]]  # a step, and of some the burst before it


def timed(step: CompiledTrainStep) -> TimedStep:
  before, start = CpuTime.now(), time.monotonic()
  np.asarray(step.call(1))
  seconds = time.monotonic() - start
  return TimedStep(seconds, CpuTime.now().share_since(before) or 1.0)


def record(reference: CompiledTrainStep, program: CompiledTrainStep, seconds: float) -> Record:
  """Times steps for so many seconds of the wall clock."""
  found: Record = []
  start = time.monotonic()
  for number in itertools.count():
    if time.monotonic() - start > seconds:
      return found
    burst = timed(reference) if number % BURST_INTERVAL == 0 else None
    found.append((timed(program), burst))
  raise AssertionError


def rates(first: Sequence[TimedStep], trials: Sequence[Record]) -> dict[str, list[list[float]]]:
  """Of each clock, how much a second of each step of each trial counts."""
  nominal = statistics.fmean(step.seconds for step in first)
  average = free = statistics.fmean(step.seconds * step.share for step in first)
  latest = [nominal]
  found: dict[str, list[list[float]]] = {clock: [] for clock in CLOCKS}
  for trial in trials:
    for clock in CLOCKS:
      found[clock].append([])
    for step, burst in trial:
      if burst is not None:
        average += (burst.seconds * burst.share - average) / AVERAGED_BURSTS
        latest = [*latest, burst.seconds][-3:]
      values = (1.0, nominal / statistics.fmean(latest), step.share, step.share * free / average)
      for clock, value in zip(CLOCKS, values, strict=True):
        found[clock][-1].append(value)
  return found


def steps_of(trial: Record, rate: Sequence[float], budget: float) -> float:
  """Steps until the budget is used; extrapolated where the record ends before."""
  spent = 0.0
  for number, ((step, _), factor) in enumerate(zip(trial, rate, strict=True)):
    counted = step.seconds * factor
    if spent + counted >= budget:
      return number + (budget - spent) / counted
    spent += counted
  return len(trial) * budget / spent


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  config = command.config_of(_CONFIG)
  begin('cpu')
  start = starting_program(config)
  other = start.with_text(pathlib.Path(_PROGRAM.value).read_text()) if _PROGRAM.value else start
  with tempfile.TemporaryDirectory() as folder:
    steps = []
    for number, program in enumerate((start, other)):
      path = pathlib.Path(folder, str(number))
      trace(config, program, 1, path)
      steps.append(CompiledTrainStep(path, 'cpu'))
  reference, program = steps
  for step in steps:
    timed(step)
  first = [timed(reference) for _ in range(FIRST_BURSTS)]
  trials: list[tuple[tuple[str, int], Record]] = []
  for round_, (kind, count) in itertools.product(range(_ROUNDS.value), KINDS):
    with hogs(count, kind):
      trials.append(((kind, count), record(reference, program, 2 * _SECONDS.value)))
    print(f'round {round_}, {count} {kind}: {len(trials[-1][1])} steps', file=sys.stderr)
  columns = [f'{count} {kind}' for kind, count in KINDS[1:]]
  print(f'| clock | {" | ".join(columns)} | between kinds | between trials |')
  print('|' + '---|' * (len(columns) + 3))
  rated = rates(first, [trial for _, trial in trials])
  for clock in CLOCKS:
    by_kind: dict[tuple[str, int], list[float]] = {}
    for (kind, trial), rate in zip(trials, rated[clock], strict=True):
      by_kind.setdefault(kind, []).append(steps_of(trial, rate, _SECONDS.value))
    means = [statistics.fmean(by_kind[kind]) for kind in KINDS]
    cells = [f'{mean / means[0] - 1:+.1%}' for mean in means[1:]]
    between = statistics.pstdev(means) / statistics.fmean(means)
    within = statistics.fmean(
      statistics.stdev(found) / statistics.fmean(found) for found in by_kind.values()
    )
    print(f'| {clock} | {" | ".join(cells)} | {between:.1%} | {within:.1%} |')


if __name__ == '__main__':
  app.run(main)
