"""Which training runs leave their parameters on disk, decided from the history of a run.

The best program is known only in the end. So a run is saved when its program may become the best
one, that is when it beats the mean of the incumbent, and when it is the best run of its program so
far. Saved runs of programs that are out of the race are deleted.
"""

import dataclasses
import pathlib
import shutil
import statistics

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.types import (
  PARAMETERS,
  STATES,
  Measurement,
  Result,
  SavePlan,
  SeedResult,
  Status,
)


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """One finished training run of a program at the full budget.

  Attributes:
    trial: The trial that it belongs to.
    measurement: Its seed, metrics and cost.
    score: Its score; larger is better.
    state: Name of the folder with its parameters; '' if they were not saved.
  """

  trial: int
  measurement: Measurement
  score: float
  state: str


def runs_of(history: History, program: int) -> list[TrainingRun]:
  """Returns the scored training runs of a program, named by its first trial, best first."""
  found: dict[int, TrainingRun] = {}
  undecided = (trial for trial in history.undecided if history.original(trial) == program)
  for trial in (*history.program_trials.get(program, ()), *undecided):
    result = history.results[trial]
    if history.proposals[trial].fidelity == 1 and result.status is Status.OK:
      for run in _runs(history, trial, result):
        found.setdefault(run.measurement.seed, run)
  return sorted(found.values(), key=lambda run: -run.score)


def save_plan(history: History, trial: int) -> SavePlan | None:
  """Returns which runs of a trial are saved; None for a trial at a part of the budget."""
  if history.proposals[trial].fidelity < 1:
    return None
  program = history.original(trial)
  saved = [run.score for run in runs_of(history, program) if run.state]
  for done in history.seed_results.get(trial, {}).values():  # of an earlier session
    saved += [run.score for run in _runs(history, trial, done) if run.state]
  above = max(saved, default=None)
  if above is None and program == trial and history.best is not None:
    scores = [run.score for run in runs_of(history, history.best)]
    above = statistics.fmean(scores) if scores else None
  return SavePlan(history.objective, above)


def prune(scratch: pathlib.Path, history: History) -> None:
  """Deletes saved runs that no export will want.

  Args:
    scratch: The executor's scratch folder.
    history: The run.
  """
  folder = scratch / STATES
  # Those that are still being written are deleted later.
  present = {path.parent.name for path in folder.glob(f'*/{PARAMETERS}')}
  if not present:
    return
  saved = (trial.result.facts.get('states', {}) for trial in history.trials.values())
  recorded = {name for names in saved for name in names.values()}
  wanted = {BASELINE, *history.under_test()}
  wanted |= {history.original(trial) for trial in (*history.kept[-1:], *history.undecided)}
  best = [next((run.state for run in runs_of(history, p) if run.state), '') for p in wanted]
  for name in present & recorded - {*best}:
    shutil.rmtree(folder / name, ignore_errors=True)


def _runs(history: History, trial: int, result: Result | SeedResult) -> list[TrainingRun]:
  objective, states = history.objective, result.facts.get('states', {})
  runs = [result.measurement] if isinstance(result, SeedResult) else result.measurements
  return [
    TrainingRun(trial, run, objective.score_of(value), states.get(str(run.seed), ''))
    for run in runs
    if (value := run.metrics.get(objective.metric)) is not None
  ]
