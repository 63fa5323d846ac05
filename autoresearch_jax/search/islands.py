"""Islands: several copies of a strategy side by side, that lend each other their best programs.

Source: the island model of evolutionary computation (Tanese 1989; Whitley and others, 1999), with
migration on a ring. Asks go round the islands, and each trial is told to the island it came from.
Every `migrate_every` trials the best trial of each island is told to the next one.

Trial 0 and what else nobody asked for is told to all islands; a replicate to those that know the
program. Acceptance compares with the incumbent of the whole run; on islands that do not know the
incumbent, a trial better than all they know is told as kept (see `judged_alone`).
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.membership import Membership
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.wrappers.base import Wrapper, is_kept, judged_alone, own_score
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class Island:
  """inner: the state of its strategy. best: the best trial it knows, with its score `high`."""

  inner: Any
  best: Trial | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class IslandsState:
  """known: which trials each island was told of, by id. incumbent: the last trial kept."""

  objective: Objective
  islands: tuple[Island, ...]
  known: Membership = dataclasses.field(default_factory=Membership)
  underway: Underway = dataclasses.field(default_factory=Underway)
  asked: int = 0
  told: int = 0
  incumbent: int | None = None


@STRATEGIES.register('islands')
@dataclasses.dataclass(frozen=True)
class Islands(Wrapper):
  """count: how many islands. migrate_every: trials told between two migrations."""

  count: int = 4
  migrate_every: int = 50

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, 'islands', 'count', 'migrate_every')

  def init(self, objective: Objective) -> IslandsState:
    islands = tuple(Island(self.strategy.init(objective)) for _ in range(self.count))
    return IslandsState(objective, islands)

  def ask(self, state: IslandsState, rng: np.random.Generator) -> tuple[Proposal, IslandsState]:
    number = state.asked % self.count
    island = state.islands[number]
    proposal, inner = self.strategy.ask(island.inner, rng)
    return proposal, dataclasses.replace(
      state,
      islands=_with(state.islands, number, dataclasses.replace(island, inner=inner)),
      underway=state.underway.departed(proposal, number),
      asked=state.asked + 1,
    )

  def tell(self, state: IslandsState, trial: Trial) -> IslandsState:
    flight, underway = state.underway.landed(trial)
    homes = self._audience(state, trial) if flight is None else (flight.label,)
    incumbent = trial.id if is_kept(trial) else state.incumbent
    state = dataclasses.replace(state, underway=underway, told=state.told + 1, incumbent=incumbent)
    for number in homes:
      state = self._told(state, number, trial)
    return self._migrated(state) if state.told % self.migrate_every == 0 else state

  def _audience(self, state: IslandsState, trial: Trial) -> tuple[int, ...]:
    """The islands that are told of a trial that none of them asked for."""
    if trial.proposal.operation is Operation.REPLICATE:
      return state.known.homes(trial.proposal.parents[0])
    return tuple(range(self.count))

  def _told(self, state: IslandsState, number: int, trial: Trial) -> IslandsState:
    island, score = state.islands[number], own_score(state.objective, trial)
    leads = state.incumbent is None or number in state.known.homes(state.incumbent)
    seen = trial if leads else judged_alone(trial, state.objective, island.high)
    if score is not None and (island.high is None or score > island.high):
      island = dataclasses.replace(island, best=trial, high=score)
    island = dataclasses.replace(island, inner=self.strategy.tell(island.inner, seen))
    return dataclasses.replace(
      state,
      islands=_with(state.islands, number, island),
      known=state.known.joined(trial.id, (number,)),
    )

  def _migrated(self, state: IslandsState) -> IslandsState:
    """With the best of each island, as it was before, on the next one."""
    migrants = [island.best for island in state.islands]
    for number, trial in enumerate(migrants):
      there = (number + 1) % self.count
      if trial is not None and there not in state.known.homes(trial.id):
        decision = Decision.KEEP if trial.id == state.incumbent else Decision.DISCARD
        verdict = Verdict(decision, 'Came from the island before.')  # its old one may be outdated
        state = self._told(state, there, dataclasses.replace(trial, verdict=verdict))
    return state


def _with(islands: tuple[Island, ...], number: int, island: Island) -> tuple[Island, ...]:
  return (*islands[:number], island, *islands[number + 1 :])
