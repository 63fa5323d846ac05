"""Fits the lineage simulator to recorded runs: prints what a Profile is made of.

  python fit_lineage.py WORKDIR... [--trials=N] [--floor=X]

Reads the ledgers of the runs (of the same config, with a baseline on two seeds or more, so that
noise is known) and prints the share kept, the share without a score, the quantiles of effects in
noise deviations, the seconds, and the fields of `benchmark/simulations/profiles.py` that follow.

An effect is the gain of a trial over its parent; it counts as help or harm when it exceeds two
deviations of the difference, so small effects are not seen, and the medians that it prints are
those of the clear ones. --trials takes the first N of each run, for runs whose machine drifted.
--floor is what no program is thought to pass; the default lies beyond the best seen by a quarter
of what was gained, which is a guess. `pairs`, `conflict` and `memory` are not in a ledger.
"""

import argparse
import dataclasses
import math
import pathlib
import statistics
import sys

import numpy as np

from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.types import RERUNS, Cost, Decision, Status, Trial

CLEAR = 2.0  # deviations of the difference of two trials
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclasses.dataclass(frozen=True)
class Run:
  """What one ledger says. gains: over the parent, larger is better, in the metric's unit.

  errors: standard deviation of each gain. memory: log(bytes / the parent's bytes).
  """

  baseline: float
  best: float
  noise: float
  trials: list[Trial]
  kept: int
  gains: list[float]
  errors: list[float]
  memory: list[float]


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path, nargs='+')
  parser.add_argument('--trials', type=int, default=10**9, help='first of each run')
  parser.add_argument('--floor', type=float)
  arguments = parser.parse_args()
  runs = [read(workdir, arguments.trials) for workdir in arguments.workdir]
  print_counts(runs)
  print_effects(runs)
  print_profile(runs, arguments.floor)
  return 0


def read(workdir: pathlib.Path, count: int) -> Run:
  history = read_history(workdir)
  noise = history.noise()
  if not noise:
    sys.exit(f'{workdir}: the baseline has one seed, or no noise; effects cannot be judged.')
  trials = [t for t in history.trials.values() if t.id < count]
  scores = {t.id: history.objective.score(t) for t in trials if t.result.status is Status.OK}
  known = {trial: score for trial, score in scores.items() if score is not None}
  edited = [t for t in trials if is_edit(t) and t.id in known]
  pairs = [(t, history.trials[history.parent(t.id) or BASELINE]) for t in edited]
  pairs = [(t, parent) for t, parent in pairs if parent.id in known]
  best = max(known.values())
  return Run(
    baseline=known[BASELINE],
    best=best,
    noise=noise,
    trials=[t for t in trials if is_edit(t)],
    kept=sum(is_kept(t) for t in trials if is_edit(t)),
    gains=[known[t.id] - known[p.id] for t, p in pairs],
    errors=[noise * math.sqrt(1 / runs_of(t) + 1 / runs_of(p)) for t, p in pairs],
    memory=[math.log(peak(t) / peak(p)) for t, p in pairs if peak(t) and peak(p)],
  )


def is_edit(trial: Trial) -> bool:
  """Whether it tells the effect of an edit: no baseline, no replicate, no lower budget."""
  repeats = trial.proposal.operation in RERUNS
  return trial.id != BASELINE and not repeats and trial.proposal.fidelity == 1


def is_kept(trial: Trial) -> bool:
  return trial.verdict is not None and trial.verdict.decision is Decision.KEEP


def runs_of(trial: Trial) -> int:
  return max(1, len(trial.result.measurements))


def peak(trial: Trial) -> int:
  return max(m.cost.peak_bytes for m in trial.result.measurements)


def print_counts(runs: list[Run]) -> None:
  trials = [t for run in runs for t in run.trials]
  failed = [t for t in trials if not t.result.measurements and t.result.status != Status.DUPLICATE]
  kept = sum(run.kept for run in runs)
  print(f'{len(runs)} runs, {len(trials)} edits: {kept / len(trials):.3f} kept')
  print(f'without a score: {len(failed) / len(trials):.3f}')
  for status in Status:
    count = sum(t.result.status is status for t in trials)
    if count:
      print(f'  {status}: {count / len(trials):.3f}')


def print_effects(runs: list[Run]) -> None:
  """Quantiles of gains over the parent, in deviations between seeds."""
  effects = np.array([gain / run.noise for run in runs for gain in run.gains])
  print(f'effects of {len(effects)} edits in noise deviations, larger is better; quantiles:')
  for quantile in QUANTILES:
    print(f'  {quantile:.2f}: {np.quantile(effects, quantile):+.2f}')


def print_profile(runs: list[Run], floor: float | None) -> None:
  """Scores are turned so that larger is better; the profile's metric is the other way."""
  baseline = statistics.mean(run.baseline for run in runs)
  best = max(run.best for run in runs)
  end = best + 0.25 * (best - baseline) if floor is None else -floor
  scale = end - baseline
  sizes = [(g / scale, g / e) for run in runs for g, e in zip(run.gains, run.errors, strict=True)]
  trials = [t for run in runs for t in run.trials]
  broken = [t for t in trials if is_broken(t)]
  memory = [change for run in runs for change in run.memory if abs(change) > 0.01]
  costs = [t.result.measurements[0].cost for t in trials if t.result.measurements]
  print('fields of a Profile:')
  print(f'  baseline={-baseline:.4g}, floor={-end:.4g}, noise={pooled(runs):.2g}')
  print_sizes('helpful', [size for size, clear in sizes if clear > CLEAR], len(sizes))
  print_sizes('harmful', [-size for size, clear in sizes if clear < -CLEAR], len(sizes))
  print(f'  broken={len(broken) / len(trials):.3f}')
  if memory:
    print(f'  memory_spread={rms(memory):.2f}  # {len(memory)} of {len(trials)} edits move it')
  print(f'  training_seconds={statistics.median(c.training_seconds for c in costs):.2f}')
  print(f'  other_seconds={statistics.median(beyond(c) for c in costs):.2f}')


def print_sizes(kind: str, sizes: list[float], count: int) -> None:
  if len(sizes) < 2:
    print(f'  {kind}={len(sizes) / count:.3f}  # too few to say how large')
    return
  logs = np.log(sizes)
  median, spread = math.exp(np.median(logs)), float(np.std(logs, ddof=1))
  print(
    f'  {kind}={len(sizes) / count:.3f}, {kind}_median={median:.3f}, {kind}_spread={spread:.2f}'
    f'  # {len(sizes)} edits'
  )


def is_broken(trial: Trial) -> bool:
  fine = (Status.OK, Status.OOM, Status.DUPLICATE, Status.CANCELLED)
  return trial.result.status not in fine


def beyond(cost: Cost) -> float:
  return cost.total_seconds - cost.training_seconds


def pooled(runs: list[Run]) -> float:
  return rms([run.noise for run in runs])


def rms(values: list[float]) -> float:
  return math.sqrt(statistics.mean(value * value for value in values))


if __name__ == '__main__':
  sys.exit(main())
