"""Restarts: the inner strategy begins anew when it found nothing better for a while.

Source: random restarts of local search; for instance Hoos and Stützle, "Stochastic local search",
2004. Beginning anew means what it meant at first: the inner strategy knows trial 0 and nothing
else. The best trial of the whole run is kept in sight: it comes first in every context.

Trials asked for before a restart are not told to the new inner strategy. Acceptance goes on
comparing with the incumbent of the whole run; while that is from before the restart, a trial that
is better than all since then is told as kept (see `judged_alone`).
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import Ints
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.wrappers.base import Wrapper, is_kept, judged_alone, own_score
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class RestartsState:
  """epoch: restarts so far. own: ids of the trials told to the present inner strategy.

  since: its trials since it improved. high: its best score. best, best_score: of the whole run.
  incumbent: the last trial kept. baseline: trial 0, which a new inner strategy is told of.
  """

  objective: Objective
  inner: Any
  underway: Underway = dataclasses.field(default_factory=Underway)
  epoch: int = 0
  own: Ints = dataclasses.field(default_factory=Ints)
  since: int = 0
  high: float | None = None
  best: int | None = None
  best_score: float | None = None
  incumbent: int | None = None
  baseline: Trial | None = None


@STRATEGIES.register('restarts')
@dataclasses.dataclass(frozen=True)
class Restarts(Wrapper):
  """patience: trials of the inner strategy without an improvement until it begins anew."""

  patience: int = 30

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, 'restarts', 'patience')

  def init(self, objective: Objective) -> RestartsState:
    return RestartsState(objective, self.strategy.init(objective))

  def ask(self, state: RestartsState, rng: np.random.Generator) -> tuple[Proposal, RestartsState]:
    asked, inner = self.strategy.ask(state.inner, rng)
    best = () if state.best is None else (state.best,)
    given = dataclasses.replace(asked, context=tuple(dict.fromkeys((*best, *asked.context))))
    underway = state.underway.departed(given, state.epoch, asked)
    return given, dataclasses.replace(state, inner=inner, underway=underway)

  def tell(self, state: RestartsState, trial: Trial) -> RestartsState:
    flight, underway = state.underway.landed(trial)
    state = _noted(dataclasses.replace(state, underway=underway), trial)
    if flight is None:
      return self._told(state, trial) if _concerns(state, trial) else state
    if flight.label != state.epoch:
      return state
    told = self._told(state, flight.landed_as(trial))
    told = dataclasses.replace(told, since=0 if told.high != state.high else state.since + 1)
    return self._anew(told) if told.since >= self.patience else told

  def _told(self, state: RestartsState, trial: Trial) -> RestartsState:
    """With the trial told to the inner strategy, as kept if it deserves it there."""
    leads = state.incumbent is None or bool((state.own.array == state.incumbent).any())
    seen = trial if leads else judged_alone(trial, state.objective, state.high)
    score = own_score(state.objective, trial)
    higher = score is not None and (state.high is None or score > state.high)
    return dataclasses.replace(
      state,
      inner=self.strategy.tell(state.inner, seen),
      own=state.own.appended(trial.id),
      high=score if higher else state.high,
    )

  def _anew(self, state: RestartsState) -> RestartsState:
    inner = self.strategy.init(state.objective)
    fresh = dataclasses.replace(
      state, inner=inner, epoch=state.epoch + 1, own=Ints(), since=0, high=None
    )
    return fresh if state.baseline is None else self._told(fresh, state.baseline)


def _noted(state: RestartsState, trial: Trial) -> RestartsState:
  """With the trial as the baseline, the incumbent or the best of the run, if it is that."""
  score = own_score(state.objective, trial)
  if score is not None and (state.best_score is None or score > state.best_score):
    state = dataclasses.replace(state, best=trial.id, best_score=score)
  return dataclasses.replace(
    state,
    incumbent=trial.id if is_kept(trial) else state.incumbent,
    baseline=trial if trial.id == 0 else state.baseline,
  )


def _concerns(state: RestartsState, trial: Trial) -> bool:
  """Whether the present inner strategy is told of a trial that it did not ask for."""
  repeats = trial.proposal.operation is Operation.REPLICATE
  return not repeats or bool((state.own.array == trial.proposal.parents[0]).any())
