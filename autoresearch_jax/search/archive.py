"""What population strategies remember of trials: an immutable table with a row a program.

A column is a block of bytes that numpy reads in place. Adding a row copies a block of memory, so
that a state of ten thousand trials takes in another one within microseconds, and it stays plain
data: it compares, and goes through JSON. Strategies with archives, trees and islands build on it.
"""

import dataclasses
from typing import ClassVar, Self

import numpy as np

from autoresearch_jax.types import Objective, Operation, Status, Trial

NONE = -1  # where a trial id is expected and there is none


@dataclasses.dataclass(frozen=True)
class Column:
  """An immutable array of numbers; `array` is a read-only view."""

  data: bytes = b''
  dtype: ClassVar[type] = np.float64

  @classmethod
  def of(cls, values: np.ndarray) -> Self:
    return cls(np.asarray(values, cls.dtype).tobytes())

  @property
  def array(self) -> np.ndarray:
    return np.frombuffer(self.data, self.dtype)

  def __len__(self) -> int:
    return len(self.data) // 8

  def appended(self, value: float) -> Self:
    return type(self)(self.data + self.dtype(value).tobytes())

  def changed(self, row: int, value: float) -> Self:
    return type(self)(self.data[: 8 * row] + self.dtype(value).tobytes() + self.data[8 * row + 8 :])


@dataclasses.dataclass(frozen=True)
class Floats(Column):
  """A column of float64."""


@dataclasses.dataclass(frozen=True)
class Ints(Column):
  """A column of int64."""

  dtype: ClassVar[type] = np.int64


@dataclasses.dataclass(frozen=True)
class Archive:
  """Trials told, a row each, in the order of telling; replicates are rows of no one.

  ids: trial ids. parents: id of the first parent, NONE without one. scores: larger is better, NaN
  without one; the mean over `runs` training runs. children: proposals that had the row as first
  parent, those still under way included. depths: edits since a row without a known parent (a
  promotion is no edit). above: row of the first parent, NONE without a known one.
  """

  ids: Ints = Ints()
  parents: Ints = Ints()
  scores: Floats = Floats()
  runs: Ints = Ints()
  children: Ints = Ints()
  depths: Ints = Ints()
  above: Ints = Ints()

  def __len__(self) -> int:
    return len(self.ids)

  def row(self, trial: int) -> int | None:
    """The row of a trial id; None when it was never told."""
    found = np.flatnonzero(self.ids.array == trial)
    return int(found[0]) if len(found) else None

  @property
  def scored(self) -> np.ndarray:
    """Rows that have a score, ascending."""
    return np.flatnonzero(~np.isnan(self.scores.array))

  def best(self) -> int | None:
    """The row with the best score, the first of equals; None while no row has one."""
    rows = self.scored
    return int(rows[np.argmax(self.scores.array[rows])]) if len(rows) else None

  def last(self, count: int) -> tuple[int, ...]:
    """Ids of the last `count` rows, the oldest first."""
    return tuple(self.ids.array[max(0, len(self) - count) :].tolist())

  def lineage(self, row: int) -> list[int]:
    """The row, its parent's row, and so on up to one without a known parent."""
    above, rows = self.above.array, []
    while row != NONE:
      rows.append(row)
      row = int(above[row])
    return rows

  def added(self, trial: Trial, score: float | None) -> Self:
    """With a finished trial in a row of its own; a replicate's score joins that of its original."""
    parent = trial.proposal.parents[0] if trial.proposal.parents else NONE
    above = self.row(parent)
    runs = len(trial.result.measurements)
    if trial.proposal.operation is Operation.REPLICATE and above is not None:
      return self._replicated(above, score, runs)
    edits = 0 if trial.proposal.operation is Operation.PROMOTE else 1
    return type(self)(
      ids=self.ids.appended(trial.id),
      parents=self.parents.appended(parent),
      scores=self.scores.appended(np.nan if score is None else score),
      runs=self.runs.appended(runs),
      children=self.children.appended(0),
      depths=self.depths.appended(0 if above is None else self.depths.array[above] + edits),
      above=self.above.appended(NONE if above is None else above),
    )

  def asked(self, row: int) -> Self:
    """With one more child of `row`, told of or not."""
    return dataclasses.replace(
      self, children=self.children.changed(row, self.children.array[row] + 1)
    )

  def _replicated(self, row: int, score: float | None, runs: int) -> Self:
    if score is None:
      return self
    old, before = self.scores.array[row], self.runs.array[row]
    mean = score if np.isnan(old) else (old * before + score * runs) / (before + runs)
    return dataclasses.replace(
      self,
      scores=self.scores.changed(row, mean),
      runs=self.runs.changed(row, (0 if np.isnan(old) else before) + runs),
    )


def score_of(objective: Objective, trial: Trial) -> float | None:
  """The score of a trial that ended well with a finite metric, larger is better; else None."""
  if trial.result.status is not Status.OK:
    return None
  score = objective.score(trial)
  return score if score is not None and np.isfinite(score) else None


def is_buggy(trial: Trial) -> bool:
  """Whether the program itself failed, so that mending it may pay: no duplicate, not stopped."""
  return trial.result.status not in (
    Status.OK, Status.DUPLICATE, Status.CANCELLED, Status.PRUNED
  )  # fmt: skip


def is_lost(trial: Trial) -> bool:
  """Whether the edit is known to be no improvement though it has no score: buggy, or pruned."""
  return is_buggy(trial) or trial.result.status is Status.PRUNED
