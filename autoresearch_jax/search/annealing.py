"""Simulated annealing: a worse trial becomes the current one with probability exp(Δ/T).

Sources: Metropolis et al., "Equation of State Calculations by Fast Computing Machines", 1953
(https://doi.org/10.1063/1.1699114); Kirkpatrick, Gelatt and Vecchi, "Optimization by Simulated
Annealing", 1983 (https://doi.org/10.1126/science.220.4598.671). Δ is the trial's score less that
of the current one, and T falls by the factor `cooling` with each decision. The unit of T is the
metric's, or, as after Johnson et al., 1989 (https://doi.org/10.1287/opre.37.6.865), the size of
a typical step down: a run need not know its metric's scale.

A finished trial waits in the state, and the next `ask` decides on it: only `ask` has random
numbers. Trials under way when the current one changes are compared with the new one.
"""

import dataclasses
import math
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


def acceptance_probability(delta: float, temperature: float) -> float:
  """min(1, exp(delta / temperature)); a temperature of 0 accepts nothing worse."""
  if delta >= 0:
    return 1.0
  return math.exp(delta / temperature) if temperature > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class AnnealingState:
  """current: trial id, NONE before one is known. waiting: trials with a score, not decided on.

  decisions: how many trials were accepted or refused.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  current: int = NONE
  waiting: tuple[int, ...] = ()
  decisions: int = 0


@STRATEGIES.register('annealing')
@dataclasses.dataclass(frozen=True)
class Annealing(Strategy):
  """temperature: the first one, in `unit`. cooling: its factor from one decision to the next.

  unit: 'step' is the median loss of the trials that were worse than their parent; 'metric' is the
  metric's own unit. shown: how many of the last trials a proposer gets to see. The defaults accept
  a typical step down with probability exp(-2) = 14 % at first, and 0.05 % after 66 decisions.
  """

  temperature: float = 0.5
  cooling: float = 0.98
  unit: Literal['step', 'metric'] = 'step'
  shown: int = 40

  def __post_init__(self) -> None:
    if not 0 <= self.temperature < math.inf:
      raise ValueError(f'temperature is {self.temperature}; it must be 0 or above, and finite.')
    if not 0 < self.cooling <= 1:
      raise ValueError(f'cooling is {self.cooling}; it must be above 0 and at most 1.')
    require_at_least(0, self, 'annealing', 'shown')

  def init(self, objective: Objective) -> AnnealingState:
    return AnnealingState(objective)

  def ask(self, state: AnnealingState, rng: np.random.Generator) -> tuple[Proposal, AnnealingState]:
    for trial in state.waiting:
      state = self._decided(state, trial, rng)
    state = dataclasses.replace(state, waiting=())
    parents = () if state.current == NONE else (state.current,)
    return Proposal(Operation.IMPROVE, parents, context=state.archive.last(self.shown)), state

  def tell(self, state: AnnealingState, trial: Trial) -> AnnealingState:
    score = score_of(state.objective, trial)
    archive = state.archive.added(trial, score)
    if state.current == NONE:
      return dataclasses.replace(state, archive=archive, current=trial.id)
    is_candidate = score is not None and trial.proposal.operation is not Operation.REPLICATE
    waiting = (*state.waiting, trial.id) if is_candidate else state.waiting
    return dataclasses.replace(state, archive=archive, waiting=waiting)

  def _decided(self, state: AnnealingState, trial: int, rng: np.random.Generator) -> AnnealingState:
    scores = state.archive.scores.array
    candidate, current = (state.archive.row(known) for known in (trial, state.current))
    chance = 1.0  # anything is better than a current trial without a score
    if current is not None and not np.isnan(scores[current]):
      delta = float(scores[candidate] - scores[current])
      chance = acceptance_probability(delta, self.temperature_of(state))
    accepted = rng.random() < chance
    return dataclasses.replace(
      state, current=trial if accepted else state.current, decisions=state.decisions + 1
    )

  def temperature_of(self, state: AnnealingState) -> float:
    """The temperature of the next decision, in the metric's unit."""
    unit = 1.0 if self.unit == 'metric' else _typical_loss(state.archive)
    return self.temperature * unit * self.cooling**state.decisions


def _typical_loss(archive: Archive) -> float:
  """Median of how much the trials that were worse than their parent lost; 0 without any."""
  scores, above = archive.scores.array, archive.above.array
  losses = (scores[above] - scores)[above != NONE]
  losses = losses[losses > 0]  # NaN is not
  return float(np.median(losses)) if len(losses) else 0.0
