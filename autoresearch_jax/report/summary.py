"""The summary of a run in numbers and in sentences, for the report command and the live view.

A program's score is the mean over all its training runs, including replicates. The runs of the
trial that was kept last would be a biased subset.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable

from autoresearch_jax.acceptance.program_runs import format_runs
from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import program_values
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.canaries import canary_rates, format_canaries
from autoresearch_jax.report.imports import import_sentences
from autoresearch_jax.report.metric_audit import describe_audit, metric_audit
from autoresearch_jax.report.near_misses import format_near_misses
from autoresearch_jax.report.next_setting import describe_stale
from autoresearch_jax.report.remeasured import remeasured
from autoresearch_jax.types import Decision, Objective, Status, Trial


@dataclasses.dataclass(frozen=True)
class RunStatistics:
  """Statistics of a run.

  Attributes:
    trials: Decided trials.
    kept: Kept trials.
    crashed: Trials without a score.
    trials_per_hour: In wall-clock time.
    utilization: Fraction of the wall-clock time in which a device trained.
    wall_seconds: Wall-clock time of the search.
    best: The incumbent.
    value: Mean of the metric over all runs of the incumbent's program.
    runs: Number of these runs.
    baseline: Mean of the metric over all runs of the baseline's program.
    baseline_runs: Number of these runs.
    gain: Improvement over the baseline; above 0 is better for either direction.
    standard_errors: The gain in standard errors of the difference, s·√(1/runs + 1/baseline_runs),
      where s is the standard deviation over the baseline's seeds; None while s is unknown.
  """

  trials: int
  kept: int
  crashed: int
  trials_per_hour: float
  utilization: float
  wall_seconds: float
  best: Trial | None
  value: float | None
  runs: int
  baseline: float | None
  baseline_runs: int
  gain: float | None
  standard_errors: float | None


def run_statistics(history: History, running_seconds: float = 0.0) -> RunStatistics:
  """Computes the statistics of a run.

  Args:
    history: The run.
    running_seconds: Wall-clock time since the last event of a run in progress.
  """
  wall = history.wall_seconds + running_seconds
  best = history.incumbent
  named = [trial for trial in (BASELINE, *(history.kept[-1:])) if trial in history.trials]
  known = scores_by_trial(history, named)
  first, last = known.get(BASELINE, []), known.get(best.id, []) if best else []
  value, baseline = (statistics.fmean(values) if values else None for values in (last, first))
  gain = standard_errors = None
  if value is not None and baseline is not None:
    gain = baseline - value if history.objective.direction == 'minimize' else value - baseline
    noise = history.noise()
    standard_errors = gain / (noise * math.sqrt(1 / len(last) + 1 / len(first))) if noise else None
  return RunStatistics(
    trials=len(history.trials),
    kept=len(history.kept),
    crashed=sum(_has_no_score(trial) for trial in history.trials.values()),
    trials_per_hour=len(history.trials) / wall * 3600 if wall else 0.0,
    utilization=(min(1.0, history.training_seconds / (wall * num_slots(history))) if wall else 0.0),
    wall_seconds=wall,
    best=best,
    value=value,
    runs=len(last),
    baseline=baseline,
    baseline_runs=len(first),
    gain=gain,
    standard_errors=standard_errors,
  )


def _has_no_score(trial: Trial) -> bool:
  """Whether a trial failed, or broke a constraint or missed its target before it had a score."""
  is_unmeasured = trial.result.status is Status.INFEASIBLE and not trial.result.measurements
  return is_unmeasured or (trial.verdict is not None and trial.verdict.decision == Decision.CRASH)


def num_slots(history: History) -> int:
  """Returns the number of slots, from the slot that the executor recorded for each trial."""
  numbers = (result.facts.get('slot') for result in history.results.values())
  return 1 + max((number for number in numbers if isinstance(number, int)), default=0)


def scores_by_trial(history: History, trials: Iterable[int]) -> dict[int, list[float]]:
  """Returns trial -> values of the metric in all runs of its program, including replicates."""
  return {trial: program_values(history, history.original(trial)) for trial in trials}


def gain_over(objective: Objective, trial: Trial, other: Trial) -> float | None:
  """Returns the difference of the scores (larger is better); None if one trial has no score."""
  mine, theirs = objective.score(trial), objective.score(other)
  return None if mine is None or theirs is None else mine - theirs


def summary(history: History) -> str:
  """Describes a run in a few sentences: trials, costs, the best program, and near misses."""
  f = run_statistics(history)
  tried = (
    f'{f.trials} {"trial" if f.trials == 1 else "trials"} in {format_duration(f.wall_seconds)} '
    f'({f.trials_per_hour:.0f} an hour): {f.kept} kept, {f.crashed} without a score. '
    f'A device trained {f.utilization:.0%} of the time.'
  )
  if history.pruned:
    tried += (
      f' {history.pruned} {"trial was" if history.pruned == 1 else "trials were"} pruned, '
      f'which saved {format_duration(history.saved_seconds)} of training.'
    )
  if speed := format_speed(history):
    tried += f' {speed}'
  if spent := format_spend(history):
    tried += f' Proposals cost {spent}.'
  if left := _format_left(history):
    tried += f' {left}'
  tried = ' '.join((tried, *import_sentences(history)))
  if f.best is None or f.value is None:
    return f'{tried}\nNo trial has a score yet.'
  metric = history.objective.metric
  best = f'Best {metric} {format_value(f.value, f.runs)}: trial {_named(history, f.best.id)}.'
  doubts = [again.describe(metric) for again in remeasured(history) if again.in_doubt]
  others = _format_other_metrics(history, f.best.id)
  measured = format_canaries(canary_rates([history]))
  audit = describe_audit(metric_audit(history))
  stale = describe_stale(history)
  lines = (others, *doubts, format_near_misses(history), measured, audit, stale)
  misses = ''.join(f'\n{line}' for line in lines if line)
  if f.best.id == BASELINE or f.gain is None or f.baseline is None:
    return f'{tried}\n{best}{misses}'
  noise = '' if f.standard_errors is None else f', {f.standard_errors:.1f} standard errors'
  baseline = format_value(f.baseline, f.baseline_runs)
  return f'{tried}\n{best} The baseline has {baseline}: a gain of {f.gain:.6f}{noise}.{misses}'


def _format_other_metrics(history: History, best: int) -> str:
  """Returns the validation metrics beside the run's, of the best program and of the baseline."""
  measured = {name for run in history.trials[best].result.measurements for name in run.metrics}
  shown = []
  for name in sorted(measured - {history.objective.metric}):
    mine, first = (
      program_values(history, history.original(trial), name) for trial in (best, BASELINE)
    )
    if name.startswith('val_') and mine and first:
      before = '' if best == BASELINE else f' (baseline {statistics.fmean(first):.4g})'
      shown.append(f'{name} {statistics.fmean(mine):.4g}{before}')
  return f'Also measured: {", ".join(shown)}.' if shown else ''


