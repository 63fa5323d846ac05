"""Random search: independent improvements of the root, the baseline that every paper must beat.

Every proposal edits trial 0, whatever became of the others, and shows the proposer no history,
so that the draws stay independent.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class RandomState:
  """started: whether trial 0 is known; until then a proposal has the problem's start as parent."""

  started: bool = False


@STRATEGIES.register('random')
@dataclasses.dataclass(frozen=True)
class Random(Strategy):
  """Has no options."""

  def init(self, objective: Objective) -> RandomState:
    del objective
    return RandomState()

  def ask(self, state: RandomState, rng: np.random.Generator) -> tuple[Proposal, RandomState]:
    del rng  # nothing to draw: the proposer draws the edit
    return Proposal(Operation.IMPROVE, parents=(0,) if state.started else ()), state

  def tell(self, state: RandomState, trial: Trial) -> RandomState:
    return RandomState(started=state.started or trial.id == 0)
