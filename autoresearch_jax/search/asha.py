"""ASHA: many programs on a small budget, the best third of them on three times as much, and so on.

Source: Li and others, "A system for massively parallel hyperparameter tuning", MLSys 2020,
arXiv 1810.05934. The rule itself is in `promotion.py`. A promotion runs the program of the trial
that first had it again, at the next rung's share of the budget; where there is nothing to
promote, a new program starts at the lowest rung of its bracket.

The paper draws new configurations at random. Here a new program is an improvement of the
incumbent (which is from the highest rung, since nothing else is ever kept), or of the root.

Bracket s leaves out the s lowest rungs. Programs are divided over brackets as Hyperband's are
(Li and others, JMLR 2018): with K rungs in proportion to ⌈K / (K - s) · η^(K-s-1)⌉, by which all
brackets cost about the same.
"""

import dataclasses
import functools
import math
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import NONE, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.promotion import UNCOUNTED, Ladder, Rungs
from autoresearch_jax.search.selection import draw
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class AshaState:
  """incumbent: the last trial kept. started: whether trial 0 is known. recent: as in greedy."""

  objective: Objective
  rungs: Rungs = dataclasses.field(default_factory=Rungs)
  incumbent: int | None = None
  started: bool = False
  recent: tuple[int, ...] = ()


@STRATEGIES.register('asha')
@dataclasses.dataclass(frozen=True)
class Asha(Strategy):
  """reduction: η. rungs: how many; the shares of the budget are η^(1-rungs), ..., 1/η, 1.

  brackets: how many, at most one for each rung. base: what a new program improves. shown: how
  many of the last trials a proposer gets to see.
  """

  reduction: int = 3
  rungs: int = 3
  brackets: int = 1
  base: Literal['incumbent', 'root'] = 'incumbent'
  shown: int = 40

  def __post_init__(self) -> None:
    if not 1 <= self.brackets <= self.ladder.rungs:
      raise ValueError(
        f'brackets of asha is {self.brackets}; with {self.rungs} rungs it must be from 1 to '
        f'{self.rungs}.'
      )
    require_at_least(0, self, 'asha', 'shown')

  @functools.cached_property
  def ladder(self) -> Ladder:
    return Ladder(self.reduction, self.rungs)

  def init(self, objective: Objective) -> AshaState:
    return AshaState(objective)

  def ask(self, state: AshaState, rng: np.random.Generator) -> tuple[Proposal, AshaState]:
    waiting = (state.rungs.promotable(self.ladder, bracket) for bracket in range(self.brackets))
    promotion = next(filter(None, waiting), None)
    if promotion is None:
      return self._new(state, draw(self.bracket_odds(), rng)), state
    fidelity = self.ladder.fidelity(promotion.rung)
    proposal = Proposal(Operation.PROMOTE, (promotion.config,), fidelity=fidelity)
    return proposal, dataclasses.replace(state, rungs=state.rungs.given_out(promotion))

  def tell(self, state: AshaState, trial: Trial) -> AshaState:
    kept = trial.verdict is not None and trial.verdict.decision is Decision.KEEP
    recent = (*state.recent, trial.id)
    return dataclasses.replace(
      state,
      rungs=self._measured(state, trial),
      incumbent=trial.id if kept else state.incumbent,
      started=state.started or trial.id == 0,
      recent=recent[max(0, len(recent) - self.shown) :],
    )

  def bracket_odds(self) -> np.ndarray:
    """The share of new programs that start in each bracket. float64 [brackets]."""
    left = [self.rungs - s for s in range(self.brackets)]
    sizes = [math.ceil(self.rungs / k * self.reduction ** (k - 1)) for k in left]
    return np.array(sizes) / sum(sizes)

  def _new(self, state: AshaState, bracket: int) -> Proposal:
    """A new program for the lowest rung of a bracket, which is the rung of the same number."""
    fidelity = self.ladder.fidelity(bracket)
    root = 0 if state.started else None
    base = root if self.base == 'root' or state.incumbent is None else state.incumbent
    if base is None:
      return Proposal(Operation.DRAFT, fidelity=fidelity)
    return Proposal(Operation.IMPROVE, (base,), state.recent, fidelity)

  def _measured(self, state: AshaState, trial: Trial) -> Rungs:
    """With a trial in its rung; replicates, the baseline and what was cancelled have none."""
    proposal, rung = trial.proposal, self.ladder.rung(trial.proposal.fidelity)
    outside = trial.id == 0 or proposal.operation is Operation.REPLICATE
    if rung is None or outside or trial.result.status in UNCOUNTED:
      return state.rungs
    promoted = proposal.operation is Operation.PROMOTE
    config = proposal.parents[0] if promoted else trial.id
    bracket = state.rungs.bracket(config) if promoted else rung
    if bracket == NONE or bracket >= self.brackets:
      return state.rungs
    return state.rungs.measured(config, rung, score_of(state.objective, trial), bracket)
