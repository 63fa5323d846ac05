"""Rungs of growing budgets, and the rule by which programs climb them without waiting.

Source: Li and others, "A system for massively parallel hyperparameter tuning" (ASHA), MLSys 2020,
arXiv 1810.05934, algorithm 2: from the highest rung down, promote the best program that is among
the first ⌊|rung| / η⌋ of its rung and was not promoted yet; if there is none, grow the lowest rung.

A program that failed counts in the size of its rung, as the worst of it, and is never promoted; a
run that was cancelled counts nowhere. A promotion is given out once, whatever becomes of its run.
"""

import dataclasses
from typing import NamedTuple, Self

import numpy as np

from autoresearch_jax.search.archive import NONE, Floats, Ints
from autoresearch_jax.types import Status

UNCOUNTED = (Status.CANCELLED, Status.DUPLICATE)  # no measurement of a new program


class Promotion(NamedTuple):
  """config: the trial whose program is run again. rung: where it goes. place: its row."""

  config: int
  rung: int
  place: int


@dataclasses.dataclass(frozen=True)
class Ladder:
  """How budgets grow. reduction: η. rungs: how many; the highest is the whole budget."""

  reduction: int
  rungs: int

  def __post_init__(self) -> None:
    if self.reduction < 2:
      raise ValueError(f'reduction is {self.reduction}; a rung keeps one in 2 or more.')
    if self.rungs < 1:
      raise ValueError(f'rungs is {self.rungs}; there must be at least 1.')

  @property
  def top(self) -> int:
    return self.rungs - 1

  def fidelity(self, rung: int) -> float:
    """The share of the budget in a rung."""
    return 1 / self.reduction ** (self.top - rung)

  def rung(self, fidelity: float) -> int | None:
    """The rung of a share of the budget; None when it is no rung's."""
    fits = [k for k in range(self.rungs) if np.isclose(self.fidelity(k), fidelity)]
    return fits[0] if fits else None


@dataclasses.dataclass(frozen=True)
class Rungs:
  """What was measured, a row for each program and rung, in the order of telling.

  configs: the trial that first ran the program. rungs, brackets: where. scores: NaN when it
  failed. promoted: 1 once a promotion to the next rung was given out, or will never be.
  """

  configs: Ints = dataclasses.field(default_factory=Ints)
  rungs: Ints = dataclasses.field(default_factory=Ints)
  brackets: Ints = dataclasses.field(default_factory=Ints)
  scores: Floats = dataclasses.field(default_factory=Floats)
  promoted: Ints = dataclasses.field(default_factory=Ints)

  def measured(self, config: int, rung: int, score: float | None, bracket: int = 0) -> Self:
    return type(self)(
      self.configs.appended(config),
      self.rungs.appended(rung),
      self.brackets.appended(bracket),
      self.scores.appended(np.nan if score is None else score),
      self.promoted.appended(0),
    )

  def bracket(self, config: int) -> int:
    """The bracket of a program that was measured; NONE of another."""
    places = np.flatnonzero(self.configs.array == config)
    return int(self.brackets.array[places[0]]) if len(places) else NONE

  def promotable(self, ladder: Ladder, bracket: int = 0) -> Promotion | None:
    """What is to be promoted next in a bracket, the highest rung first; None: nothing."""
    for rung in range(ladder.top - 1, -1, -1):
      inside = np.flatnonzero((self.rungs.array == rung) & (self.brackets.array == bracket))
      place = self._first(inside, len(inside) // ladder.reduction)
      if place is not None:
        return Promotion(int(self.configs.array[place]), rung + 1, place)
    return None

  def given_out(self, promotion: Promotion) -> Self:
    return dataclasses.replace(self, promoted=self.promoted.changed(promotion.place, 1))

  def given_up(self, ladder: Ladder, rung: int, bracket: int = 0) -> tuple[list[int], Self]:
    """The programs of a bracket's rung that are not among its first ⌈|rung| / η⌉.

    They were not promoted yet, and will not be. This is no part of ASHA, in which any program may
    be promoted once enough worse ones came. It is for callers that have to know what becomes of a
    program; of those that are left, at most one is not promotable at once.
    """
    inside = np.flatnonzero((self.rungs.array == rung) & (self.brackets.array == bracket))
    scores, promoted = self.scores.array[inside], self.promoted.array.copy()
    allowed = -(-len(inside) // ladder.reduction)
    waiting = np.flatnonzero((promoted[inside] == 0) & ~np.isnan(scores))
    over = [place for place in waiting.tolist() if _before(scores, place) >= allowed]
    promoted[inside[over]] = 1
    configs = self.configs.array[inside[over]].tolist()
    return configs, dataclasses.replace(self, promoted=Ints.of(promoted)) if over else self

  def _first(self, inside: np.ndarray, allowed: int) -> int | None:
    """The best row not promoted yet, if fewer than `allowed` of its rung are before it.

    Of equal scores the earlier is before.
    """
    scores = self.scores.array[inside]
    waiting = np.where(self.promoted.array[inside] == 0, scores, np.nan)
    if not allowed or np.isnan(waiting).all():
      return None
    best = int(np.nanargmax(waiting))
    return int(inside[best]) if _before(scores, best) < allowed else None


def _before(scores: np.ndarray, place: int) -> int:
  """How many are better, or as good and earlier."""
  score = scores[place]
  return int(np.sum(scores > score) + np.sum(scores[:place] == score))
