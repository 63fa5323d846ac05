"""Simulated annealing: a worse trial becomes the current one with probability exp(Δ/T).

Sources: Metropolis et al., "Equation of State Calculations by Fast Computing Machines", 1953
(https://doi.org/10.1063/1.1699114); Kirkpatrick, Gelatt and Vecchi, "Optimization by Simulated
Annealing", 1983 (https://doi.org/10.1126/science.220.4598.671). Δ is the trial's score minus the
current one's, and T is multiplied by `cooling_rate` after each decision. T is measured in units of
the metric, or of a typical decrease (after Johnson et al., 1989,
https://doi.org/10.1287/opre.37.6.865), so that a run need not know its metric's scale.

Finished trials wait in the state, and the next `ask` decides on them, because only `ask` has random
numbers. A trial that was running when the current one changed is compared with the new one.
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
  """min(1, exp(delta / temperature)); at temperature 0 nothing worse is accepted."""
  if delta >= 0:
    return 1.0
  return math.exp(delta / temperature) if temperature > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class AnnealingState:
  """The current program and the candidates to replace it.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    current: Trial id, NONE before the first trial.
    candidates: Ids of the trials with a score that are not decided yet.
    num_decisions: How many candidates were accepted or rejected.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  current: int = NONE
  candidates: tuple[int, ...] = ()
  num_decisions: int = 0


@STRATEGIES.register('annealing')
@dataclasses.dataclass(frozen=True)
class Annealing(Strategy):
  """Improves the current program, which a worse one may replace.

  The defaults accept a typical decrease with probability exp(-2) = 14 % at first, and 0.05 % after
  66 decisions.

  Attributes:
    initial_temperature: The first temperature, in `temperature_unit`.
    cooling_rate: Factor between the temperatures of two successive decisions.
    temperature_unit: 'step' for the median decrease of the trials that were worse than their
      parent, 'metric' for the metric's own unit.
    context_size: How many of the last trials are shown to the proposer.
  """

  initial_temperature: float = 0.5
  cooling_rate: float = 0.98
  temperature_unit: Literal['step', 'metric'] = 'step'
  context_size: int = 40

  def __post_init__(self) -> None:
    if not 0 <= self.initial_temperature < math.inf:
      raise ValueError(
        f'initial_temperature is {self.initial_temperature}; it must be finite and at least 0.'
      )
    if not 0 < self.cooling_rate <= 1:
      raise ValueError(
        f'cooling_rate is {self.cooling_rate}; it must be greater than 0 and at most 1.'
      )
    require_at_least(0, self, 'annealing', 'context_size')

  def init(self, objective: Objective) -> AnnealingState:
    return AnnealingState(objective)

  def ask(self, state: AnnealingState, rng: np.random.Generator) -> tuple[Proposal, AnnealingState]:
    for trial in state.candidates:
      state = self._decide(state, trial, rng)
    state = dataclasses.replace(state, candidates=())
    parents = () if state.current == NONE else (state.current,)
    context = state.archive.last_ids(self.context_size)
    return Proposal(Operation.IMPROVE, parents, context=context), state

  def tell(self, state: AnnealingState, trial: Trial) -> AnnealingState:
    score = score_of(state.objective, trial)
    archive = state.archive.add(trial, score)
    if state.current == NONE:
      return dataclasses.replace(state, archive=archive, current=trial.id)
    is_candidate = score is not None and trial.proposal.operation is not Operation.REPLICATE
    candidates = (*state.candidates, trial.id) if is_candidate else state.candidates
    return dataclasses.replace(state, archive=archive, candidates=candidates)

  def _decide(self, state: AnnealingState, trial: int, rng: np.random.Generator) -> AnnealingState:
    scores = state.archive.scores.array
    candidate, current = (state.archive.row_of(number) for number in (trial, state.current))
    probability = 1.0  # any candidate is better than a current trial without a score
    if current is not None and not np.isnan(scores[current]):
      delta = float(scores[candidate] - scores[current])
      probability = acceptance_probability(delta, self.temperature_of(state))
    accepted = rng.random() < probability
    return dataclasses.replace(
      state,
      current=trial if accepted else state.current,
      num_decisions=state.num_decisions + 1,
    )

  def temperature_of(self, state: AnnealingState) -> float:
    """Returns the temperature of the next decision, in the metric's unit."""
    unit = 1.0 if self.temperature_unit == 'metric' else _median_decrease(state.archive)
    return self.initial_temperature * unit * self.cooling_rate**state.num_decisions


def _median_decrease(archive: Archive) -> float:
  """Median decrease in score of the trials that were worse than their parent; 0 without any."""
  scores, parent_rows = archive.scores.array, archive.parent_rows.array
  decreases = (scores[parent_rows] - scores)[parent_rows != NONE]
  decreases = decreases[decreases > 0]  # excludes NaN
  return float(np.median(decreases)) if len(decreases) else 0.0
