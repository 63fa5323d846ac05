"""Budget rungs: new programs of any strategy start on a small budget and must climb to the whole.

Source: the rule of ASHA (Li and others, MLSys 2020, arXiv 1810.05934), see `promotion.py`, with
programs that the inner strategy proposes instead of random ones.

The inner strategy proposes programs for the whole budget. It is told once of each, in the same
terms, as the result of its own proposal under the id of the trial that ran last:

- when the program failed or was cancelled, on any rung, or ran on the whole budget: as that ended;
- when it is no longer among the first third of its rung, rounded up: as `cancelled`. Its score is
  withheld, since scores of different budgets do not compare.

Until then the program is under way. In ASHA one that fell back may still climb, if enough worse
ones come later. Here it is given up, so that the inner strategy hears of it soon, and the programs
that wait are few: on each rung those that are promoted next, and at most one more.

What repeats a program, and what the inner strategy itself wants on less than the whole budget,
goes through unchanged.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.promotion import UNCOUNTED, Ladder, Promotion, Rungs
from autoresearch_jax.search.wrappers.base import Wrapper, stopped
from autoresearch_jax.types import REPEATS, Objective, Operation, Proposal, Status, Trial

LOWEST = 0


@dataclasses.dataclass(frozen=True)
class Waiting:
  """A program that may be promoted. config: the trial that first ran it. rung: where it was
  measured. trial: its last one, as the inner strategy asked for it.
  """

  config: int
  rung: int
  trial: Trial


@dataclasses.dataclass(frozen=True)
class RungsState:
  """underway: with the inner strategy's own proposals, and labelled with the rung."""

  objective: Objective
  inner: Any
  rungs: Rungs = dataclasses.field(default_factory=Rungs)
  waiting: tuple[Waiting, ...] = ()
  underway: Underway = dataclasses.field(default_factory=Underway)


@STRATEGIES.register('rungs')
@dataclasses.dataclass(frozen=True)
class BudgetRungs(Wrapper):
  """reduction: η, one in how many is promoted and how much larger the next budget is.

  rungs: how many; the shares of the budget are η^(1-rungs), ..., 1/η, 1.
  """

  reduction: int = 3
  rungs: int = 3

  def __post_init__(self) -> None:
    super().__post_init__()
    _ = self.ladder

  @functools.cached_property
  def ladder(self) -> Ladder:
    return Ladder(self.reduction, self.rungs)

  def init(self, objective: Objective) -> RungsState:
    return RungsState(objective, self.strategy.init(objective))

  def ask(self, state: RungsState, rng: np.random.Generator) -> tuple[Proposal, RungsState]:
    promotion = state.rungs.promotable(self.ladder)
    if promotion is not None:
      return self._promoted(state, promotion)
    asked, inner = self.strategy.ask(state.inner, rng)
    state = dataclasses.replace(state, inner=inner)
    if asked.operation in REPEATS or asked.fidelity < 1:
      return asked, state
    given = dataclasses.replace(asked, fidelity=self.ladder.fidelity(LOWEST))
    underway = state.underway.departed(given, LOWEST, asked)
    return given, dataclasses.replace(state, underway=underway)

  def tell(self, state: RungsState, trial: Trial) -> RungsState:
    flight, underway = state.underway.landed(trial)
    state = dataclasses.replace(state, underway=underway)
    if flight is None:
      return self._told(state, trial)
    seen, rung = flight.landed_as(trial), flight.label
    if rung == self.ladder.top or trial.result.status in UNCOUNTED:
      return self._told(state, seen)
    config = trial.id if rung == LOWEST else trial.proposal.parents[0]
    score = score_of(state.objective, trial)
    state = dataclasses.replace(state, rungs=state.rungs.measured(config, rung, score))
    if score is None:
      return self._told(state, seen)
    waiting = (*state.waiting, Waiting(config, rung, seen))
    return self._given_up(dataclasses.replace(state, waiting=waiting), rung)

  def _promoted(self, state: RungsState, promotion: Promotion) -> tuple[Proposal, RungsState]:
    (chosen,) = (w for w in state.waiting if w.config == promotion.config)
    asked = chosen.trial.proposal
    fidelity = self.ladder.fidelity(promotion.rung)
    given = Proposal(Operation.PROMOTE, (promotion.config,), fidelity=fidelity, seeds=asked.seeds)
    return given, dataclasses.replace(
      state,
      rungs=state.rungs.given_out(promotion),
      waiting=tuple(w for w in state.waiting if w is not chosen),
      underway=state.underway.departed(given, promotion.rung, asked),
    )

  def _given_up(self, state: RungsState, rung: int) -> RungsState:
    """With the inner strategy told of the programs that a new one of this rung has overtaken."""
    over, rungs = state.rungs.given_up(self.ladder, rung)
    waiting = tuple(w for w in state.waiting if w.config not in over)
    reason = f'Stopped at {self.ladder.fidelity(rung):.2%} of the budget.'
    for other in state.waiting:
      if other.config in over:
        state = self._told(state, stopped(other.trial, Status.CANCELLED, reason))
    return dataclasses.replace(state, rungs=rungs, waiting=waiting)

  def _told(self, state: RungsState, trial: Trial) -> RungsState:
    return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))
