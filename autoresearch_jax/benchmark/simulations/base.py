"""The base classes of simulations and of their instances, and the registry of simulations."""

import abc
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.registry import Registry
from autoresearch_jax.types import (
  Budget,
  Edit,
  Objective,
  Program,
  Proposal,
  Result,
  Spec,
  TrialRequest,
)

SIMULATIONS = Registry('simulation', 'autoresearch_jax.benchmark.simulations')
HELD_OUT = 1000  # the first instance seed that is reserved for reports
ENTRY = 'model.py'  # the only file of every simulated program
# The budget of a simulated trial is its fidelity: one step is a full trial.
SIMULATED_SPEC = Spec('construction', 'cpu', 1, Budget(1.0, 'steps'))

SearchSpace = Mapping[str, Mapping[str, Any]]
_NO_SPACE: SearchSpace = types.MappingProxyType({})


class Instance(abc.ABC):
  """One problem instance: a proposer (`propose`) and a synchronous executor (`measure`) in one.

  A subclass defines `objective`, `start`, `optimum`, `propose`, `measure` and `value`. The other
  members have defaults. Everything about an instance follows from its seed.
  """

  @property
  @abc.abstractmethod
  def objective(self) -> Objective:
    """The metric to optimise, and its direction."""

  @property
  @abc.abstractmethod
  def start(self) -> Program:
    """The unmodified program; trial 0 measures it."""

  @property
  @abc.abstractmethod
  def optimum(self) -> float:
    """The best possible value of the metric, or the best known one. Regret is relative to it."""

  @property
  def solution(self) -> Program | None:
    """A program that reaches `optimum`; None when none is known."""
    return None

  @property
  def space(self) -> SearchSpace:
    """Ranges of the program's constants, for strategies that sample constants.

    Maps each name to `{'low': ..., 'high': ...}` and, where the logarithm should be sampled,
    `'log': True`. Empty when the program has no constants to sample.
    """
    return _NO_SPACE

  @property
  def spec(self) -> Spec:
    """What proposers are told about the problem, with the full budget of a trial."""
    return SIMULATED_SPEC

  @abc.abstractmethod
  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns an edit of `context.parents[0]`, as a `Proposer` does.

    Raises:
      NothingToPropose: No untried edit was found.
    """

  @abc.abstractmethod
  def measure(self, request: TrialRequest) -> Result:
    """Runs a trial and returns its result.

    The same program, seed and budget always get the same noise. A program that fails gets the
    corresponding status; it does not raise.

    Returns:
      The result with one measurement per seed, each with the metrics and `cost.total_seconds`.
      `facts['seconds']` is the duration of the whole trial, including that of failed ones.
    """

  @abc.abstractmethod
  def value(self, program: Program) -> float | None:
    """Returns the metric without noise at the full budget; None for a program that fails."""

  def close(self) -> None:  # noqa: B027 - most instances have nothing to close
    """Ends the processes that the instance started. Idempotent; by default there are none."""


class Simulation(abc.ABC):
  """A problem for the benchmark, computed instead of trained: its instances are drawn by seed.

  A simulation is a frozen dataclass of options, registered under a name in `SIMULATIONS`.
  `tests/benchmark/simulations/test_contract.py` checks every registered one.

  Example:
    >>> from autoresearch_jax.benchmark.simulations import SIMULATIONS
    >>> instance = SIMULATIONS.make('leading_ones', {'n': 16}).instance(seed=0)
    >>> instance.objective.direction, instance.optimum
    ('maximize', 1.0)
  """

  @abc.abstractmethod
  def instance(self, seed: int) -> Instance:
    """Returns the instance with this seed; seeds from `HELD_OUT` on are for reports only."""
