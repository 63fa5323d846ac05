"""Random search: independent improvements of the root, the baseline every method has to beat.

Every proposal edits trial 0, whatever the results so far, and shows the proposer no history, so
that the samples stay independent.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class RandomState:
  """Whether the root exists.

  Attributes:
    has_root: Whether trial 0 has finished; until then a proposal edits the problem's start.
  """

  has_root: bool = False


@STRATEGIES.register('random')
@dataclasses.dataclass(frozen=True)
class Random(Strategy):
  """Improves trial 0. Has no options."""

  def init(self, objective: Objective) -> RandomState:
    del objective
    return RandomState()

  def ask(self, state: RandomState, rng: np.random.Generator) -> tuple[Proposal, RandomState]:
    del rng  # deterministic: the proposer samples the edit
    return Proposal(Operation.IMPROVE, parents=(0,) if state.has_root else ()), state

  def tell(self, state: RandomState, trial: Trial) -> RandomState:
    return RandomState(has_root=state.has_root or trial.id == 0)