def _format_left(history: History) -> str:
  """Says what is left of the search until its ends; '' without any."""
  search = history.config.search
  applying = ends.effective(history, search.ends)
  left = ends.left(history, applying, search.dollars_per_hour)
  over = ends.why_spent(history, applying, search.dollars_per_hour) or any(
    part.startswith(('0 ', '$0.00')) for part in left
  )
  return f'Left: {", ".join(left)}.' if left and not over else ''


def format_spend(history: History) -> str:
  """Returns '12 model calls, 34,000 tokens, $0.05', or '' if there were no calls."""
  spend = history.spend
  if not spend.calls:
    return ''
  calls = f'{spend.calls} model {"call" if spend.calls == 1 else "calls"}'
  return f'{calls}, {spend.tokens:,} tokens, ${spend.dollars:.2f}'


def format_speed(history: History) -> str:
  """Says how the machine's speed varied and what measuring it took; '' if it was not measured."""
  costs = [m.cost for result in history.results.values() for m in result.measurements]
  measured = [cost for cost in costs if cost.calibration_seconds]
  if not measured:
    return ''
  speeds = sorted(cost.speed for cost in measured)
  calibration = sum(cost.calibration_seconds for cost in measured)
  share = calibration / (calibration + sum(cost.training_seconds for cost in measured))
  return (
    f'The machine ran at {speeds[0]:.2f} to {speeds[-1]:.2f} of its speed at the start (median '
    f'{statistics.median(speeds):.2f}), for which the calibrated clock made up; measuring it took '
    f'{share:.1%} of the training time.'
  )


def format_value(value: float, runs: int) -> str:
  """Returns '0.144946', or '0.144946 (4 runs)'."""
  return f'{value:.6f}' + (f' ({format_runs(runs)})' if runs > 1 else '')


def _named(history: History, trial: int) -> str:
  """Returns '4, nudge X', or '6, which repeats trial 4, nudge X'."""
  first = history.original(trial)
  repeats = '' if first == trial else f', which repeats trial {first}'
  return f'{trial}{repeats}, {one_line(history.edits[first].description, 80)}'


def format_duration(seconds: float) -> str:
  """Formats as hours:minutes:seconds, for instance '0:07:30'."""
  minutes, rest = divmod(round(seconds), 60)
  return f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'
