"""Pruning: sets loss thresholds for a trial at its rungs, from learning curves of earlier trials.

Trials are compared at equal progress, since schedules depend on progress. At each rung, the loss of
the better half of the programs so far is regressed on their final score. The regression predicts
the loss of a program that ends as well as the incumbent; a trial is pruned if its loss is above
the prediction interval, which such a program exceeds with probability ERROR_RATE. A loss that can
still be recovered, for instance by learning rate decay, is thus learned from the run itself. While
the run has few programs, or they scatter widely, hardly anything is pruned.

Two losses must exceed their thresholds:

- The validation loss, which the runner measures on a fixed batch of the validation split. It means
  the same for every program, and unlike a loss on training data it does not penalise
  regularisation. Its lowest value so far counts, since it fluctuates at high learning rates.
- The training loss that the program reports, which must only be worse than predicted. It protects
  programs whose `predict` averages weights and lags behind. In turn the validation loss protects
  programs that report a different training loss.

Only trials that train for the full budget, for the first time and on one seed, can be pruned. The
baseline, replicates and promotions are evaluated at the rungs but always finish. Since trials are
compared with the incumbent, pruning harms strategies that build on worse programs (`restarts`,
`map_elites`, `pareto`) and rules that accept them (`simplicity` with a tolerance).

The threshold is a calibration's prediction limit (Draper and Smith, Applied Regression Analysis,
1998, chapters 1 and 3). In contrast, the median stopping rule (Golovin et al., Google Vizier, KDD
2017) prunes below the median of all trials, and Hyperband and ASHA (Li et al., 2018 and 2020) prune
all but a fixed fraction. `scripts/studies/pruning/measure_pruning.py` measures how many keeps
pruning misses.
"""

import dataclasses
import math
import weakref
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.special

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.research.actions import Settings
from autoresearch_jax.types import RERUNS, Decision, Objective, PruningRung, Status, Trial

PROGRESS = (0.2, 0.3, 0.5, 0.7)  # of the rungs; each one costs a batch of `predict`
MIN_PROGRAMS = 16  # below, no trial is pruned
FIT_FRACTION = 0.5  # of the programs, the best ones, are used in the regression
ERROR_RATE = 0.001  # fraction of programs as good as the incumbent that a rung prunes
MIN_SQUARES = 1e-12  # avoids a division by 0 if all scores are equal
# Cache: each trial needs the curves of all earlier ones, which no longer change.
_curves: 'weakref.WeakKeyDictionary[History, dict[int, LearningCurve | None]]' = (
  weakref.WeakKeyDictionary()
)


@dataclasses.dataclass(frozen=True)
class LearningCurve:
  """The learning curve of a program that was trained to the end.

  Attributes:
    score: Final score; larger is better.
    losses: Progress -> (training loss, lowest validation loss so far), means over seeds.
  """

  score: float
  losses: dict[float, tuple[float, float]]


def rungs(history: History, trial: int, settings: Settings) -> tuple[PruningRung, ...]:
  """Returns a trial's rungs and their thresholds.

  Empty if pruning is off, for fidelities below 1, and for constructions and kernels, which have
  no loss.

  Args:
    history: The run so far.
    trial: A trial that has begun.
    settings: What the controller knows about the run.
  """
  proposal = history.proposals[trial]
  without_loss = settings.spec.kind in ('construction', 'kernel', 'strategy')
  if not settings.pruning or proposal.fidelity < 1 or without_loss:
    return ()
  prunable = trial != BASELINE and proposal.operation not in RERUNS and len(proposal.seeds) == 1
  if not prunable:
    return tuple(map(PruningRung, PROGRESS))
  known = list(history.trials.values())[: history.decided_before[trial]]  # same after a restart
  memo = _curves.setdefault(history, {})
  for other in known:
    if other.id not in memo:
      memo[other.id] = _curve(other, settings.objective)
  curves = [curve for other in known if (curve := memo[other.id])]
  kept = [other for other in known if other.verdict and other.verdict.decision == Decision.KEEP]
  goal = settings.objective.score(kept[-1]) if kept else None
  return tuple(rung_at(curves, progress, goal) for progress in PROGRESS)


def _curve(trial: Trial, objective: Objective) -> LearningCurve | None:
  """Returns a trial's learning curve; None if it has no score at the full budget, or is a rerun."""
  score = objective.score(trial)
  finished = trial.proposal.fidelity == 1 and trial.result.status is Status.OK
  rerun = trial.proposal.operation in RERUNS
  if not finished or rerun or score is None or not math.isfinite(score):
    return None
  seeds = [by_progress(run) for run in trial.result.facts.get('looks', {}).values()]
  shared = set[float]().union(*seeds).intersection(*seeds)
  losses = {at: np.mean([seed[at] for seed in seeds], axis=0) for at in shared}
  return LearningCurve(score, {at: (float(a), float(b)) for at, (a, b) in losses.items()})


def by_progress(evaluations: Iterable[Sequence[float]]) -> dict[float, tuple[float, float]]:
  """Returns progress -> (training loss, lowest validation loss so far) of one run.

  Args:
    evaluations: (progress, training loss, validation loss) in order. Losses that are not finite
      are None in JSON, and skipped.
  """
  found, lowest = {}, math.inf
  for progress, train_loss, val_loss in evaluations:
    if train_loss is not None and val_loss is not None:
      lowest = min(lowest, val_loss)
      found[progress] = (train_loss, lowest)
  return found


def rung_at(curves: Sequence[LearningCurve], progress: float, goal: float | None) -> PruningRung:
  """Returns a rung that prunes programs unlikely to end with a score above `goal`.

  Args:
    curves: Of earlier programs. If they are too few, the rung has no thresholds.
    progress: Of the rung.
    goal: The incumbent's score; None if there is none.
  """
  known = sorted((c for c in curves if progress in c.losses), key=lambda curve: -curve.score)
  if goal is None or len(known) < MIN_PROGRAMS:
    return PruningRung(progress)
  best = known[: math.ceil(FIT_FRACTION * len(known))]
  scores = np.array([curve.score for curve in best])
  losses = np.array([curve.losses[progress] for curve in best])  # [programs, 2]
  freedom, distance = len(best) - 2, goal - scores.mean()
  centered = scores - scores.mean()
  squares = max(float(centered @ centered), MIN_SQUARES)
  slope = np.minimum(centered @ (losses - losses.mean(axis=0)) / squares, 0.0)  # [2]
  predicted = losses.mean(axis=0) + slope * distance
  residuals = losses - losses.mean(axis=0) - np.outer(centered, slope)
  deviation = np.sqrt((residuals**2).sum(axis=0) / freedom)
  leverage = math.sqrt(1 + 1 / len(best) + distance**2 / squares)
  margin = scipy.special.stdtrit(freedom, 1 - ERROR_RATE) * deviation * leverage
  return PruningRung(progress, float(predicted[0]), float(predicted[1] + margin[1]))
