"""Results of trials: the rows of results.tsv in the original autoresearch's format, and values."""

import dataclasses

from autoresearch_jax.ledger.history import History
from autoresearch_jax.types import Decision, Result, Status, Trial

SLOW = 0.9  # of the machine's speed when the run began


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of results.tsv, without its commit column."""

  trial: int
  value: float
  memory_gb: float
  status: Decision
  description: str


def rows(history: History) -> list[Row]:
  """Returns the rows of all decided trials, in order of their decisions.

  A trial without a metric (crashed, cancelled, pruned, ...) has the status `crash` and zeros, as in
  the original. A duplicate has the numbers of the trial it repeats.
  """
  return [row(history, trial) for trial in history.trials.values()]


def row(history: History, trial: Trial) -> Row:
  """Returns a decided trial's row. It is final unless it duplicates an undecided trial."""
  assert trial.verdict is not None
  decision, status, source = trial.verdict.decision, trial.result.status, trial
  description = trial.edit.description
  if status == Status.DUPLICATE:
    first = trial.result.duplicate_of
    description += f' (duplicate of trial {first})'
    source = history.trials.get(first, trial) if first is not None else trial
  elif status not in (Status.OK, Status.CRASH):
    description += f' ({status.value})'
  if slow := slowness(trial.result):
    description += f' ({slow})'
  value = None if decision == Decision.CRASH else source.metric(history.objective.metric)
  if value is None:
    return Row(trial.id, 0.0, 0.0, Decision.CRASH, description)
  peak = max(m.cost.peak_bytes for m in source.result.measurements)
  return Row(trial.id, value, peak / 2**30, decision, description)


def slowness(result: Result) -> str:
  """Returns 'machine at 72 % speed' where it was measured to be slow, else ''."""
  speed = result.speed
  return f'machine at {speed:.0%} speed' if speed is not None and speed < SLOW else ''


def program_values(history: History, program: int, metric: str = '') -> list[float]:
  """Returns the values of a metric in all runs of a program, named by its first trial.

  Only runs at the full budget count, and of runs with the same seed only the first. The metric is
  that of the run, unless another one is named.
  """
  return list(program_scores(history, program, metric or history.objective.metric).values())


def program_scores(history: History, program: int, metric: str) -> dict[int, float]:
  """Returns the values that `program_values` does, by seed."""
  values = dict[int, float]()
  for number in history.program_trials.get(program, ()):
    trial = history.trials[number]
    if _scored_at_full_budget(trial):
      for run in trial.result.measurements:
        if metric in run.metrics:
          values.setdefault(run.seed, run.metrics[metric])
  return values


def _scored_at_full_budget(trial: Trial) -> bool:
  scored = trial.verdict is not None and trial.verdict.decision is not Decision.CRASH
  return scored and trial.result.status is Status.OK and trial.proposal.fidelity == 1
