"""What a finished run shows of its pace, time beyond the budget and clock.

  python measure_run.py WORKDIR

Reads the run's ledger alone. What the run gained is measured by the run itself, when it ends, and
where a trial's time goes by `autoresearch_jax/measure/overhead.py`.
"""

import argparse
import pathlib
import statistics
import sys

from autoresearch_jax.ledger.events import Decided, LedgerError, Record, Started
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import Cost


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  arguments = parser.parse_args()
  try:
    with Ledger.read(arguments.workdir / 'ledger.db') as ledger:
      records = list(ledger.records())
  except LedgerError as error:
    print(error, file=sys.stderr)
    return 2
  history = History.of(records)
  print_pace(records, history)
  print_beyond_budget(history)
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


def _clock_error(cost: Cost, budget: float) -> tuple[float, float]:
  """Relative distance from the budget, and the seconds of one step."""
  return abs(cost.training_seconds - budget) / budget, cost.training_seconds / max(1, cost.steps)


def _spread(values: list[float]) -> str:
  return f'median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})'


if __name__ == '__main__':
  sys.exit(main())
