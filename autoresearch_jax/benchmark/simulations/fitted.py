"""A table of trials with what was fitted to it: scores anywhere, programs to start from, the best.

The best is that of the table's points and of a dense sample, polished: the best that is known of
the surrogate, not a proof.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import Assignments
from autoresearch_jax.benchmark.simulations.surrogate import (
  Scaling,
  Surface,
  Vote,
  fit_surface,
  fit_vote,
)
from autoresearch_jax.benchmark.simulations.table import Columns, Table, TableError, read
from autoresearch_jax.types import Objective

SAMPLES = 4096  # of the dense sample for the optimum
POLISHED = 8  # the best of them, each moved POLISHES times
POLISHES = 400
LEAST = 3  # programs that run


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A table with what was fitted to it."""

  objective: Objective
  table: Table
  scaling: Scaling
  surface: Surface
  vote: Vote

  @functools.cached_property
  def form(self) -> Assignments:
    return Assignments(self.table.names, self.table.whole)

  @functools.cached_property
  def best(self) -> np.ndarray:
    """Constants of the best point that is known, [d]."""
    return _best_constants(self)

  @functools.cached_property
  def starts(self) -> np.ndarray:
    """Constants of the table's programs that run, the worse half of them, worst first: [n, d]."""
    points = np.unique(self.table.points, axis=0)
    scores = self.scores(points)
    order = np.argsort(scores)[np.isneginf(scores).sum() :]
    return points[order[: max(2, len(order) // 2)]]

  def unit(self, points: np.ndarray) -> np.ndarray:
    """Unit points of constants [..., d]; of those outside the ranges, on the border."""
    return self.scaling.unit(np.clip(points, self.scaling.low, self.scaling.high))

  def rounded(self, unit: np.ndarray) -> np.ndarray:
    """Constants at unit points [..., d], whole ones rounded."""
    whole = np.array([name in self.table.whole for name in self.table.names])
    points = self.scaling.constants(unit)
    return np.where(whole, np.round(points), points)

  def scores(self, points: np.ndarray) -> np.ndarray:
    """Larger is better, -inf where it fails; points: constants [n, d]."""
    unit = self.scaling.unit(points)
    sign = -1 if self.objective.direction == 'minimize' else 1
    return np.where(self.vote.at(unit)[0] < 0.5, sign * self.surface.mean(unit), -np.inf)


@functools.lru_cache(maxsize=8)
def fitted(source: str, columns: Columns, direction: Literal['minimize', 'maximize']) -> Model:
  """The table of that name or path, fitted. Raises TableError."""
  table = read(source, columns)
  scaling = Scaling.of(table.points)
  unit = scaling.unit(table.points)
  surface = fit_surface(unit[table.ok], table.metric[table.ok])
  vote = fit_vote(unit, table.ok, table.seconds)
  model = Model(Objective(columns.metric, direction), table, scaling, surface, vote)
  _require_starts(source, model)
  return model


def _require_starts(source: str, model: Model) -> None:
  """Two starts that differ, for tuning and for reports, and something better than both."""
  points = np.unique(model.table.points, axis=0)
  scores = model.scores(points)
  running = scores[np.isfinite(scores)]
  if len(running) < LEAST:
    raise TableError(
      f'Of the {len(points)} programs in the table {source}, {len(running)} run where others '
      f'failed around them; a problem needs {LEAST}: two starts, and a better one.'
    )
  if running.max() - model.scores(model.starts).max() <= 1e-9 * abs(running.max()):
    raise TableError(
      f'All programs of the table {source} that run have about the same {model.objective.metric}, '
      f'{abs(running.max()):g}: there is nothing to search for.'
    )


def _best_constants(model: Model) -> np.ndarray:
  """The best of the table's points and of a Sobol sample, polished by shrinking random steps."""
  from scipy.stats import qmc  # noqa: PLC0415 - slow to import, needed once

  size = len(model.table.names)
  sample = qmc.Sobol(size, rng=0).random(SAMPLES)
  unit = np.concatenate([model.scaling.unit(model.table.points), sample])
  scores = np.concatenate([model.scores(model.rounded(u)) for u in np.array_split(unit, 16)])
  order = np.argsort(-scores, kind='stable')[:POLISHED]
  unit, scores = unit[order], scores[order]
  rng = np.random.default_rng(0)
  for round_ in range(POLISHES):
    width = 0.2 * 0.01 ** (round_ / POLISHES)
    moved = rng.random(unit.shape) < 0.5
    new = np.clip(unit + width * rng.standard_normal(unit.shape) * moved, 0, 1)
    reached = model.scores(model.rounded(new))
    better = reached > scores
    unit, scores = np.where(better[:, None], new, unit), np.where(better, reached, scores)
  return model.rounded(unit[scores.argmax()])
