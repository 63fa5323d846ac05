"""Trials per hour with several slots, and whether killing one slot's runner disturbs another slot.

  autoresearch measure slots --config=configs/digits.py [--slots=1,2] [--trials=24] [--runs=2]

Carries out complete offline runs, with each number of slots in turn and repeated --runs times, so
that a drift of the machine's speed affects all alike. Prints a Markdown table from the ledgers.
Trials per hour are those after the baseline, which runs alone; seconds per trial include tracing,
compiling, training and evaluation. Finally, two trials train side by side, the runner of one is
killed, and both outcomes are printed.
"""

import dataclasses
import os
import pathlib
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS, research
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import finished
from autoresearch_jax.executors.local import LocalExecutor
from autoresearch_jax.ledger.events import Decided
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.types import Progress, TrialRequest

_CONFIG = command.define_config('Config of the runs.')
_SLOTS = flags.DEFINE_list(
  'slots', ['1', '2'], 'Values of config.executor_options.slots to compare.'
)
flags.register_validator(
  _SLOTS, lambda words: all(map(str.isdecimal, words)), 'must be a list of numbers'
)
_TRIALS = flags.DEFINE_integer('trials', 24, 'Trials per run, including the baseline.', 3)
_RUNS = flags.DEFINE_integer('runs', 2, 'Runs per number of slots.', 1)


@dataclasses.dataclass(frozen=True)
class Throughput:
  """Throughput of one run.

  Attributes:
    trials_per_hour: After the baseline.
    trial_seconds: Median duration of a trial's first seed.
  """

  trials_per_hour: float
  trial_seconds: float


def measured(config: Config, slots: int, trials: int) -> Throughput:
  """Carries out a run in a temporary folder."""
  search = dataclasses.replace(config.search, max_trials=trials)
  options = {**config.executor_options, 'slots': slots}
  config = dataclasses.replace(config, search=search, executor_options=options, final_seeds=0)
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / 'run'
    if code := research(config, workdir):
      raise SystemExit(code)
    with Ledger.read(workdir / 'ledger.db') as ledger:
      records = list(ledger.records())
  ends = [record.time for record in records if isinstance(record.event, Decided)]
  history = History.of(records)
  first = [t.result.measurements[0].cost for t in history.trials.values() if t.result.measurements]
  return Throughput(
    3600 * (len(ends) - 1) / (ends[-1] - ends[0]),
    statistics.median(cost.total_seconds for cost in first[1:]),
  )


def kill_one_runner(config: Config) -> str:
  """Kills the runner of one of two parallel trials; returns a description of both results."""
  config = dataclasses.replace(config, executor_options={'slots': 2})
  task = build_task(config)
  dataset = task.prepare_data(lambda _: None)
  budget = config.budget.scaled(10)
  with tempfile.TemporaryDirectory() as folder:
    executor = task.start_executor(dataset, pathlib.Path(folder))
    assert isinstance(executor, LocalExecutor)
    program, killed, training = starting_program(config), 0, set[int]()

    def on_progress(progress: Progress) -> None:
      nonlocal killed
      if progress.phase == 'train' and progress.fraction > 0.1:
        training.add(progress.trial)
      if len(training) == 2 and not killed:
        killed = executor.pids()['runner'] or 0
        os.kill(killed, signal.SIGKILL)

    try:
      both = (TrialRequest(trial, program, (0,), budget) for trial in (0, 1))
      results = finished(executor, *both, each=on_progress)
    finally:
      executor.close()
  scores = [
    f'trial {r.trial}, in the slot with {r.facts["slot_has"]}: {r.status}, {config.metric} '
    f'{r.measurements[0].metrics[config.metric]!r}, {r.measurements[0].cost.total_seconds:.1f} s'
    for r in results
  ]
  return '\n'.join([f'Killed the runner of one slot (process {killed}) while training:', *scores])


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is not a flag.')
    config = command.config_of(_CONFIG)
    by_slots: dict[int, list[Throughput]] = {int(slots): [] for slots in _SLOTS.value}
    for _ in range(_RUNS.value):
      for slots, found in by_slots.items():
        found.append(measured(config, slots, _TRIALS.value))
    print('| slots | trials per hour | seconds per trial |\n|---|---|---|')
    for slots, found in by_slots.items():
      pace = statistics.median(t.trials_per_hour for t in found)
      seconds = statistics.median(t.trial_seconds for t in found)
      print(f'| {slots} | {pace:.0f} | {seconds:.2f} |')
    print(kill_one_runner(config))
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0


if __name__ == '__main__':
  command.run(main)
