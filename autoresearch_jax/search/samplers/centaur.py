"""Centaur: CMA-ES and a language model that sees the state of CMA-ES take turns at the constants.

Source: Centaur (Ferreira et al., 2026, arXiv 2603.24647), where a language model is shown the mean,
the step size and the best points of CMA-ES, and sets the constants of 0.3 of the trials in its
place.

At its turn the proposer is asked to improve the best program of the study by changing constants;
the proposal's question gives in plain text what CMA-ES would draw next, the best points, what did
not fit in memory, and the ranges. The resulting trial takes the place of one of CMA-ES's draws if
it differs from the start only in constants of the search space; otherwise the study ignores it.
With `with_margin`, Optuna keeps its own draw besides the trial, so there the trial is only added.

Mean and deviation are estimated from NUM_DRAWS draws from a copy of the study. They are what Optuna
would do next, in the constants' own units and inside their ranges, and none of its private state is
read.
"""

import collections
import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least, require_fractions
from autoresearch_jax.search.samplers.base import SamplerState, format_value
from autoresearch_jax.search.samplers.cma_es import CmaEs
from autoresearch_jax.search.samplers.space import Dimension, Value, describe_range
from autoresearch_jax.search.samplers.study import (
  Add,
  Ask,
  ReplayableStudy,
  Space,
  Tell,
  remember,
  replayed,
)
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

NUM_DRAWS = 48  # the mean is then known to a seventh of the standard deviation
MAX_REFUSED = 3  # points shown that did not fit in memory, the newest


@STRATEGIES.register('centaur')
@dataclasses.dataclass(frozen=True)
class Centaur(CmaEs):
  """CMA-ES, some of whose points the proposer chooses.

  Attributes:
    llm_ratio: Fraction of the points that the proposer chooses.
    num_best_points: How many of the best points the proposer is shown.
  """

  llm_ratio: float = 0.3
  num_best_points: int = 5
  title: ClassVar[str] = 'centaur'

  def __post_init__(self) -> None:
    super().__post_init__()
    require_fractions(self, self.title, 'llm_ratio')
    require_at_least(1, self, self.title, 'num_best_points')

  def replaces_draw(self, trial: Trial) -> bool:
    return bool(trial.proposal.question) and not self.with_margin

  def ask(self, state: SamplerState, rng: np.random.Generator) -> tuple[Proposal, SamplerState]:
    if state.start is None or rng.random() >= self.llm_ratio:
      return super().ask(state, rng)
    best = _best_points(state)[: self.num_best_points]
    return Proposal(
      Operation.IMPROVE,
      parents=(best[0].trial if best else state.root,),
      context=tuple(sorted(point.trial for point in best)),
      guidance='tuning',
      question=self._question(state, best, int(rng.integers(2**31 - 1))),
    ), state

  def _question(self, state: SamplerState, best: Sequence['MeasuredPoint'], seed: int) -> str:
    """Returns what the proposer is asked.

    The question is part of the proposal, and a replay compares proposals: its wording must not
    change.
    """
    assert state.start is not None
    space = self.search_space(state.start)
    study = replayed(self, space, state.log)
    assert isinstance(study, ReplayableStudy)
    remember(study)
    columns = zip(*study.draws(seed, NUM_DRAWS), strict=True)
    lines = [
      f'Which values of these constants of {self.file or state.start.entry} are worth the next '
      'trial? Set as many of them as you like, inside their ranges, and change nothing else.',
      'CMA-ES searches over the same constants. What it would draw next, and the ranges:',
      *(
        f'- {d.name}: {_describe_draws(d, drawn)}; in {describe_range(d)}'
        for d, drawn in zip(space, columns, strict=True)
      ),
    ]
    if best:
      lines.append(f'The best so far by {state.objective.metric}, to {state.objective.direction}:')
      lines += [f'- {point.line(space, state.objective)}' for point in best]
    refused = [f.values for f in state.footprints if not f.fits][-MAX_REFUSED:]
    if refused:
      lines.append("Did not fit in the device's memory:")
      lines += [f'- {_assignments(space, values)}' for values in refused]
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True)
class MeasuredPoint:
  """Constants with a measured score.

  Attributes:
    trial: Id of the first trial with these constants.
    score: Mean over the trials that repeat it.
    values: The constants.
  """

  trial: int
  score: float
  values: tuple[Value, ...]

  def line(self, space: Space, objective: Objective) -> str:
    value = -self.score if objective.direction == 'minimize' else self.score
    return f'{value:.6g} (trial {self.trial}): {_assignments(space, self.values)}'


def _best_points(state: SamplerState) -> list[MeasuredPoint]:
  """Returns the measured points in descending order of score.

  Failures and duplicates were told with the score of an earlier trial, so they are no measurements.
  Two trials rarely measure exactly the same score; when they do, one of them is left out.
  """
  values = {e.number: e.values for e in state.log if isinstance(e, Ask | Add)}
  measured: dict[tuple[Value, ...], list[tuple[int, float]]] = collections.defaultdict(list)
  seen: set[float] = set()
  for entry in state.log:
    if isinstance(entry, Tell | Add) and entry.score is not None and entry.score not in seen:
      seen.add(entry.score)
      measured[values[entry.number]].append((entry.trial, entry.score))
  points = [
    MeasuredPoint(told[0][0], statistics.fmean(score for _, score in told), point)
    for point, told in measured.items()
  ]
  return sorted(points, key=lambda point: (-point.score, point.trial))


def _describe_draws(dimension: Dimension, drawn: Sequence[Value]) -> str:
  """Mean and standard deviation, as a factor on a log scale; the frequencies of choices."""
  if dimension.choices:
    counts = collections.Counter(map(repr, drawn))
    return ', '.join(f'{name} {count / len(drawn):.0%}' for name, count in sorted(counts.items()))
  numbers = [float(value) for value in drawn]
  if dimension.log or dimension.powers:
    logs = [math.log(number) for number in numbers]
    mean, factor = math.exp(statistics.fmean(logs)), math.exp(statistics.pstdev(logs))
    return f'mean {mean:.4g}, deviation a factor of {factor:.3g}'
  return f'mean {statistics.fmean(numbers):.4g}, deviation {statistics.pstdev(numbers):.3g}'


def _assignments(space: Space, values: tuple[Value, ...]) -> str:
  pairs = zip(space, values, strict=True)
  return ', '.join(f'{d.name} = {format_value(value)}' for d, value in pairs)
