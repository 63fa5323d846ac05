"""Budget rungs: new programs of any strategy start on a small budget and must climb to the whole.

Source: the rule of ASHA (Li and others, MLSys 2020, arXiv 1810.05934), see `promotion.py`, with
programs that the inner strategy proposes instead of random ones.

The inner strategy proposes programs for the whole budget and is told in the same terms:

- A program that failed on the lowest rung is told as it failed.
- One that was measured there is told at once as `cancelled`: for now it is stopped. Its score is
  withheld, since scores of different budgets do not compare.
- One that is promoted to the highest rung, at once or much later, is told as the result of the
  inner strategy's own proposal, under the id of the trial that ran on the whole budget.

What repeats a program, and what the inner strategy itself wants on less than the whole budget,
goes through unchanged.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.archive import Ints, score_of
from autoresearch_jax.search.promotion import Ladder, Promotion, Rungs
from autoresearch_jax.search.underway import Underway
from autoresearch_jax.search.wrapper import Wrapper, stopped
from autoresearch_jax.types import Objective, Operation, Proposal, Status, Trial

REPEATS = (Operation.REPLICATE, Operation.PROMOTE)
LOWEST = 0


@dataclasses.dataclass(frozen=True)
class RungsState:
  """configs: trials measured on the lowest rung. asked: the inner strategy's proposals for them.

  Edits are left out of `asked`, since a trial has its edit. underway: labelled with the rung.
  """

  objective: Objective
  inner: Any
  rungs: Rungs = dataclasses.field(default_factory=Rungs)
  configs: Ints = dataclasses.field(default_factory=Ints)
  asked: tuple[Proposal, ...] = ()
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
    if flight.label == LOWEST:
      return self._started(state, trial, flight.landed_as(trial))
    return self._climbed(state, trial, flight.label)

  def _promoted(self, state: RungsState, promotion: Promotion) -> tuple[Proposal, RungsState]:
    proposal = Proposal(
      Operation.PROMOTE,
      (promotion.config,),
      fidelity=self.ladder.fidelity(promotion.rung),
      seeds=self._asked(state, promotion.config).seeds,
    )
    underway = state.underway.departed(proposal, promotion.rung)
    rungs = state.rungs.given_out(promotion)
    return proposal, dataclasses.replace(state, rungs=rungs, underway=underway)

  def _started(self, state: RungsState, trial: Trial, seen: Trial) -> RungsState:
    """With a trial of the lowest rung; seen: the same, as the inner strategy asked for it."""
    if self.ladder.top == LOWEST or trial.result.status in (Status.CANCELLED, Status.DUPLICATE):
      return self._told(state, seen)
    score = score_of(state.objective, trial)
    state = dataclasses.replace(
      state,
      rungs=state.rungs.measured(trial.id, LOWEST, score),
      configs=state.configs.appended(trial.id),
      asked=(*state.asked, dataclasses.replace(seen.proposal, edit=None)),
    )
    if score is None:
      return self._told(state, seen)
    reason = f'Stopped at {trial.proposal.fidelity:.2%} of the budget.'
    return self._told(state, stopped(seen, Status.CANCELLED, reason))

  def _climbed(self, state: RungsState, trial: Trial, rung: int) -> RungsState:
    """With a promoted trial; at the top the inner strategy hears of it."""
    config = trial.proposal.parents[0]
    if trial.result.status is Status.CANCELLED:
      return state
    score = score_of(state.objective, trial)
    state = dataclasses.replace(state, rungs=state.rungs.measured(config, rung, score))
    if rung < self.ladder.top:
      return state
    return self._told(state, dataclasses.replace(trial, proposal=self._asked(state, config)))

  def _told(self, state: RungsState, trial: Trial) -> RungsState:
    return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))

  @staticmethod
  def _asked(state: RungsState, config: int) -> Proposal:
    return state.asked[int(np.flatnonzero(state.configs.array == config)[0])]
