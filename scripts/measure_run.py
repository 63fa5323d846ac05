"""What a finished run must show: pace, time beyond the budget, clock, and gain against noise.

  python scripts/measure_run.py WORKDIR [--seeds=8]

Reads the run's ledger. Then trains the baseline and the kept best on `--seeds` fresh seeds each,
one after the other in pairs, so that a machine whose speed drifts is the same for both, and
compares the gain with the seed-to-seed deviation of the baseline. --seeds=0 reads the ledger only.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from scipy import stats

from autoresearch_jax import assembly
from autoresearch_jax.executors import Executor
from autoresearch_jax.history import BASELINE, History
from autoresearch_jax.ledger import Decided, Ledger, Record, Started
from autoresearch_jax.types import Cost, Objective, Program, Result, Status, TrialRequest

FIRST_FRESH_SEED = 1000  # far from the seeds that the search has used


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--seeds', type=int, default=8)
  arguments = parser.parse_args()
  with Ledger.read(arguments.workdir / 'ledger.db') as ledger:
    records = list(ledger.records())
  history = History.of(records)
  print_pace(records, history)
  print_beyond_budget(history)
  if arguments.seeds and history.incumbent:
    print_gain(history, arguments.seeds)
  return 0


def print_pace(records: list[Record], history: History) -> None:
  start = next(r.time for r in records if isinstance(r.event, Started))
  decided = [r.time for r in records if isinstance(r.event, Decided)]
  rest = decided[1:]
  pace = 3600 * len(rest) / (rest[-1] - decided[0]) if rest else 0.0
  statuses = statistics.multimode(t.result.status for t in history.trials.values())
  print(f'{len(decided)} trials, {len(history.kept)} kept; most common status {statuses[0]}')
  print(f'baseline decided {decided[0] - start:.1f} s after the run started')
  print(f'{pace:.0f} trials an hour after the baseline')


def print_beyond_budget(history: History) -> None:
  """Seconds of a trial that its counted training time does not explain."""
  costs = [m.cost for t in history.trials.values() for m in t.result.measurements]
  cold = [c for c in costs if c.compile_seconds > 0.2]
  warm = [c for c in costs if c.compile_seconds <= 0.2]
  for name, group in (('everything compiled', cold), ('another seed, compiled already', warm)):
    if group:
      beyond = [c.total_seconds - c.training_seconds for c in group]
      print(f'beyond the budget, {name}: {_spread(beyond)} s over {len(group)}')
      for part in ('trace_seconds', 'compile_seconds', 'evaluate_seconds'):
        print(f'  {part}: {_spread([getattr(c, part) for c in group])}')
  budget = history.config.budget
  if budget.unit == 'seconds':
    errors = [_clock_error(c, budget.amount) for c in costs]
    print(f'counted time off the budget: {_spread([100 * e for e, _ in errors])} %')
    inside = sum(e <= 0.01 or e * budget.amount <= step for e, step in errors)
    print(f'  within 1 % or one step: {inside} of {len(errors)}')
  print(f'compilations inside the clock: {sum(c.compilations_in_clock for c in costs)}')


def print_gain(history: History, seeds: int) -> None:
  """Baseline and best on fresh seeds, in pairs."""
  best = history.incumbent
  assert best is not None
  objective = history.objective
  programs = [history.edits[BASELINE].program, history.edits[best.id].program]
  with tempfile.TemporaryDirectory() as scratch:
    config = history.config
    dataset = assembly.dataset(config, print)
    executor = assembly.executor(config, dataset, pathlib.Path(scratch))
    try:
      values = [
        [_value(executor, history, objective, program, seed) for program in programs]
        for seed in range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + seeds)
      ]
    finally:
      executor.close()
  baseline, found = ([pair[i] for pair in values] for i in (0, 1))
  sign = -1 if objective.direction == 'minimize' else 1
  gains = [sign * (b - a) for a, b in values]
  noise = statistics.stdev(baseline)
  low, high = stats.t.interval(0.95, len(gains) - 1, statistics.mean(gains), stats.sem(gains))
  print(f'baseline {objective.metric}: {statistics.mean(baseline):.6f}, seed deviation {noise:.6f}')
  print(f'best (trial {best.id}): {statistics.mean(found):.6f}, {statistics.stdev(found):.6f}')
  print(
    f'gain on {seeds} fresh seeds: {statistics.mean(gains):.6f}, 95 % from {low:.6f} to {high:.6f}'
  )
  print(f'  = {statistics.mean(gains) / noise:.1f} deviations of the seed noise')


def _value(
  executor: Executor, history: History, objective: Objective, program: Program, seed: int
) -> float:
  executor.submit(TrialRequest(0, program, (seed,), history.config.budget))
  while True:
    for news in executor.wait(1.0):
      if isinstance(news, Result):
        if news.status != Status.OK:
          sys.exit(f'seed {seed}: {news.status}: {news.reason}')
        value = news.measurements[0].metrics[objective.metric]
        print(f'  seed {seed}: {value:.6f}', flush=True)
        return value


def _clock_error(cost: Cost, budget: float) -> tuple[float, float]:
  """Relative distance from the budget, and the seconds of one step."""
  return abs(cost.training_seconds - budget) / budget, cost.training_seconds / max(1, cost.steps)


def _spread(values: list[float]) -> str:
  return f'median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})'


if __name__ == '__main__':
  sys.exit(main())
