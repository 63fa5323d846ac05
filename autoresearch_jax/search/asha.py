"""ASHA: asynchronous successive halving over programs.

Source: Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, arXiv
1810.05934. Many programs train on a small budget, the best of every `reduction_factor` of them on
that many times more, and so on; the promotion rule is in `promotion.py`. A promotion runs the
program again from the start with the next rung's fraction of the budget. When there is nothing to
promote, a new program starts on the lowest rung of its bracket.

The paper samples configurations at random. Here a new program improves the incumbent (which ran on
the highest rung, since nothing else is ever kept), or the root.

Bracket s leaves out the s lowest rungs (`min_early_stopping_rate` in Optuna). Programs are divided
among brackets as in Hyperband (Li et al., JMLR 2018): with K rungs in proportion to
⌈K / (K - s) · η^(K-s-1)⌉, so that all brackets cost about the same.
"""

import dataclasses
import functools
import math
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import NONE, is_kept, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.promotion import NOT_MEASURED, RungResults, RungSchedule
from autoresearch_jax.search.selection import sample_index
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class AshaState:
  """The rungs and the incumbent.

  Attributes:
    objective: The run's objective.
    results: What was measured on each rung.
    incumbent: Id of the last trial kept, None before the first.
    has_root: Whether trial 0 has finished.
    recent: Ids of the last `context_size` trials, oldest first.
  """

  objective: Objective
  results: RungResults = dataclasses.field(default_factory=RungResults)
  incumbent: int | None = None
  has_root: bool = False
  recent: tuple[int, ...] = ()


@STRATEGIES.register('asha')
@dataclasses.dataclass(frozen=True)
class Asha(Strategy):
  """Promotes the best programs to larger budgets.

  Attributes:
    reduction_factor: η; the rungs' fractions of the budget are η^(1-num_rungs), ..., 1/η, 1.
    num_rungs: Number of rungs; the lowest one's fraction is ASHA's minimum resource.
    num_brackets: Number of brackets, at most one per rung.
    parent: What a new program improves.
    context_size: How many of the last trials are shown to the proposer.
  """

  reduction_factor: int = 3
  num_rungs: int = 3
  num_brackets: int = 1
  parent: Literal['incumbent', 'root'] = 'incumbent'
  context_size: int = 40

  def __post_init__(self) -> None:
    if not 1 <= self.num_brackets <= self.schedule.num_rungs:
      raise ValueError(
        f'num_brackets of asha is {self.num_brackets}; with {self.num_rungs} rungs it must be '
        f'between 1 and {self.num_rungs}.'
      )
    require_at_least(0, self, 'asha', 'context_size')

  @functools.cached_property
  def schedule(self) -> RungSchedule:
    return RungSchedule(self.reduction_factor, self.num_rungs)

  def init(self, objective: Objective) -> AshaState:
    return AshaState(objective)

  def ask(self, state: AshaState, rng: np.random.Generator) -> tuple[Proposal, AshaState]:
    brackets = range(self.num_brackets)
    promotions = (state.results.next_promotion(self.schedule, bracket) for bracket in brackets)
    promotion = next(filter(None, promotions), None)
    if promotion is None:
      return self._new_program(state, sample_index(self.bracket_probabilities(), rng)), state
    fidelity = self.schedule.fidelity(promotion.rung)
    proposal = Proposal(Operation.PROMOTE, (promotion.config,), fidelity=fidelity)
    return proposal, dataclasses.replace(state, results=state.results.mark_promoted(promotion))

  def tell(self, state: AshaState, trial: Trial) -> AshaState:
    recent = (*state.recent, trial.id)
    return dataclasses.replace(
      state,
      results=self._add_result(state, trial),
      incumbent=trial.id if is_kept(trial) else state.incumbent,
      has_root=state.has_root or trial.id == 0,
      recent=recent[max(0, len(recent) - self.context_size) :],
    )

  def bracket_probabilities(self) -> np.ndarray:
    """Returns the fraction of new programs that start in each bracket. float64 [num_brackets]."""
    rungs_left = [self.num_rungs - s for s in range(self.num_brackets)]
    sizes = [math.ceil(self.num_rungs / k * self.reduction_factor ** (k - 1)) for k in rungs_left]
    return np.array(sizes) / sum(sizes)

  def _new_program(self, state: AshaState, bracket: int) -> Proposal:
    """Proposes a program for a bracket's lowest rung, whose number is the bracket's."""
    fidelity = self.schedule.fidelity(bracket)
    root = 0 if state.has_root else None
    parent = root if self.parent == 'root' or state.incumbent is None else state.incumbent
    if parent is None:
      return Proposal(Operation.DRAFT, fidelity=fidelity)
    return Proposal(Operation.IMPROVE, (parent,), state.recent, fidelity)

  def _add_result(self, state: AshaState, trial: Trial) -> RungResults:
    """Adds a trial to its rung; the baseline, replicates and cancelled trials belong to none."""
    proposal, rung = trial.proposal, self.schedule.rung_of(trial.proposal.fidelity)
    outside = trial.id == 0 or proposal.operation is Operation.REPLICATE
    if rung is None or outside or trial.result.status in NOT_MEASURED:
      return state.results
    is_promotion = proposal.operation is Operation.PROMOTE
    config = proposal.parents[0] if is_promotion else trial.id
    bracket = state.results.bracket_of(config) if is_promotion else rung
    if bracket == NONE or bracket >= self.num_brackets:
      return state.results
    return state.results.add(config, rung, score_of(state.objective, trial), bracket)
