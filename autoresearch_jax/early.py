"""When to end a trial early: limits on its losses, from what trials of the run looked like before.

A trial is compared with others at equal progress, since schedules depend on progress. The limit at
a checkpoint is the worst look of any run whose program ended among the best, and a margin more: so
far behind was nobody who came out well. The run itself says what can still be made up, by a high
learning rate that cools down in the end, say; nothing is assumed of the shape of a curve.

Two looks must be past their limits: the training loss that the program reports, and the nats that
the runner measures on a fixed batch. Only what trains the whole budget for the first time, on one
seed, is ever ended; the baseline, replicates and promotions are looked at and always finish.

The median stopping rule (Golovin and others, Google Vizier, KDD 2017) ends what is below the median
of all at that point, Hyperband and ASHA (Li and others, 2018 and 2020) all but a fraction: both may
end what would have won. `scripts/measure_early_stop.py` measures how often that happens here.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from autoresearch_jax.history import BASELINE, History
from autoresearch_jax.types import REPEATS, Checkpoint, Spec, Status

PROGRESS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # where the runner looks
LEAST = 12  # runs on record before any trial is ended
SHARE = 0.25  # of the runs on record, those that ended best
MARGIN = 1.0  # times the distance from their median look to their worst one


@dataclasses.dataclass(frozen=True)
class Curve:
  """A training run that was not ended. score: larger is better.

  looks: progress -> (training loss, nats on the fixed batch).
  """

  score: float
  looks: dict[float, tuple[float, float]]


def checkpoints(history: History, trial: int, spec: Spec) -> tuple[Checkpoint, ...]:
  """Where the runner looks at a trial that is about to run, with the limits for it.

  None where the config does not want it, on a part of the budget, and for constructions, which
  have no loss that another program's could be held against.
  """
  proposal = history.proposals[trial]
  if not history.config.early_stop or proposal.fidelity < 1 or spec.kind == 'construction':
    return ()
  may_end = trial != BASELINE and proposal.operation not in REPEATS and len(proposal.seeds) == 1
  known = list(history.trials)[: history.begun_after[trial]]  # the same after a stop and a start
  curves = list(recorded(history, known)) if may_end else []
  return tuple(checkpoint(curves, progress) for progress in PROGRESS)


def recorded(history: History, trials: Sequence[int]) -> Iterator[Curve]:
  """Those of the trials' runs on the whole budget that have a score."""
  sign = -1.0 if history.objective.direction == 'minimize' else 1.0
  for trial in map(history.trials.__getitem__, trials):
    if trial.result.status is not Status.OK or trial.proposal.fidelity < 1:
      continue
    looks = trial.result.facts.get('looks', {})
    for run in trial.result.measurements:
      score = run.metrics.get(history.objective.metric, math.nan)
      if math.isfinite(score):
        yield Curve(sign * score, _by_progress(looks.get(str(run.seed), ())))


def _by_progress(looks: Sequence[Sequence[float]]) -> dict[float, tuple[float, float]]:
  """Without the looks at what was no number, which JSON has as None."""
  return {progress: (loss, nats) for progress, loss, nats in looks if None not in (loss, nats)}


def checkpoint(curves: Sequence[Curve], progress: float) -> Checkpoint:
  """The limits at a progress, by the runs that were looked at there; none while they are few."""
  seen = [curve for curve in curves if progress in curve.looks]
  if len(seen) < LEAST:
    return Checkpoint(progress)
  seen.sort(key=lambda curve: -curve.score)
  best = np.array([curve.looks[progress] for curve in seen[: math.ceil(SHARE * len(seen))]])
  worst = best.max(axis=0)
  most = worst + MARGIN * (worst - np.median(best, axis=0))
  return Checkpoint(progress, *most.tolist())
