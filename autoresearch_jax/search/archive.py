"""An immutable table of trials, one row per program: the memory of most strategies.

Populations, trees and islands are built on it. A column is a block of bytes that numpy reads in
place: appending a row copies one block of memory, so a state of ten thousand trials takes in
another one within microseconds, compares by value, and survives a round trip through JSON.
"""

import dataclasses
from typing import ClassVar, Self

import numpy as np

from autoresearch_jax.types import Decision, Objective, Operation, Status, Trial

NONE = -1  # stands for a missing trial id or row


@dataclasses.dataclass(frozen=True)
class Column:
  """An immutable 1-D array.

  Attributes:
    data: The numbers, 8 bytes each.
    dtype: Their type.
  """

  data: bytes = b''
  dtype: ClassVar[type] = np.float64

  @classmethod
  def of(cls, values: np.ndarray) -> Self:
    return cls(np.asarray(values, cls.dtype).tobytes())

  @property
  def array(self) -> np.ndarray:
    """A read-only view. [rows]."""
    return np.frombuffer(self.data, self.dtype)

  def __len__(self) -> int:
    return len(self.data) // 8

  def append(self, value: float) -> Self:
    """Returns a column with one more row."""
    return type(self)(self.data + self.dtype(value).tobytes())

  def set(self, row: int, value: float) -> Self:
    """Returns a column with another value in one row."""
    return type(self)(self.data[: 8 * row] + self.dtype(value).tobytes() + self.data[8 * row + 8 :])


@dataclasses.dataclass(frozen=True)
class FloatColumn(Column):
  """A column of float64."""


@dataclasses.dataclass(frozen=True)
class IntColumn(Column):
  """A column of int64."""

  dtype: ClassVar[type] = np.int64


@dataclasses.dataclass(frozen=True)
class Archive:
  """One row per program, in order of completion; a replicate updates its original's row.

  Attributes:
    ids: Trial ids.
    parents: Trial id of the first parent, NONE without one.
    scores: Larger is better; the mean over all training runs, NaN without a score.
    num_runs: Training runs behind each score.
    num_children: Proposals with this row as first parent, including pending ones.
    depths: Number of edits since a row without a known parent; a promotion is not an edit.
    parent_rows: Row of the first parent, NONE when the parent is not in the archive.
  """

  ids: IntColumn = IntColumn()
  parents: IntColumn = IntColumn()
  scores: FloatColumn = FloatColumn()
  num_runs: IntColumn = IntColumn()
  num_children: IntColumn = IntColumn()
  depths: IntColumn = IntColumn()
  parent_rows: IntColumn = IntColumn()

  def __len__(self) -> int:
    return len(self.ids)

  def row_of(self, trial: int) -> int | None:
    """Returns the row of a trial id, None when it is not in the archive."""
    rows = np.flatnonzero(self.ids.array == trial)
    return int(rows[0]) if len(rows) else None

  @property
  def scored_rows(self) -> np.ndarray:
    """Rows that have a score, in ascending order. int64 [n]."""
    return np.flatnonzero(~np.isnan(self.scores.array))

  def best_row(self) -> int | None:
    """Returns the row with the best score, the first among ties; None when no row has a score."""
    rows = self.scored_rows
    return int(rows[np.argmax(self.scores.array[rows])]) if len(rows) else None

  def last_ids(self, count: int) -> tuple[int, ...]:
    """Returns the ids of the last `count` rows, oldest first."""
    return tuple(self.ids.array[max(0, len(self) - count) :].tolist())

  def lineage(self, row: int) -> list[int]:
    """Returns the row, its parent's row, and so on up to a row without a known parent."""
    parent_rows, rows = self.parent_rows.array, []
    while row != NONE:
      rows.append(row)
      row = int(parent_rows[row])
    return rows

  def add(self, trial: Trial, score: float | None) -> Self:
    """Returns an archive with a finished trial added.

    A replicate adds no row: its score is averaged into its original's.
    """
    parent = trial.proposal.parents[0] if trial.proposal.parents else NONE
    parent_row = self.row_of(parent)
    num_runs = len(trial.result.measurements)
    if trial.proposal.operation is Operation.REPLICATE and parent_row is not None:
      return self._add_replicate(parent_row, score, num_runs)
    edits = 0 if trial.proposal.operation is Operation.PROMOTE else 1
    return type(self)(
      ids=self.ids.append(trial.id),
      parents=self.parents.append(parent),
      scores=self.scores.append(np.nan if score is None else score),
      num_runs=self.num_runs.append(num_runs),
      num_children=self.num_children.append(0),
      depths=self.depths.append(0 if parent_row is None else self.depths.array[parent_row] + edits),
      parent_rows=self.parent_rows.append(NONE if parent_row is None else parent_row),
    )

  def count_child(self, row: int) -> Self:
    """Returns an archive with one more child of `row`, counted when it is proposed."""
    num_children = self.num_children.set(row, self.num_children.array[row] + 1)
    return dataclasses.replace(self, num_children=num_children)

  def _add_replicate(self, row: int, score: float | None, num_runs: int) -> Self:
    if score is None:
      return self
    old, before = self.scores.array[row], self.num_runs.array[row]
    mean = score if np.isnan(old) else (old * before + score * num_runs) / (before + num_runs)
    return dataclasses.replace(
      self,
      scores=self.scores.set(row, mean),
      num_runs=self.num_runs.set(row, (0 if np.isnan(old) else before) + num_runs),
    )


def score_of(objective: Objective, trial: Trial) -> float | None:
  """Returns a trial's score (larger is better), None unless it ended ok with a finite metric."""
  if trial.result.status is not Status.OK:
    return None
  score = objective.score(trial)
  return score if score is not None and np.isfinite(score) else None


def is_kept(trial: Trial) -> bool:
  """Returns whether acceptance kept the trial."""
  return trial.verdict is not None and trial.verdict.decision is Decision.KEEP


def is_buggy(trial: Trial) -> bool:
  """Returns whether the program itself failed, so that debugging it may pay off.

  Duplicates, cancelled, infeasible and pruned trials are not buggy.
  """
  return trial.result.status not in (
    Status.OK, Status.DUPLICATE, Status.CANCELLED, Status.INFEASIBLE, Status.PRUNED
  )  # fmt: skip


def is_failure(trial: Trial) -> bool:
  """Returns whether a trial without a score shows that its edit is no improvement."""
  return is_buggy(trial) or trial.result.status in (Status.INFEASIBLE, Status.PRUNED)
