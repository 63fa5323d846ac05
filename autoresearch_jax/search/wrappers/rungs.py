"""Budget rungs: programs of any strategy start on a small budget and are promoted to the full one.

Source: ASHA's rule (Li et al., MLSys 2020, arXiv 1810.05934), see `promotion.py`, with programs
that the inner strategy proposes instead of random ones.

The inner strategy proposes programs for the full budget. It is told once about each, as the result
of its own proposal under the id of the trial that ran last:

- when the program failed or was cancelled on any rung, or ran on the full budget: how that ended;
- when it is no longer among the first 1/η of its rung, rounded up: `cancelled`. Its score is
  withheld, because scores at different budgets are not comparable.

Until then the program is pending. In ASHA a program that fell behind may still be promoted once
enough worse ones have arrived. Here it is given up, so that the inner strategy gets its result soon
and few programs wait: on each rung those that are promoted next, and at most one more.

Repeats of a program, and proposals that the inner strategy itself wants at less than the full
budget, pass through unchanged.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.promotion import NOT_MEASURED, Promotion, RungResults, RungSchedule
from autoresearch_jax.search.wrappers.base import Wrapper, as_discarded
from autoresearch_jax.types import RERUNS, Objective, Operation, Proposal, Status, Trial

LOWEST = 0


@dataclasses.dataclass(frozen=True)
class PromotionCandidate:
  """A program that may be promoted.

  Attributes:
    config: The trial that first ran it.
    rung: The rung it was measured on.
    trial: Its last trial, with the inner strategy's proposal.
  """

  config: int
  rung: int
  trial: Trial


@dataclasses.dataclass(frozen=True)
class RungsState:
  """The inner state and the rungs.

  Attributes:
    objective: The run's objective.
    inner: State of the inner strategy.
    results: What was measured on each rung.
    candidates: Programs that the inner strategy has not been told about.
    pending: Proposals without a result, with the inner strategy's own, labelled with the rung.
  """

  objective: Objective
  inner: Any
  results: RungResults = dataclasses.field(default_factory=RungResults)
  candidates: tuple[PromotionCandidate, ...] = ()
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)


@STRATEGIES.register('rungs')
@dataclasses.dataclass(frozen=True)
class BudgetRungs(Wrapper):
  """Runs the inner strategy's programs on increasing budgets.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
    reduction_factor: η; one program in η is promoted, to a budget η times larger.
    num_rungs: Number of rungs; their fractions of the budget are η^(1-num_rungs), ..., 1/η, 1.
  """

  reduction_factor: int = 3
  num_rungs: int = 3

  def __post_init__(self) -> None:
    super().__post_init__()
    _ = self.schedule

  @functools.cached_property
  def schedule(self) -> RungSchedule:
    return RungSchedule(self.reduction_factor, self.num_rungs)

  def init(self, objective: Objective) -> RungsState:
    return RungsState(objective, self.strategy.init(objective))

  def ask(self, state: RungsState, rng: np.random.Generator) -> tuple[Proposal, RungsState]:
    promotion = state.results.next_promotion(self.schedule)
    if promotion is not None:
      return self._promote(state, promotion)
    requested, inner = self.strategy.ask(state.inner, rng)
    state = dataclasses.replace(state, inner=inner)
    if requested.operation in RERUNS or requested.fidelity < 1:
      return requested, state
    submitted = dataclasses.replace(requested, fidelity=self.schedule.fidelity(LOWEST))
    pending = state.pending.add(submitted, LOWEST, requested)
    return submitted, dataclasses.replace(state, pending=pending)

  def tell(self, state: RungsState, trial: Trial) -> RungsState:
    proposed, pending = state.pending.pop(trial)
    state = dataclasses.replace(state, pending=pending)
    if proposed is None:
      return self._tell_inner(state, trial)
    seen, rung = proposed.as_requested(trial), proposed.label
    if rung == self.schedule.top or trial.result.status in NOT_MEASURED:
      return self._tell_inner(state, seen)
    config = trial.id if rung == LOWEST else trial.proposal.parents[0]
    score = score_of(state.objective, trial)
    state = dataclasses.replace(state, results=state.results.add(config, rung, score))
    if score is None:
      return self._tell_inner(state, seen)
    candidates = (*state.candidates, PromotionCandidate(config, rung, seen))
    return self._stop_outside_top(dataclasses.replace(state, candidates=candidates), rung)

  def _promote(self, state: RungsState, promotion: Promotion) -> tuple[Proposal, RungsState]:
    (chosen,) = (c for c in state.candidates if c.config == promotion.config)
    requested = chosen.trial.proposal
    submitted = Proposal(
      Operation.PROMOTE,
      parents=(promotion.config,),
      fidelity=self.schedule.fidelity(promotion.rung),
      seeds=requested.seeds,
    )
    return submitted, dataclasses.replace(
      state,
      results=state.results.mark_promoted(promotion),
      candidates=tuple(c for c in state.candidates if c is not chosen),
      pending=state.pending.add(submitted, promotion.rung, requested),
    )

  def _stop_outside_top(self, state: RungsState, rung: int) -> RungsState:
    """Tells the inner strategy about the programs that a new result of this rung has overtaken."""
    stopped, results = state.results.stop_outside_top(self.schedule, rung)
    candidates = tuple(c for c in state.candidates if c.config not in stopped)
    reason = f'Stopped at {self.schedule.fidelity(rung):.2%} of the budget.'
    for candidate in state.candidates:
      if candidate.config in stopped:
        cancelled = as_discarded(candidate.trial, Status.CANCELLED, reason)
        state = self._tell_inner(state, cancelled)
    return dataclasses.replace(state, results=results, candidates=candidates)

  def _tell_inner(self, state: RungsState, trial: Trial) -> RungsState:
    return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))
