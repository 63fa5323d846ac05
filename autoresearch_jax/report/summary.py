"""A run in a few sentences and figures, for the end of a run, the report command and the view.

What a program is worth is the mean of all its runs: a rule that replicates keeps a trial of a few
seeds, and those alone are no fairer than the ones before.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable

from autoresearch_jax.acceptance.runs import counted
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Decision, Objective, Status, Trial


@dataclasses.dataclass(frozen=True)
class Figures:
  """What a run adds up to. gain: of the score, so above 0 is better, whatever the direction.

  value, baseline: means over all runs of the best's program and of the baseline's; how many those
  are. deviations: the gain in standard deviations of the difference, s·√(1/runs + 1/runs of the
  baseline) with the baseline's seed noise s; None while that is unknown.
  busy: share of the wall time in which a device trained.
  """

  trials: int
  kept: int
  crashed: int
  an_hour: float
  busy: float
  wall_seconds: float
  best: Trial | None
  value: float | None
  runs: int
  baseline: float | None
  baseline_runs: int
  gain: float | None
  deviations: float | None


def figures(history: History, running_seconds: float = 0.0) -> Figures:
  """running_seconds: wall time since the last event, while the run goes on."""
  wall = history.wall_seconds + running_seconds
  best = history.incumbent
  named = [trial for trial in (BASELINE, *(history.kept[-1:])) if trial in history.trials]
  known = measured(history, named)
  first, last = known.get(BASELINE, []), known.get(best.id, []) if best else []
  value, baseline = (statistics.fmean(values) if values else None for values in (last, first))
  gain = deviations = None
  if value is not None and baseline is not None:
    gain = baseline - value if history.objective.direction == 'minimize' else value - baseline
    noise = history.noise()
    deviations = gain / (noise * math.sqrt(1 / len(last) + 1 / len(first))) if noise else None
  verdicts = [trial.verdict for trial in history.trials.values() if trial.verdict]
  return Figures(
    trials=len(history.trials),
    kept=len(history.kept),
    crashed=sum(verdict.decision == Decision.CRASH for verdict in verdicts),
    an_hour=len(history.trials) / wall * 3600 if wall else 0.0,
    busy=min(1.0, history.training_seconds / (wall * slots(history))) if wall else 0.0,
    wall_seconds=wall,
    best=best,
    value=value,
    runs=len(last),
    baseline=baseline,
    baseline_runs=len(first),
    gain=gain,
    deviations=deviations,
  )


def slots(history: History) -> int:
  """How many trials there were at once, by the slots that their executor put on record."""
  numbers = (result.facts.get('slot') for result in history.results.values())
  return 1 + max((number for number in numbers if isinstance(number, int)), default=0)


def measured(history: History, trials: Iterable[int]) -> dict[int, list[float]]:
  """For each of `trials`: the metric in all runs of its program, over all that repeat it.

  Runs are on the whole budget; a seed counts once, for the first trial that had it.
  """
  programs = {trial: history.original(trial) for trial in trials}
  by_seed: dict[int, dict[int, float]] = {program: {} for program in programs.values()}
  metric = history.objective.metric
  for trial in history.trials.values():
    values = by_seed.get(history.original(trial.id))
    if values is None or not _counts(trial):
      continue
    for run in trial.result.measurements:
      if metric in run.metrics:
        values.setdefault(run.seed, run.metrics[metric])
  return {trial: list(by_seed[program].values()) for trial, program in programs.items()}


def _counts(trial: Trial) -> bool:
  """Whether it has a score, for the whole budget."""
  scored = trial.verdict is not None and trial.verdict.decision != Decision.CRASH
  return scored and trial.result.status == Status.OK and trial.proposal.fidelity == 1


def gain_over(objective: Objective, trial: Trial, other: Trial) -> float | None:
  """How much better `trial` scored than `other`; None when one of them has no score."""
  mine, theirs = objective.score(trial), objective.score(other)
  return None if mine is None or theirs is None else mine - theirs


def summary(history: History) -> str:
  """The run in two sentences: how much was tried, and what came of it."""
  f = figures(history)
  tried = (
    f'{f.trials} {"trial" if f.trials == 1 else "trials"} in {duration(f.wall_seconds)} '
    f'({f.an_hour:.0f} an hour): {f.kept} kept, {f.crashed} without a score. '
    f'A device trained {f.busy:.0%} of the time.'
  )
  if history.pruned:
    tried += (
      f' {history.pruned} {"trial was" if history.pruned == 1 else "trials were"} ended early, '
      f'which saved {duration(history.saved_seconds)} of training.'
    )
  if spent := spending(history):
    tried += f' Proposing took {spent}.'
  if f.best is None or f.value is None:
    return f'{tried}\nNo trial has a score yet.'
  metric = history.objective.metric
  best = f'Best {metric} {of_runs(f.value, f.runs)}: trial {_named(history, f.best.id)}.'
  if f.best.id == BASELINE or f.gain is None or f.baseline is None:
    return f'{tried}\n{best}'
  noise = '' if f.deviations is None else f', {f.deviations:.1f} deviations of the difference'
  baseline = of_runs(f.baseline, f.baseline_runs)
  return f'{tried}\n{best} The baseline has {baseline}: a gain of {f.gain:.6f}{noise}.'


def spending(history: History) -> str:
  """'12 calls of models, 34,000 tokens, $0.05'; '' where there were none."""
  spend = history.spend
  if not spend.calls:
    return ''
  calls = f'{spend.calls} {"call" if spend.calls == 1 else "calls"} of models'
  return f'{calls}, {spend.tokens:,} tokens, ${spend.dollars:.2f}'


def of_runs(value: float, runs: int) -> str:
  """'0.144946', or '0.144946 (4 runs)'."""
  return f'{value:.6f}' + (f' ({counted(runs)})' if runs > 1 else '')


def _named(history: History, trial: int) -> str:
  """'4, nudge X', or '6, which repeats trial 4, nudge X'."""
  first = history.original(trial)
  repeats = '' if first == trial else f', which repeats trial {first}'
  return f'{trial}{repeats}, {one_line(history.edits[first].description, 80)}'


def duration(seconds: float) -> str:
  """`0:07:30`, hours first."""
  minutes, rest = divmod(round(seconds), 60)
  return f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'
