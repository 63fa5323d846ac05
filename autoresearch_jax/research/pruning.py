"""When to end a trial early: limits on its losses, from how programs of the run looked before.

Trials are compared at equal progress, since schedules depend on progress. Of the better half of the
programs on record it is known how they looked at a rung and what they came to in the end. A
straight line through that says how a program looks there that will end as well as the incumbent,
and how far such programs lie around the line; who is farther behind than but for a chance of ERROR
is ended. So what can still be made up, by a learning rate that cools down in the end, say, is read
off the run itself, and while it has few programs, or they scatter widely, nearly nothing is ended.

Two looks must be past their limits. One is the nats a target that the runner measures on a fixed
batch of the validation slice: it means the same for every program, and on the slice that decides.
Training data would hold it against an edit that it regularises. Its lowest value so far counts, for
at a high learning rate it goes up and down before it settles. The other is the training loss that
the program reports, and it must only be worse than expected: a program whose `predict` averages
its weights looks bad to the runner for a while, and one that reports another loss than most looks
bad in this one, but not in both.

Only what trains the whole budget for the first time, on one seed, is ever ended; the baseline,
replicates and promotions are looked at and always finish. What can be kept is measured against the
run's incumbent: a strategy that climbs from below it (`restarts`), or collects what differs
(`map_elites`, `pareto`), and a rule that keeps what is worse (`simplicity` with a tolerance) lose
trials that they would have used. With those a config should not want it.

The line is a calibration, its limit a prediction interval (Draper and Smith, Applied Regression
Analysis, 1998, chapters 1 and 3). The median stopping rule (Golovin and others, Google Vizier, KDD
2017) ends what is below the median of all, Hyperband and ASHA (Li and others, 2018 and 2020) all
but a fraction, whoever would have won. `scripts/studies/early_stop/measure_early_stop.py` measures
what is missed.
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

PROGRESS = (0.2, 0.3, 0.5, 0.7)  # where the runner looks; each look costs a batch of `predict`
LEAST = 16  # programs on record before any trial is ended
SHARE = 0.5  # of the programs on record, the best ones, through which the lines go
ERROR = 0.001  # of programs that will end like the incumbent, those that a rung would end
TINY = 1e-12  # instead of 0, where all scores agree
# A memo, since each trial asks for the curves of all before it: what has a verdict changes no more.
_curves: 'weakref.WeakKeyDictionary[History, dict[int, Curve | None]]' = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Curve:
  """A program that was trained to the end. score: larger is better.

  looks: progress -> (training loss, lowest nats so far). Both are means over its seeds.
  """

  score: float
  looks: dict[float, tuple[float, float]]


def rungs(history: History, trial: int, settings: Settings) -> tuple[PruningRung, ...]:
  """Returns where the runner evaluates a trial while it trains, with the limits for it.

  Empty without pruning, for a fidelity below 1, and for constructions, whose losses do not compare.

  Args:
    history: The run so far.
    trial: A trial that has begun.
    settings: What the controller knows about the run.
  """
  proposal = history.proposals[trial]
  if not settings.pruning or proposal.fidelity < 1 or settings.spec.kind == 'construction':
    return ()
  may_end = trial != BASELINE and proposal.operation not in RERUNS and len(proposal.seeds) == 1
  if not may_end:
    return tuple(map(PruningRung, PROGRESS))
  known = list(history.trials.values())[: history.decided_before[trial]]  # also after a restart
  memo = _curves.setdefault(history, {})
  for other in known:
    if other.id not in memo:
      memo[other.id] = _curve(other, settings.objective)
  curves = [curve for other in known if (curve := memo[other.id])]
  kept = [other for other in known if other.verdict and other.verdict.decision == Decision.KEEP]
  goal = settings.objective.score(kept[-1]) if kept else None
  return tuple(limited(curves, progress, goal) for progress in PROGRESS)


def _curve(trial: Trial, objective: Objective) -> Curve | None:
  """What a program's first trial shows; None where it did not come to a score, or repeats one."""
  score = objective.score(trial)
  whole = trial.proposal.fidelity == 1 and trial.result.status is Status.OK
  if not whole or trial.proposal.operation in RERUNS or score is None or not math.isfinite(score):
    return None
  seeds = [by_progress(looks) for looks in trial.result.facts.get('looks', {}).values()]
  shared = set[float]().union(*seeds).intersection(*seeds)
  looks = {at: np.mean([seed[at] for seed in seeds], axis=0) for at in shared}
  return Curve(score, {at: (float(loss), float(nats)) for at, (loss, nats) in looks.items()})


def by_progress(looks: Iterable[Sequence[float]]) -> dict[float, tuple[float, float]]:
  """Looks at one run, with the lowest nats up to each, as a `PruningRung` counts them.

  looks: (progress, training loss, nats) in order; what was no number, None in JSON, is left out.
  """
  found, lowest = {}, math.inf
  for progress, loss, nats in looks:
    if loss is not None and nats is not None:
      lowest = min(lowest, nats)
      found[progress] = (loss, lowest)
  return found


def limited(curves: Sequence[Curve], progress: float, goal: float | None) -> PruningRung:
  """The limits at a progress for a program that has to end with more than the score `goal`.

  curves: of programs that were trained before. No limits while they are too few.
  """
  seen = sorted((c for c in curves if progress in c.looks), key=lambda curve: -curve.score)
  if goal is None or len(seen) < LEAST:
    return PruningRung(progress)
  best = seen[: math.ceil(SHARE * len(seen))]
  scores = np.array([curve.score for curve in best])
  looks = np.array([curve.looks[progress] for curve in best])  # [programs, 2]
  freedom, ahead = len(best) - 2, goal - scores.mean()
  away = scores - scores.mean()
  squares = max(float(away @ away), TINY)
  slope = np.minimum(away @ (looks - looks.mean(axis=0)) / squares, 0.0)  # [2]
  expected = looks.mean(axis=0) + slope * ahead
  around = looks - looks.mean(axis=0) - np.outer(away, slope)
  spread = np.sqrt((around**2).sum(axis=0) / freedom)
  wide = math.sqrt(1 + 1 / len(best) + ahead**2 / squares)
  farthest = scipy.special.stdtrit(freedom, 1 - ERROR) * spread * wide
  return PruningRung(progress, float(expected[0]), float(expected[1] + farthest[1]))
