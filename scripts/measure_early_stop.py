"""What early stop saves and what it misses, by replays of searches over recorded curves.

  python scripts/measure_early_stop.py [FILE.csv ...]

The files are `record_curves.py`'s: programs that were all trained to the end. A replay lets them
come one after the other, has an acceptance rule decide, and asks `early.py` at each look whether
the training would have been ended there. What was ended is not on record for those after it, and
not kept; when the rule would have kept it, that is a missed keep. Saved is the share of the budgets
of all trials but the baseline. Replayed are the searches as they were recorded, and for each of
--halves random halves of all programs of a file --orders random orders; the interval holds 95 % of
the halves, which scatter as wide as what other programs would have given (a jackknife).
"""

import collections
import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

from autoresearch_jax import early
from autoresearch_jax.acceptance import ACCEPTANCE, Acceptance
from autoresearch_jax.testing.acceptance import Stream
from autoresearch_jax.types import Decision

PUBLISHED = pathlib.Path(__file__).parents[1] / 'autoresearch_jax/benchmark/published/curves'
HALVES = flags.DEFINE_integer('halves', 40, 'Random halves of the programs.', 2)
ORDERS = flags.DEFINE_integer('orders', 5, 'Random orders of each half.', 1)
RULES = ('noise', 'strict')


@dataclasses.dataclass(frozen=True)
class Recording:
  """baseline: a curve for each of its seeds. searches: by name, a curve a program, in order."""

  name: str
  baseline: list[early.Curve]
  searches: dict[str, list[early.Curve]]

  @property
  def programs(self) -> list[early.Curve]:
    return [curve for search in self.searches.values() for curve in search]


@dataclasses.dataclass
class Count:
  """Over replays. saved: in budgets. lost: programs that were ended and would have been kept."""

  trials: int = 0
  ended: int = 0
  saved: float = 0.0
  keeps: int = 0
  lost: list[float] = dataclasses.field(default_factory=list)

  def __add__(self, other: 'Count') -> 'Count':
    mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
    return Count(*(a + b for a, b in zip(mine, theirs, strict=True)))

  @property
  def saving(self) -> float:
    return self.saved / self.trials

  @property
  def missing(self) -> float:
    return len(self.lost) / self.keeps if self.keeps else 0.0


def read(path: pathlib.Path) -> Recording:
  baseline: dict[str, early.Curve] = {}
  searches: dict[str, list[early.Curve]] = collections.defaultdict(list)
  with path.open(newline='') as file:
    for row in csv.DictReader(file):
      looks = {
        int(name.removeprefix('nats_')) / 10: (
          float(row[name.replace('nats', 'loss')]),
          float(nats),
        )
        for name, nats in row.items()
        if name.startswith('nats_')
      }
      curve = early.Curve(float(row['score']), looks)
      if row['trial'] == '0':
        baseline.setdefault(row['seed'], curve)  # every search has it
      else:
        searches[row['run']].append(curve)
  return Recording(path.stem, list(baseline.values()), dict(searches))


def replay(
  rule: Acceptance, baseline: Sequence[early.Curve], order: Sequence[early.Curve]
) -> Count:
  """One search; its proposals are the curves of `order`."""
  count, programs = Count(trials=len(order)), [mean(baseline[: rule.baseline_seeds])]

  def measure(program: int, seed: int) -> float:
    return -baseline[seed].score if program == 0 else -order[program - 1].score

  stream = Stream.start(rule, measure)
  for curve in order:
    assert stream.incumbent is not None
    goal = -(stream.incumbent.metric('val_loss') or 0.0)
    after = stream.step(measure)
    verdict = after.trials[-1].verdict
    kept = verdict is not None and verdict.decision is Decision.KEEP
    count.keeps += kept
    if (progress := ended_at(curve, programs, goal)) is None:
      programs.append(curve)
      stream = after
      continue
    count.ended, count.saved = count.ended + 1, count.saved + 1 - progress
    count.lost += [curve.score] * kept
    # The trial has an id, and nothing else came of it.
    stream = dataclasses.replace(stream, edits=after.edits)
  return count


def mean(curves: Sequence[early.Curve]) -> early.Curve:
  """One program on several seeds."""
  looks = {at: np.mean([curve.looks[at] for curve in curves], axis=0) for at in curves[0].looks}
  score = float(np.mean([curve.score for curve in curves]))
  return early.Curve(score, {at: (float(a), float(b)) for at, (a, b) in looks.items()})


def ended_at(curve: early.Curve, programs: Sequence[early.Curve], goal: float) -> float | None:
  for progress in early.PROGRESS:
    if early.limited(programs, progress, goal).passed(*curve.looks[progress]):
      return progress
  return None


def report(recording: Recording) -> Iterator[str]:
  programs = recording.programs
  yield f'### {recording.name}: {len(programs)} programs\n'
  yield '| searches | acceptance | saved | ended | missed keeps | distinct programs among them |'
  yield '|---|---|---|---|---|---|'
  for name in RULES:
    rule = ACCEPTANCE.make(
      name, {'baseline_seeds': len(recording.baseline) if name == 'noise' else 1}
    )
    for search, order in recording.searches.items():
      yield line(f'{search}, as recorded', name, [replay(rule, recording.baseline, order)])
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(HALVES.value):
      half = rng.permutation(len(programs))[: len(programs) // 2]
      orders = [rng.permutation(half) for _ in range(ORDERS.value)]
      runs = [replay(rule, recording.baseline, [programs[i] for i in order]) for order in orders]
      halves.append(sum(runs, Count()))
    yield line(f'{HALVES.value} halves in {ORDERS.value} orders', name, halves)


def line(searches: str, rule: str, counts: Sequence[Count]) -> str:
  total = sum(counts, Count())
  saved, missed = f'{total.saving:.1%}', f'{len(total.lost)} of {total.keeps}'
  if len(counts) > 1:
    saved += f' ({interval([count.saving for count in counts])})'
    missed += f', {total.missing:.2%} ({interval([count.missing for count in counts])})'
  distinct = len(set(total.lost))
  return (
    f'| {searches} | {rule} | {saved} | {total.ended / total.trials:.0%} | {missed} | {distinct} |'
  )


def interval(values: Sequence[float]) -> str:
  low, high = np.quantile(values, [0.025, 0.975])
  return f'{low:.1%} to {high:.1%}'


def main(arguments: Sequence[str]) -> None:
  paths = [pathlib.Path(name) for name in arguments[1:]] or sorted(PUBLISHED.glob('*.csv'))
  if not paths:
    raise app.UsageError('There are no recorded curves; name a file of scripts/record_curves.py.')
  for path in paths:
    for text in report(read(path)):
      print(text, flush=True)
    print(flush=True)


if __name__ == '__main__':
  app.run(main)
