"""GEPA's Pareto selection: parents from all programs that are best on some instance.

Source: GEPA (Agrawal et al., "Reflective prompt evolution can outperform reinforcement learning",
2025, arXiv 2507.19457), algorithm 2, and its merge, algorithms 3 and 4. As there:

- On each instance, the programs with the best score are its winners. Programs that another winner
  dominates are removed, and a parent is sampled in proportion to the number of instances it wins.
- It is improved with feedback: the proposer sees earlier attempts to improve this parent.
- Two programs of the front that have a common ancestor, neither being the other's, are merged, each
  pair once, if the ancestor is no better than either.

An instance is a metric here; `instance_scores.py` says which by default. With a single metric the
front is the best program (and its ties). A trial that did not report an instance cannot win it;
while no program wins any, the best one by the objective is improved.

Differences from the paper: every trial is scored on all instances, so there are no minibatches; a
merge is tried with a fixed probability, not after successes.
"""

import dataclasses
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import Archive, FloatColumn, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.instance_scores import instance_scores
from autoresearch_jax.search.options import require_at_least, require_fractions
from autoresearch_jax.search.selection import sample_index
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class ParetoState:
  """All trials with their scores on each instance.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    instances: Names of the metrics; by default those of the first trial with a score.
    scores: The matrix of instance scores, row by row; -inf where there is none.
    merged: Pairs of trial ids that were merged, each in ascending order.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  instances: tuple[str, ...] = ()
  scores: FloatColumn = dataclasses.field(default_factory=FloatColumn)
  merged: tuple[tuple[int, int], ...] = ()

  @property
  def score_matrix(self) -> np.ndarray:
    """float64 [rows, instances]."""
    return self.scores.array.reshape(len(self.archive), len(self.instances))


@STRATEGIES.register('pareto')
@dataclasses.dataclass(frozen=True)
class Pareto(Strategy):
  """Samples a parent from the Pareto front over instances.

  Attributes:
    metrics: The instances, name -> 'minimize' or 'maximize'; empty for the default.
    merge_prob: Probability of merging two programs, if a pair is found.
    max_merge_attempts: Random pairs to try.
    context_size: How many of a parent's children are shown to the proposer.
  """

  metrics: dict[str, Literal['minimize', 'maximize']] = dataclasses.field(default_factory=dict)
  merge_prob: float = 0.1
  max_merge_attempts: int = 10
  context_size: int = 10

  def __post_init__(self) -> None:
    require_fractions(self, 'pareto', 'merge_prob')
    require_at_least(1, self, 'pareto', 'max_merge_attempts')
    require_at_least(0, self, 'pareto', 'context_size')

  def init(self, objective: Objective) -> ParetoState:
    return ParetoState(objective, instances=tuple(self.metrics))

  def required_metrics(self) -> tuple[str, ...]:
    return tuple(self.metrics)

  def ask(self, state: ParetoState, rng: np.random.Generator) -> tuple[Proposal, ParetoState]:
    best = state.archive.best_row()
    if best is None:
      return Proposal(Operation.DRAFT), state
    wins = num_wins(state.score_matrix)
    if not wins.any():
      wins[best] = 1
    front = np.flatnonzero(wins)
    if rng.random() < self.merge_prob:
      pair = self._find_pair(state, front, rng)
      if pair is not None:
        return self._merge(state, *pair)
    row = front[sample_index(wins[front] / wins.sum(), rng)]
    parent = int(state.archive.ids.array[row])
    children = np.flatnonzero(state.archive.parents.array == parent)
    feedback = state.archive.ids.array[children[max(0, len(children) - self.context_size) :]]
    return Proposal(Operation.IMPROVE, (parent,), tuple(feedback.tolist())), state

  def tell(self, state: ParetoState, trial: Trial) -> ParetoState:
    score = score_of(state.objective, trial)
    scores = {} if score is None else instance_scores(state.objective, trial, self.metrics)
    if score is not None and not state.instances:
      state = _fix_instances(state, scores)
    new = np.array([scores.get(name, -np.inf) for name in state.instances])
    archive = state.archive.add(trial, score)
    if len(archive) > len(state.archive):
      column = FloatColumn(state.scores.data + new.tobytes())
    else:
      column = _average_replicate(state, archive, trial, new)
    return dataclasses.replace(state, archive=archive, scores=column)

  def _find_pair(
    self, state: ParetoState, front: np.ndarray, rng: np.random.Generator
  ) -> tuple[int, int, int] | None:
    """Returns two rows of the front to merge, the better first, and their common ancestor."""
    if len(front) < 2:
      return None
    scores, ids = state.archive.scores.array, state.archive.ids.array
    for _ in range(self.max_merge_attempts):
      sampled = rng.choice(front, 2, replace=False).tolist()
      first, second = sorted(sampled, key=lambda row: -scores[row])
      pair = tuple(sorted((int(ids[first]), int(ids[second]))))
      ancestor = common_ancestor(state.archive, first, second)
      if ancestor is not None and pair not in state.merged and scores[ancestor] <= scores[second]:
        return first, second, ancestor
    return None

  def _merge(
    self, state: ParetoState, first: int, second: int, ancestor: int
  ) -> tuple[Proposal, ParetoState]:
    one, other, shared = (int(state.archive.ids.array[row]) for row in (first, second, ancestor))
    merged = (*state.merged, (min(one, other), max(one, other)))
    proposal = Proposal(Operation.MERGE, (one, other), context=(shared,))
    return proposal, dataclasses.replace(state, merged=merged)


def num_wins(scores: np.ndarray) -> np.ndarray:
  """Counts the instances that each program wins; 0 for those that another winner dominates.

  All programs that share an instance's best score win it. One program dominates another when it is
  nowhere worse and somewhere better.

  Args:
    scores: Larger is better, -inf for no score. float64 [rows, instances].

  Returns:
    int64 [rows].
  """
  if not scores.size:
    return np.zeros(len(scores), np.int64)
  wins = np.zeros(len(scores), np.int64)
  for instance in scores.T:
    best = instance.max()
    if best > -np.inf:
      wins[instance == best] += 1
  winners = np.flatnonzero(wins)
  distinct, index = np.unique(scores[winners], axis=0, return_inverse=True)
  nowhere_worse = np.asarray((distinct[:, None] >= distinct).all(axis=2))
  np.fill_diagonal(nowhere_worse, False)  # all are distinct, so nowhere worse is somewhere better
  dominated = np.asarray(nowhere_worse.any(axis=0))
  wins[winners[dominated[index.reshape(-1)]]] = 0
  return wins


def common_ancestor(archive: Archive, first: int, second: int) -> int | None:
  """Returns the nearest common ancestor's row.

  None when there is none, or when one of the rows is the other's ancestor.
  """
  lineage, other_lineage = archive.lineage(first), archive.lineage(second)
  if first in other_lineage or second in lineage:
    return None
  known = set(other_lineage)
  return next((row for row in lineage if row in known), None)


def _fix_instances(state: ParetoState, scores: dict[str, float]) -> ParetoState:
  """Fixes the instances; earlier trials had no score on any of them."""
  column = FloatColumn.of(np.full(len(state.archive) * len(scores), -np.inf))
  return dataclasses.replace(state, instances=tuple(scores), scores=column)


def _average_replicate(
  state: ParetoState, archive: Archive, trial: Trial, new: np.ndarray
) -> FloatColumn:
  """Averages a replicate's scores into its original's, as the archive does."""
  row = state.archive.row_of(trial.proposal.parents[0])
  assert row is not None
  before, total = state.archive.num_runs.array[row], archive.num_runs.array[row]
  scores = state.scores.array.reshape(len(archive), -1).copy()
  old = scores[row].copy()
  missing = np.isinf(old)
  both = ~missing & np.isfinite(new)
  scores[row, missing] = new[missing]
  scores[row, both] = (old[both] * before + new[both] * (total - before)) / total
  return FloatColumn.of(scores)
