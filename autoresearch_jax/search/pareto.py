"""Pareto: parents from all programs that are best at something, not only at the mean.

Source: GEPA (Agrawal and others, "Reflective prompt evolution can outperform reinforcement
learning", 2025, arXiv 2507.19457), algorithm 2, and its merge, algorithms 3 and 4. As there:

- For each instance the programs with its best score are its winners. Programs that another one
  dominates are left out, and a parent is drawn in proportion to how many instances it wins.
- It is improved with feedback: the proposer sees what was made of this parent before.
- Two programs of the front that have a common ancestor, neither being the other's, are merged,
  each pair once, if the ancestor is no better than either.

An instance is here a metric: see `parts.py` for the default. With one metric only the front is the
best program (and its equals). A trial that did not measure an instance cannot win it; while nobody
wins any, the best program by the objective is improved. Otherwise than there: every trial is
scored on all instances, so there are no minibatches; a merge is tried in a share of the proposals,
not after successes.
"""

import dataclasses
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import Archive, Floats, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least, require_share
from autoresearch_jax.search.parts import parts_of
from autoresearch_jax.search.selection import draw
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class ParetoState:
  """archive: all trials. names: the instances, by default those of the first trial with a score.

  parts: a score for each row and instance, -inf without one. merged: pairs of ids, ascending.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  names: tuple[str, ...] = ()
  parts: Floats = dataclasses.field(default_factory=Floats)
  merged: tuple[tuple[int, int], ...] = ()

  @property
  def scores(self) -> np.ndarray:
    """float64 [rows, instances]."""
    return self.parts.array.reshape(len(self.archive), len(self.names))


@STRATEGIES.register('pareto')
@dataclasses.dataclass(frozen=True)
class Pareto(Strategy):
  """metrics: the instances, name -> 'minimize' or 'maximize'; empty for the default (`parts.py`).

  merge: share of the proposals that merge two programs, where a pair is found in `attempts` draws.
  shown: how many of a parent's children a proposer sees.
  """

  metrics: dict[str, Literal['minimize', 'maximize']] = dataclasses.field(default_factory=dict)
  merge: float = 0.1
  attempts: int = 10
  shown: int = 10

  def __post_init__(self) -> None:
    require_share(self, 'pareto', 'merge')
    require_at_least(1, self, 'pareto', 'attempts')
    require_at_least(0, self, 'pareto', 'shown')

  def init(self, objective: Objective) -> ParetoState:
    return ParetoState(objective, names=tuple(self.metrics))

  def required_metrics(self) -> tuple[str, ...]:
    return tuple(self.metrics)

  def ask(self, state: ParetoState, rng: np.random.Generator) -> tuple[Proposal, ParetoState]:
    best = state.archive.best()
    if best is None:
      return Proposal(Operation.DRAFT), state
    wins = front(state.scores)
    if not wins.any():
      wins[best] = 1
    rows = np.flatnonzero(wins)
    if rng.random() < self.merge:
      pair = self._pair(state, rows, rng)
      if pair is not None:
        return self._merge(state, *pair)
    parent = int(state.archive.ids.array[rows[draw(wins[rows] / wins.sum(), rng)]])
    children = np.flatnonzero(state.archive.parents.array == parent)
    feedback = state.archive.ids.array[children[max(0, len(children) - self.shown) :]]
    return Proposal(Operation.IMPROVE, (parent,), tuple(feedback.tolist())), state

  def tell(self, state: ParetoState, trial: Trial) -> ParetoState:
    score = score_of(state.objective, trial)
    scores = {} if score is None else parts_of(state.objective, trial, self.metrics)
    if score is not None and not state.names:
      state = _with_names(state, scores)
    new = np.array([scores.get(name, -np.inf) for name in state.names])
    archive = state.archive.added(trial, score)
    if len(archive) > len(state.archive):
      parts = Floats(state.parts.data + new.tobytes())
      return dataclasses.replace(state, archive=archive, parts=parts)
    return dataclasses.replace(
      state, archive=archive, parts=_replicated(state, archive, trial, new)
    )

  def _pair(
    self, state: ParetoState, rows: np.ndarray, rng: np.random.Generator
  ) -> tuple[int, int, int] | None:
    """Two rows of the front to merge, the better first, and their nearest common ancestor."""
    if len(rows) < 2:
      return None
    scores, ids = state.archive.scores.array, state.archive.ids.array
    for _ in range(self.attempts):
      one, other = sorted(rng.choice(rows, 2, replace=False).tolist(), key=lambda r: -scores[r])
      pair = tuple(sorted((int(ids[one]), int(ids[other]))))
      ancestor = common_ancestor(state.archive, one, other)
      if ancestor is not None and pair not in state.merged and scores[ancestor] <= scores[other]:
        return one, other, ancestor
    return None

  def _merge(
    self, state: ParetoState, one: int, other: int, ancestor: int
  ) -> tuple[Proposal, ParetoState]:
    first, second, shared = (int(state.archive.ids.array[row]) for row in (one, other, ancestor))
    merged = (*state.merged, (min(first, second), max(first, second)))
    proposal = Proposal(Operation.MERGE, (first, second), context=(shared,))
    return proposal, dataclasses.replace(state, merged=merged)


def front(scores: np.ndarray) -> np.ndarray:
  """How many instances each program wins; 0 for those that another winner dominates. int64 [rows].

  scores: float64 [rows, instances], larger is better, -inf for none. All that share an instance's
  best score win it. One program dominates another when it is nowhere worse and somewhere better.
  """
  if not scores.size:
    return np.zeros(len(scores), np.int64)
  wins = np.zeros(len(scores), np.int64)
  for instance in scores.T:
    best = instance.max()
    if best > -np.inf:
      wins[instance == best] += 1
  winners = np.flatnonzero(wins)
  different, which = np.unique(scores[winners], axis=0, return_inverse=True)
  at_least = np.asarray((different[:, None] >= different).all(axis=2))
  np.fill_diagonal(at_least, False)  # all are different, so nowhere worse is somewhere better
  dominated = np.asarray(at_least.any(axis=0))
  wins[winners[dominated[which.reshape(-1)]]] = 0
  return wins


def common_ancestor(archive: Archive, one: int, other: int) -> int | None:
  """The nearest row from which both come; None without one, or if one comes from the other."""
  ones, others = archive.lineage(one), archive.lineage(other)
  if one in others or other in ones:
    return None
  known = set(others)
  return next((row for row in ones if row in known), None)


def _with_names(state: ParetoState, scores: dict[str, float]) -> ParetoState:
  """With the instances fixed; trials told before had no score on any of them."""
  parts = Floats.of(np.full(len(state.archive) * len(scores), -np.inf))
  return dataclasses.replace(state, names=tuple(scores), parts=parts)


def _replicated(state: ParetoState, archive: Archive, trial: Trial, new: np.ndarray) -> Floats:
  """The scores with those of a replicate averaged into its original's, as the archive does."""
  row = state.archive.row(trial.proposal.parents[0])
  assert row is not None
  before, runs = state.archive.runs.array[row], archive.runs.array[row]
  scores = state.parts.array.reshape(len(archive), -1).copy()
  old = scores[row].copy()
  missing = np.isinf(old)
  both = ~missing & np.isfinite(new)
  scores[row, missing] = new[missing]
  scores[row, both] = (old[both] * before + new[both] * (runs - before)) / runs
  return Floats.of(scores)
