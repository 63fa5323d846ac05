"""Simulations: problems that are computed in microseconds, to compare strategies on.

No GPU, no LLM, no jax: the program is a short text, the proposer is part of the problem, and a
trial is arithmetic. A simulation is a frozen dataclass of options, registered by name in
`SIMULATIONS`; an instance of it is one drawn problem, all of it decided by the instance's seed.

Instance seeds below HELD_OUT are for tuning options of strategies; those from HELD_OUT on are for
reports alone. The benchmark says which ones it used.

A budget of 1.0 is a whole trial and less of it is a lower fidelity: the metric is worse, noisier
and more misleading, and the trial is cheaper in proportion (see `measuring.py`).
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Edit, Objective, Program, Proposal, Result, TrialRequest

SIMULATIONS = Registry('simulation', __name__)
HELD_OUT = 1000
ENTRY = 'model.py'  # the one file of every simulated program, and the editable one


class Instance(Protocol):
  """One problem. It is a proposer (`propose`) and an executor without waiting (`measure`).

  start: the unmodified program. optimum: the best value of the metric that can be had, or the best
  that is known; regret is measured against it. solution: a program that has it; None if unknown.
  space: of programs whose constants can be sampled, NAME -> {'low': ..., 'high': ...} with
  'log': True where the logarithm is what should be sampled; {} for other programs.
  """

  @property
  def objective(self) -> Objective: ...

  @property
  def start(self) -> Program: ...

  @property
  def optimum(self) -> float: ...

  @property
  def solution(self) -> Program | None: ...

  @property
  def space(self) -> Mapping[str, Mapping[str, float]]: ...

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """An edit of `context.parents[0]`, see `proposers.Proposer`. Raises NothingToPropose."""
    ...

  def measure(self, request: TrialRequest) -> Result:
    """The trial's result: status, and for each seed the metrics and `cost.total_seconds`.

    The same program, seed and budget always get the same noise. Failures of the program are
    statuses. `facts['seconds']` is what the trial took in all, failed ones too.
    """
    ...

  def value(self, program: Program) -> float | None:
    """The metric without noise, at the full budget; None for a program that fails."""
    ...


class Simulation(Protocol):
  """The contract of a simulation; `tests/problems/simulated/contract.py` checks every one."""

  def instance(self, seed: int) -> Instance: ...
