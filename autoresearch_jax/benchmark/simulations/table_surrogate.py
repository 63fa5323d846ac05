"""A table of trials with the models fitted to it: scores anywhere, starts, and the optimum.

The optimum is the best of the table's points and of a dense sample, improved by local search: the
best known point of the surrogate, not a proven one.
"""

import dataclasses
import functools

import numpy as np

from autoresearch_jax.benchmark.simulations.assignments import Assignments
from autoresearch_jax.benchmark.simulations.surrogate import (
  FailureModel,
  MetricModel,
  Scaling,
  fit_failures,
  fit_metric,
)
from autoresearch_jax.benchmark.simulations.table import (
  Columns,
  TableError,
  TrialTable,
  read_table,
)
from autoresearch_jax.types import Objective

SAMPLES = 4096  # points of the dense sample
LOCAL_SEARCHES = 8  # from the best points of it
LOCAL_STEPS = 400  # of each local search
MIN_RUNNING = 3  # programs that run: two starts, and something better


@dataclasses.dataclass(frozen=True, eq=False)
class TableSurrogate:
  """A table with the models fitted to it.

  Attributes:
    objective: The metric and its direction.
    table: The recorded trials.
    scaling: The map between constants and the unit cube.
    metric: Predicts the metric.
    failures: Predicts failures and seconds.
  """

  objective: Objective
  table: TrialTable
  scaling: Scaling
  metric: MetricModel
  failures: FailureModel

  @functools.cached_property
  def format(self) -> Assignments:
    """The format of the programs."""
    return Assignments(self.table.names, self.table.integers)

  @functools.cached_property
  def best(self) -> np.ndarray:
    """Constants of the best known point, [d]."""
    return _best_constants(self)

  @functools.cached_property
  def starts(self) -> np.ndarray:
    """Constants of the worse half of the table's programs that run, worst first; [n, d]."""
    points = np.unique(self.table.points, axis=0)
    scores = self.scores(points)
    order = np.argsort(scores)[np.isneginf(scores).sum() :]
    return points[order[: max(2, len(order) // 2)]]

  def unit(self, points: np.ndarray) -> np.ndarray:
    """Maps constants, [..., d], to unit points; those outside their ranges land on the border."""
    return self.scaling.unit(np.clip(points, self.scaling.low, self.scaling.high))

  def constants(self, unit: np.ndarray) -> np.ndarray:
    """Maps unit points, [..., d], to constants, with integers rounded."""
    integer = np.array([name in self.table.integers for name in self.table.names])
    points = self.scaling.constants(unit)
    return np.where(integer, np.round(points), points)

  def scores(self, points: np.ndarray) -> np.ndarray:
    """Returns the scores, [n], of constants, [n, d]; larger is better, -inf for failures."""
    features = self.scaling.features(points)
    sign = -1 if self.objective.direction == 'minimize' else 1
    return np.where(self.failures.at(features)[0] < 0.5, sign * self.metric.mean(features), -np.inf)


@functools.lru_cache(maxsize=8)
def fit_table(source: str, columns: Columns) -> TableSurrogate:
  """Reads a table and fits the models to it.

  Args:
    source: Name of a shipped table, or a path.
    columns: The meaning of its columns.

  Raises:
    TableError: The table cannot be used.
  """
  table = read_table(source, columns)
  scaling = Scaling.of(table.points, table.level_counts)
  features = scaling.features(table.points)
  metric = fit_metric(features[table.ok], table.metric[table.ok])
  failures = fit_failures(features, table.ok, table.seconds)
  objective = Objective(columns.metric, columns.direction)
  surrogate = TableSurrogate(objective, table, scaling, metric, failures)
  _require_starts(source, surrogate)
  return surrogate


def _require_starts(source: str, surrogate: TableSurrogate) -> None:
  """Raises TableError unless there are two different starts and something better than both."""
  points = np.unique(surrogate.table.points, axis=0)
  scores = surrogate.scores(points)
  running = scores[np.isfinite(scores)]
  if len(running) < MIN_RUNNING:
    raise TableError(
      f'Of the {len(points)} programs in the table {source}, the surrogate predicts that only '
      f'{len(running)} run. A problem needs {MIN_RUNNING}: two starts, and a better program.'
    )
  if running.max() - surrogate.scores(surrogate.starts).max() <= 1e-9 * abs(running.max()):
    raise TableError(
      f'All programs of the table {source} that run have about the same '
      f'{surrogate.objective.metric}, {abs(running.max()):g}: there is nothing to search for.'
    )


def _best_constants(surrogate: TableSurrogate) -> np.ndarray:
  """Takes the best of the table's points and a Sobol sample, and improves them by local search."""
  from scipy.stats import qmc  # noqa: PLC0415 - slow to import, needed once

  size = len(surrogate.table.names)
  sample = qmc.Sobol(size, rng=0).random(SAMPLES)
  unit = np.concatenate([surrogate.scaling.unit(surrogate.table.points), sample])
  scores = np.concatenate(
    [surrogate.scores(surrogate.constants(u)) for u in np.array_split(unit, 16)]
  )
  order = np.argsort(-scores, kind='stable')[:LOCAL_SEARCHES]
  unit, scores = unit[order], scores[order]
  rng = np.random.default_rng(0)
  for step in range(LOCAL_STEPS):
    width = 0.2 * 0.01 ** (step / LOCAL_STEPS)
    moved = rng.random(unit.shape) < 0.5
    new = np.clip(unit + width * rng.standard_normal(unit.shape) * moved, 0, 1)
    reached = surrogate.scores(surrogate.constants(new))
    better = reached > scores
    unit, scores = np.where(better[:, None], new, unit), np.where(better, reached, scores)
  return surrogate.constants(unit[scores.argmax()])
