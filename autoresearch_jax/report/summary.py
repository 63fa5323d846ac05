"""A run in a few sentences and figures, for the end of a run, the report command and the view."""

import dataclasses

from autoresearch_jax.history import BASELINE, History
from autoresearch_jax.types import Decision, Objective, Trial
from autoresearch_jax.wording import one_line


@dataclasses.dataclass(frozen=True)
class Figures:
  """What a run adds up to. gain: of the score, so above 0 is better, whatever the direction.

  deviations: the gain in standard deviations of one seed's noise; None while that is unknown.
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
  baseline: float | None
  gain: float | None
  deviations: float | None


def figures(history: History, running_seconds: float = 0.0) -> Figures:
  """running_seconds: wall time since the last event, while the run goes on."""
  wall = history.wall_seconds + running_seconds
  objective, best = history.objective, history.incumbent
  baseline = history.trials.get(BASELINE)
  gain = gain_over(objective, best, baseline) if best and baseline else None
  noise = history.noise()
  verdicts = [trial.verdict for trial in history.trials.values() if trial.verdict]
  return Figures(
    trials=len(history.trials),
    kept=len(history.kept),
    crashed=sum(verdict.decision == Decision.CRASH for verdict in verdicts),
    an_hour=len(history.trials) / wall * 3600 if wall else 0.0,
    busy=min(1.0, history.training_seconds / wall) if wall else 0.0,
    wall_seconds=wall,
    best=best,
    value=best.metric(objective.metric) if best else None,
    baseline=baseline.metric(objective.metric) if baseline else None,
    gain=gain,
    deviations=gain / noise if gain is not None and noise else None,
  )


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
  if f.best is None or f.value is None:
    return f'{tried}\nNo trial has a score yet.'
  metric = history.objective.metric
  best = f'Best {metric} {f.value:.6f}: trial {_named(history, f.best.id)}.'
  if f.best.id == BASELINE or f.gain is None:
    return f'{tried}\n{best}'
  noise = '' if f.deviations is None else f', {f.deviations:.1f} deviations of the seed noise'
  return f'{tried}\n{best} The baseline has {f.baseline:.6f}: a gain of {f.gain:.6f}{noise}.'


def _named(history: History, trial: int) -> str:
  """'4, nudge X', or '6, which repeats trial 4, nudge X'."""
  first = history.program(trial)
  repeats = '' if first == trial else f', which repeats trial {first}'
  return f'{trial}{repeats}, {one_line(history.edits[first].description, 80)}'


def duration(seconds: float) -> str:
  """`0:07:30`, hours first."""
  minutes, rest = divmod(round(seconds), 60)
  return f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'
