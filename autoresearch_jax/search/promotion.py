"""ASHA's promotion rule: which program moves to the next rung, decided without waiting.

Source: Li et al., "A system for massively parallel hyperparameter tuning" (ASHA), MLSys 2020, arXiv
1810.05934, algorithm 2. From the highest rung down, promote the best program that is among the top
⌊|rung| / η⌋ of its rung and has not been promoted yet; if there is none, add a program to the
lowest rung.

A failed program counts towards the size of its rung, as its worst member, and is never promoted. A
cancelled trial counts nowhere. A program is promoted once, whatever becomes of that trial.
"""

import dataclasses
from typing import NamedTuple, Self

import numpy as np

from autoresearch_jax.search.archive import NONE, FloatColumn, IntColumn
from autoresearch_jax.types import Status

MAX_RUNGS, MAX_REDUCTION = 20, 1000
NOT_MEASURED = (Status.CANCELLED, Status.DUPLICATE)  # such trials do not count in a rung


class Promotion(NamedTuple):
  """A program to run again with a larger budget.

  Attributes:
    config: The trial that first ran the program.
    rung: The rung that it is promoted to.
    row: Its row among the results.
  """

  config: int
  rung: int
  row: int


@dataclasses.dataclass(frozen=True)
class RungSchedule:
  """The budget of each rung; the highest rung has the full budget.

  Attributes:
    reduction_factor: η: one program in η is promoted, and the next rung's budget is η times larger.
    num_rungs: Number of rungs.
  """

  reduction_factor: int
  num_rungs: int

  def __post_init__(self) -> None:
    if not 2 <= self.reduction_factor <= MAX_REDUCTION:
      raise ValueError(
        f'reduction_factor is {self.reduction_factor}; it must be between 2 and {MAX_REDUCTION}.'
      )
    if not 1 <= self.num_rungs <= MAX_RUNGS:
      raise ValueError(f'num_rungs is {self.num_rungs}; it must be between 1 and {MAX_RUNGS}.')

  @property
  def top(self) -> int:
    """The highest rung."""
    return self.num_rungs - 1

  def fidelity(self, rung: int) -> float:
    """Returns a rung's fraction of the full budget."""
    return 1 / self.reduction_factor ** (self.top - rung)

  def rung_of(self, fidelity: float) -> int | None:
    """Returns the rung with this fraction of the budget, None when no rung has it."""
    rungs = [k for k in range(self.num_rungs) if np.isclose(self.fidelity(k), fidelity)]
    return rungs[0] if rungs else None


@dataclasses.dataclass(frozen=True)
class RungResults:
  """One row per program and rung, in order of completion.

  Attributes:
    configs: The trial that first ran the program.
    rungs: The rung it was measured on.
    brackets: Its bracket.
    scores: Larger is better, NaN when it failed.
    promoted: 1 once it was promoted to the next rung, or when it never will be.
  """

  configs: IntColumn = dataclasses.field(default_factory=IntColumn)
  rungs: IntColumn = dataclasses.field(default_factory=IntColumn)
  brackets: IntColumn = dataclasses.field(default_factory=IntColumn)
  scores: FloatColumn = dataclasses.field(default_factory=FloatColumn)
  promoted: IntColumn = dataclasses.field(default_factory=IntColumn)

  def add(self, config: int, rung: int, score: float | None, bracket: int = 0) -> Self:
    """Returns the results with one more."""
    return type(self)(
      self.configs.append(config),
      self.rungs.append(rung),
      self.brackets.append(bracket),
      self.scores.append(np.nan if score is None else score),
      self.promoted.append(0),
    )

  def bracket_of(self, config: int) -> int:
    """Returns the bracket of a program, NONE when it has no result."""
    rows = np.flatnonzero(self.configs.array == config)
    return int(self.brackets.array[rows[0]]) if len(rows) else NONE

  def next_promotion(self, schedule: RungSchedule, bracket: int = 0) -> Promotion | None:
    """Returns what to promote next in a bracket, from the highest rung down; None for nothing."""
    for rung in range(schedule.top - 1, -1, -1):
      rows = np.flatnonzero((self.rungs.array == rung) & (self.brackets.array == bracket))
      row = self._best_unpromoted(rows, len(rows) // schedule.reduction_factor)
      if row is not None:
        return Promotion(int(self.configs.array[row]), rung + 1, row)
    return None

  def mark_promoted(self, promotion: Promotion) -> Self:
    """Returns the results with a program marked as promoted."""
    return dataclasses.replace(self, promoted=self.promoted.set(promotion.row, 1))

  def stop_outside_top(
    self, schedule: RungSchedule, rung: int, bracket: int = 0
  ) -> tuple[list[int], Self]:
    """Gives up the unpromoted programs of a rung that are not among its top ⌈|rung| / η⌉.

    This is not part of ASHA, where any program may still be promoted once enough worse ones have
    arrived. It is for callers that need a final answer for each program. At most one of the
    remaining programs is not promotable at once.

    Returns:
      The programs given up, as the trials that first ran them, and the new results.
    """
    rows = np.flatnonzero((self.rungs.array == rung) & (self.brackets.array == bracket))
    scores, promoted = self.scores.array[rows], self.promoted.array.copy()
    allowed = -(-len(rows) // schedule.reduction_factor)
    waiting = np.flatnonzero((promoted[rows] == 0) & ~np.isnan(scores))
    stopped = [place for place in waiting.tolist() if _rank(scores, place) >= allowed]
    promoted[rows[stopped]] = 1
    configs = self.configs.array[rows[stopped]].tolist()
    return configs, dataclasses.replace(self, promoted=IntColumn.of(promoted)) if stopped else self

  def _best_unpromoted(self, rows: np.ndarray, allowed: int) -> int | None:
    """Returns the best unpromoted row, if it ranks among the first `allowed`.

    Among equal scores, the earlier row ranks first.
    """
    scores = self.scores.array[rows]
    waiting = np.where(self.promoted.array[rows] == 0, scores, np.nan)
    if not allowed or np.isnan(waiting).all():
      return None
    best = int(np.nanargmax(waiting))
    return int(rows[best]) if _rank(scores, best) < allowed else None


def _rank(scores: np.ndarray, place: int) -> int:
  """Returns how many scores rank before this one: better, or equal and earlier."""
  score = scores[place]
  return int(np.sum(scores > score) + np.sum(scores[:place] == score))
