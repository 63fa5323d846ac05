"""Islands: several copies of a strategy that exchange their best programs.

Source: the island model of evolutionary computation (Tanese 1989; Whitley et al., 1999), with
migration on a ring. The islands take turns to propose, and each trial is told to the island that
proposed it. Every `migration_interval` trials, the best trial of each island is told to the next.

Trial 0, and any other trial that no island proposed, is told to all islands; a replicate to those
that know its program. Acceptance compares with the incumbent of the whole run; on islands that do
not know the incumbent, a trial better than all they know is told as kept (see `judged_locally`).
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import is_kept
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.membership import IslandMembership
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.wrappers.base import Wrapper, full_score, judged_locally
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class Island:
  """One copy of the inner strategy.

  Attributes:
    inner: Its state.
    best: The best trial it knows.
    best_score: That trial's score.
  """

  inner: Any
  best: Trial | None = None
  best_score: float | None = None


@dataclasses.dataclass(frozen=True)
class IslandsState:
  """All islands.

  Attributes:
    objective: The run's objective.
    islands: One per copy of the inner strategy.
    known: Which trials, by id, each island was told.
    pending: Proposals without a result, labelled with their island.
    num_asked: Proposals so far.
    num_told: Trials finished so far.
    incumbent: Id of the last trial kept.
  """

  objective: Objective
  islands: tuple[Island, ...]
  known: IslandMembership = dataclasses.field(default_factory=IslandMembership)
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)
  num_asked: int = 0
  num_told: int = 0
  incumbent: int | None = None


MAX_ISLANDS = 1000  # each has a state of its own


@STRATEGIES.register('islands')
@dataclasses.dataclass(frozen=True)
class Islands(Wrapper):
  """Runs copies of the inner strategy with migration.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
    num_islands: Number of copies.
    migration_interval: Trials between two migrations.
  """

  num_islands: int = 4
  migration_interval: int = 50

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, 'islands', 'num_islands', 'migration_interval')
    if self.num_islands > MAX_ISLANDS:
      raise ValueError(
        f'num_islands of islands is {self.num_islands}; it must be at most {MAX_ISLANDS}.'
      )

  def init(self, objective: Objective) -> IslandsState:
    islands = tuple(Island(self.strategy.init(objective)) for _ in range(self.num_islands))
    return IslandsState(objective, islands)

  def ask(self, state: IslandsState, rng: np.random.Generator) -> tuple[Proposal, IslandsState]:
    number = state.num_asked % self.num_islands
    island = state.islands[number]
    proposal, inner = self.strategy.ask(island.inner, rng)
    return proposal, dataclasses.replace(
      state,
      islands=_replace(state.islands, number, dataclasses.replace(island, inner=inner)),
      pending=state.pending.add(proposal, number),
      num_asked=state.num_asked + 1,
    )

  def tell(self, state: IslandsState, trial: Trial) -> IslandsState:
    proposed, pending = state.pending.pop(trial)
    audience = self._audience(state, trial) if proposed is None else (proposed.label,)
    state = dataclasses.replace(
      state,
      pending=pending,
      num_told=state.num_told + 1,
      incumbent=trial.id if is_kept(trial) else state.incumbent,
    )
    for number in audience:
      state = self._tell_island(state, number, trial)
    return self._migrate(state) if state.num_told % self.migration_interval == 0 else state

  def _audience(self, state: IslandsState, trial: Trial) -> tuple[int, ...]:
    """Returns the islands that are told of a trial that none of them proposed."""
    if trial.proposal.operation is Operation.REPLICATE:
      return state.known.islands_of(trial.proposal.parents[0])
    return tuple(range(self.num_islands))

  def _tell_island(self, state: IslandsState, number: int, trial: Trial) -> IslandsState:
    island, score = state.islands[number], full_score(state.objective, trial)
    knows_incumbent = state.incumbent is None or number in state.known.islands_of(state.incumbent)
    seen = trial
    if not knows_incumbent:
      seen = judged_locally(trial, state.objective, island.best_score)
    if score is not None and (island.best_score is None or score > island.best_score):
      island = dataclasses.replace(island, best=trial, best_score=score)
    island = dataclasses.replace(island, inner=self.strategy.tell(island.inner, seen))
    return dataclasses.replace(
      state,
      islands=_replace(state.islands, number, island),
      known=state.known.add(trial.id, (number,)),
    )

  def _migrate(self, state: IslandsState) -> IslandsState:
    """Tells the best trial of each island, as it was before, to the next one."""
    migrants = [island.best for island in state.islands]
    for number, trial in enumerate(migrants):
      destination = (number + 1) % self.num_islands
      if trial is not None and destination not in state.known.islands_of(trial.id):
        decision = Decision.KEEP if trial.id == state.incumbent else Decision.DISCARD
        verdict = Verdict(decision, 'Migrated from the previous island.')  # the old may be outdated
        state = self._tell_island(state, destination, dataclasses.replace(trial, verdict=verdict))
    return state


def _replace(islands: tuple[Island, ...], number: int, island: Island) -> tuple[Island, ...]:
  return (*islands[:number], island, *islands[number + 1 :])
