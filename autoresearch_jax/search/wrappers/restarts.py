"""Restarts: the inner strategy starts over when it has not improved for a while.

Source: random restarts of local search, for instance Hoos and Stützle, "Stochastic local search",
2004. After a restart the inner strategy knows trial 0 and nothing else. The best trial of the whole
run stays visible: it comes first in every context.

Trials proposed before a restart are not passed to the new inner strategy. Acceptance goes on
comparing with the incumbent of the whole run; while that dates from before the restart, a trial
that is better than all since then is passed on as kept (see `judged_locally`).
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import IntColumn, is_kept
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.wrappers.base import Wrapper, full_score, judged_locally
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class RestartsState:
  """The current inner strategy, and what is remembered of the whole run.

  Attributes:
    objective: The run's objective.
    inner: State of the inner strategy.
    pending: Proposals without a result, labelled with the number of restarts before them.
    num_restarts: Restarts so far.
    known: Ids of the trials that the current inner strategy was told.
    num_stale: Its trials since its last improvement.
    inner_best_score: Best score that it knows.
    best: Id of the best trial of the run.
    best_score: Its score.
    incumbent: Id of the last trial kept.
    baseline: Trial 0, which a new inner strategy is told.
  """

  objective: Objective
  inner: Any
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)
  num_restarts: int = 0
  known: IntColumn = dataclasses.field(default_factory=IntColumn)
  num_stale: int = 0
  inner_best_score: float | None = None
  best: int | None = None
  best_score: float | None = None
  incumbent: int | None = None
  baseline: Trial | None = None


@STRATEGIES.register('restarts')
@dataclasses.dataclass(frozen=True)
class Restarts(Wrapper):
  """Restarts the inner strategy when it stagnates.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
    patience: Trials of the inner strategy without an improvement before it starts over.
  """

  patience: int = 30

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, 'restarts', 'patience')

  def init(self, objective: Objective) -> RestartsState:
    return RestartsState(objective, self.strategy.init(objective))

  def ask(self, state: RestartsState, rng: np.random.Generator) -> tuple[Proposal, RestartsState]:
    requested, inner = self.strategy.ask(state.inner, rng)
    best = () if state.best is None else (state.best,)
    context = tuple(dict.fromkeys((*best, *requested.context)))
    submitted = dataclasses.replace(requested, context=context)
    pending = state.pending.add(submitted, state.num_restarts, requested)
    return submitted, dataclasses.replace(state, inner=inner, pending=pending)

  def tell(self, state: RestartsState, trial: Trial) -> RestartsState:
    proposed, pending = state.pending.pop(trial)
    state = _update_run(dataclasses.replace(state, pending=pending), trial)
    if proposed is None:
      return self._tell_inner(state, trial) if _concerns_inner(state, trial) else state
    if proposed.label != state.num_restarts:
      return state
    told = self._tell_inner(state, proposed.as_requested(trial))
    improved = told.inner_best_score != state.inner_best_score
    told = dataclasses.replace(told, num_stale=0 if improved else state.num_stale + 1)
    return self._restart(told) if told.num_stale >= self.patience else told

  def _tell_inner(self, state: RestartsState, trial: Trial) -> RestartsState:
    """Tells the inner strategy of a trial, as kept if it is the best that strategy knows."""
    knows_incumbent = state.incumbent is None or bool((state.known.array == state.incumbent).any())
    seen = trial
    if not knows_incumbent:
      seen = judged_locally(trial, state.objective, state.inner_best_score)
    score, best = full_score(state.objective, trial), state.inner_best_score
    improves = score is not None and (best is None or score > best)
    return dataclasses.replace(
      state,
      inner=self.strategy.tell(state.inner, seen),
      known=state.known.append(trial.id),
      inner_best_score=score if improves else best,
    )

  def _restart(self, state: RestartsState) -> RestartsState:
    fresh = dataclasses.replace(
      state,
      inner=self.strategy.init(state.objective),
      num_restarts=state.num_restarts + 1,
      known=IntColumn(),
      num_stale=0,
      inner_best_score=None,
    )
    return fresh if state.baseline is None else self._tell_inner(fresh, state.baseline)


def _update_run(state: RestartsState, trial: Trial) -> RestartsState:
  """Updates the baseline, the incumbent and the best trial of the run."""
  score = full_score(state.objective, trial)
  if score is not None and (state.best_score is None or score > state.best_score):
    state = dataclasses.replace(state, best=trial.id, best_score=score)
  return dataclasses.replace(
    state,
    incumbent=trial.id if is_kept(trial) else state.incumbent,
    baseline=trial if trial.id == 0 else state.baseline,
  )


def _concerns_inner(state: RestartsState, trial: Trial) -> bool:
  """Returns whether the inner strategy is told of a trial that it did not propose."""
  is_replicate = trial.proposal.operation is Operation.REPLICATE
  return not is_replicate or bool((state.known.array == trial.proposal.parents[0]).any())
