"""Measures what pruning saves and what it misses, by replaying searches over recorded curves.

  python measure_pruning.py [FILE.csv ...]

The files are written by `record_curves.py`; they hold programs that were all trained to the end. A
replay presents them one after the other, lets an acceptance rule decide, and asks
`research/pruning.py` at each rung whether training would have been pruned there. A pruned program
is not recorded for those after it, and not kept; if the rule would have kept it, that is a missed
keep.

Saved is the fraction of the budgets of all trials but the baseline. Replayed are the searches as
they were recorded, all programs of a file in --orders random orders, and as many random halves of
them; the interval holds 95 % of these halves, which vary as much as other programs would (a
jackknife). A few programs make nearly all keeps, so the last column counts each of them once, with
Wilson's interval (JASA 1927): missed in any of the replays, among those kept in any.
"""

import collections
import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.stats
from absl import app, flags

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.research import pruning
from autoresearch_jax.testing.acceptance import TrialStream
from autoresearch_jax.types import Decision

PUBLISHED = pathlib.Path(__file__).parent / 'curves'
ORDERS = flags.DEFINE_integer('orders', 20, 'Random orders, of all programs and of halves.', 2)
RULES = ('noise', 'strict')


@dataclasses.dataclass(frozen=True)
class Recording:
  """The learning curves of a recorded file."""

  name: str
  baseline: list[pruning.LearningCurve]  # one per seed
  searches: dict[str, list[pruning.LearningCurve]]  # by name, one per program, in order

  @property
  def programs(self) -> list[pruning.LearningCurve]:
    return [curve for search in self.searches.values() for curve in search]


@dataclasses.dataclass
class Count:
  """Totals over replays."""

  trials: int = 0
  ended: int = 0
  saved: float = 0.0  # training, in budgets
  kept: list[float] = dataclasses.field(default_factory=list)  # scores of keeps without pruning
  lost: list[float] = dataclasses.field(default_factory=list)  # scores of pruned ones among them

  def __add__(self, other: 'Count') -> 'Count':
    mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
    return Count(*(a + b for a, b in zip(mine, theirs, strict=True)))

  @property
  def saving(self) -> float:
    return self.saved / self.trials

  @property
  def missing(self) -> float:
    return len(self.lost) / len(self.kept) if self.kept else 0.0


def read(path: pathlib.Path) -> Recording:
  baseline: dict[str, pruning.LearningCurve] = {}
  searches: dict[str, list[pruning.LearningCurve]] = collections.defaultdict(list)
  with path.open(newline='') as file:
    for row in csv.DictReader(file):
      looks = [
        (at, float(row[f'loss_{round(10 * at)}']), float(row[f'nats_{round(10 * at)}']))
        for at in pruning.PROGRESS
      ]
      curve = pruning.LearningCurve(float(row['score']), pruning.by_progress(looks))
      if row['trial'] == '0':
        baseline.setdefault(row['seed'], curve)  # every search has it
      else:
        searches[row['run']].append(curve)
  return Recording(path.stem, list(baseline.values()), dict(searches))


def replay(
  rule: AcceptanceRule,
  baseline: Sequence[pruning.LearningCurve],
  order: Sequence[pruning.LearningCurve],
) -> Count:
  """One search; its proposals are the curves of `order`."""
  count, programs = Count(trials=len(order)), [mean(baseline[: rule.baseline_seeds])]

  def measure(program: int, seed: int) -> float:
    return -baseline[seed].score if program == 0 else -order[program - 1].score

  stream = TrialStream.start(rule, measure)
  for curve in order:
    assert stream.incumbent is not None
    goal = -(stream.incumbent.metric('val_loss') or 0.0)
    after = stream.step(measure)
    verdict = after.trials[-1].verdict
    kept = verdict is not None and verdict.decision is Decision.KEEP
    count.kept += [curve.score] * kept
    if (progress := ended_at(curve, programs, goal)) is None:
      programs.append(curve)
      stream = after
      continue
    count.ended, count.saved = count.ended + 1, count.saved + 1 - progress
    count.lost += [curve.score] * kept
    # The trial has an id, and nothing else came of it.
    stream = dataclasses.replace(stream, edits=after.edits)
  return count


def mean(curves: Sequence[pruning.LearningCurve]) -> pruning.LearningCurve:
  """One program on several seeds."""
  looks = {at: np.mean([curve.losses[at] for curve in curves], axis=0) for at in curves[0].losses}
  score = float(np.mean([curve.score for curve in curves]))
  return pruning.LearningCurve(score, {at: (float(a), float(b)) for at, (a, b) in looks.items()})


def ended_at(
  curve: pruning.LearningCurve, programs: Sequence[pruning.LearningCurve], goal: float
) -> float | None:
  for progress in pruning.PROGRESS:
    if pruning.rung_at(programs, progress, goal).should_prune(*curve.losses[progress]):
      return progress
  return None


def report(recording: Recording) -> Iterator[str]:
  programs = recording.programs
  yield f'### {recording.name}: {len(programs)} programs\n'
  yield '| searches | acceptance | saved | ended | missed keeps | programs |'
  yield '|---|---|---|---|---|---|'
  for name in RULES:
    rule = ACCEPTANCE.make(
      name, {'baseline_seeds': len(recording.baseline) if name == 'noise' else 1}
    )
    for search, order in recording.searches.items():
      yield line(f'{search}, as recorded', name, [replay(rule, recording.baseline, order)])
    rng = np.random.default_rng(0)
    for said, size in (('all', len(programs)), ('half of them', len(programs) // 2)):
      orders = [rng.permutation(len(programs))[:size] for _ in range(ORDERS.value)]
      runs = [replay(rule, recording.baseline, [programs[i] for i in order]) for order in orders]
      yield line(f'{said} in {ORDERS.value} random orders', name, runs, size < len(programs))


def line(searches: str, rule: str, counts: Sequence[Count], scatter: bool = False) -> str:
  total = sum(counts, Count())
  saved, missed = (
    f'{total.saving:.1%}',
    f'{len(total.lost)} of {len(total.kept)}, {total.missing:.1%}',
  )
  if scatter:
    saved += f' ({interval([count.saving for count in counts])})'
  distinct = share(len(set(total.lost)), len(set(total.kept)))
  return (
    f'| {searches} | {rule} | {saved} | {total.ended / total.trials:.0%} | {missed} | {distinct} |'
  )


def share(count: int, of: int) -> str:
  """'1 of 40, 2.5% (0.4% to 12.9%)'."""
  if not of:
    return '0 of 0'
  found = scipy.stats.binomtest(count, of).proportion_ci(method='wilson')
  return f'{count} of {of}, {count / of:.1%} ({found.low:.1%} to {found.high:.1%})'


def interval(values: Sequence[float]) -> str:
  low, high = np.quantile(values, [0.025, 0.975])
  return f'{low:.1%} to {high:.1%}'


def main(arguments: Sequence[str]) -> None:
  paths = [pathlib.Path(name) for name in arguments[1:]] or sorted(PUBLISHED.glob('*.csv'))
  if not paths:
    raise app.UsageError(
      'There are no recorded curves; name a file of scripts/studies/pruning/record_curves.py.'
    )
  for path in paths:
    if not path.is_file():
      raise app.UsageError(f'There is no file {path}.')
    for text in report(read(path)):
      print(text, flush=True)
    print(flush=True)


if __name__ == '__main__':
  app.run(main)
