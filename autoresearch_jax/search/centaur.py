"""Centaur: CMA-ES and a proposer that reads what CMA-ES knows take turns at the constants.

Source: Centaur (Ferreira et al., 2026, arXiv 2603.24647), where a language model that sees the
mean, the step and the best points of CMA-ES sets the constants of 0.3 of the trials in its place.

At its turn the proposer is asked to improve the best program of the study by moving constants; the
proposal's question has in plain text what CMA-ES would draw next, the best points, what did not fit
in memory, and the ranges. The trial it makes takes the place of one of the draws of CMA-ES, if it
differs from the start in constants of the space alone; else the study does not hear of it. With
`margin`, Optuna keeps what it drew itself beside the trial, so there it is only added.

Mean and deviation are those of DRAWS draws from a copy of the study. So they are what Optuna would
do now, in the constants' own units and inside their ranges, and no private state of it is read.
"""

import collections
import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least, require_share
from autoresearch_jax.search.samplers.base import SamplingState, short
from autoresearch_jax.search.samplers.cma_es import CmaEs
from autoresearch_jax.search.samplers.space import Dimension, Value, extent
from autoresearch_jax.search.samplers.study import Add, Ask, Space, Tell, remember, replayed
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

DRAWS = 48  # the mean is then known to a seventh of the deviation
REFUSED = 3  # points shown that did not fit in memory, the newest


@STRATEGIES.register('centaur')
@dataclasses.dataclass(frozen=True)
class Centaur(CmaEs):
  """share: of the points, the proposer's. shown: how many of the best points it sees."""

  share: float = 0.3
  shown: int = 5
  title: ClassVar[str] = 'centaur'

  def __post_init__(self) -> None:
    super().__post_init__()
    require_share(self, self.title, 'share')
    require_at_least(1, self, self.title, 'shown')

  def instead(self, trial: Trial) -> bool:
    return bool(trial.proposal.question) and not self.margin

  def ask(self, state: SamplingState, rng: np.random.Generator) -> tuple[Proposal, SamplingState]:
    """The generator says whose turn it is."""
    if state.start is None or rng.random() >= self.share:
      return super().ask(state, rng)
    best = _best(state)[: self.shown]
    return Proposal(
      Operation.IMPROVE,
      parents=(best[0].trial if best else state.root,),
      context=tuple(sorted(point.trial for point in best)),
      guidance='tuning',
      question=self._question(state, best, int(rng.integers(2**31 - 1))),
    ), state

  def _question(self, state: SamplingState, best: Sequence['Point'], seed: int) -> str:
    assert state.start is not None
    space = self.search_space(state.start)
    study = replayed(self, space, state.log)
    remember(study)
    columns = zip(*study.draws(seed, DRAWS), strict=True)
    lines = [
      f'Which values of these constants of {self.file or state.start.entry} are worth the next '
      'trial? Set as many of them as you like, inside their ranges, and change nothing else.',
      'CMA-ES searches over the same constants. What it would draw next, and the ranges:',
      *(
        f'- {d.name}: {_spread(d, drawn)}; in {extent(d)}'
        for d, drawn in zip(space, columns, strict=True)
      ),
    ]
    if best:
      lines.append(f'The best so far by {state.objective.metric}, to {state.objective.direction}:')
      lines += [f'- {point.line(space, state.objective)}' for point in best]
    refused = [f.values for f in state.footprints if not f.fits][-REFUSED:]
    if refused:
      lines.append("Did not fit in the device's memory:")
      lines += [f'- {_assigned(space, values)}' for values in refused]
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True)
class Point:
  """Values that were measured. trial: the first of them; score: the mean with what repeats it."""

  trial: int
  score: float
  values: tuple[Value, ...]

  def line(self, space: Space, objective: Objective) -> str:
    value = -self.score if objective.direction == 'minimize' else self.score
    return f'{value:.6g} (trial {self.trial}): {_assigned(space, self.values)}'


def _best(state: SamplingState) -> list[Point]:
  """The points that were measured, the best first.

  A failure was told with the score of an earlier trial, and so was a duplicate: these are no
  measurements. That the same score was measured twice is rare, and costs a line.
  """
  values = {e.number: e.values for e in state.log if isinstance(e, Ask | Add)}
  found: dict[tuple[Value, ...], list[tuple[int, float]]] = collections.defaultdict(list)
  seen: set[float] = set()
  for entry in state.log:
    if isinstance(entry, Tell | Add) and entry.score is not None and entry.score not in seen:
      seen.add(entry.score)
      found[values[entry.number]].append((entry.trial, entry.score))
  points = [
    Point(told[0][0], statistics.fmean(score for _, score in told), point)
    for point, told in found.items()
  ]
  return sorted(points, key=lambda point: (-point.score, point.trial))


def _spread(dimension: Dimension, drawn: Sequence[Value]) -> str:
  """Mean and deviation of the draws, as a factor on a log scale; of choices their shares."""
  if dimension.choices:
    counts = collections.Counter(map(repr, drawn))
    return ', '.join(f'{name} {count / len(drawn):.0%}' for name, count in sorted(counts.items()))
  numbers = [float(value) for value in drawn]
  if dimension.log or dimension.powers:
    logs = [math.log(number) for number in numbers]
    mean, factor = math.exp(statistics.fmean(logs)), math.exp(statistics.pstdev(logs))
    return f'mean {mean:.4g}, deviation a factor of {factor:.3g}'
  return f'mean {statistics.fmean(numbers):.4g}, deviation {statistics.pstdev(numbers):.3g}'


def _assigned(space: Space, values: tuple[Value, ...]) -> str:
  return ', '.join(f'{d.name} = {short(value)}' for d, value in zip(space, values, strict=True))
