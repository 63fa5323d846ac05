"""The base class of all strategies, and the registry they are looked up in."""

import abc
from typing import Any

import numpy as np

from autoresearch_jax.registry import Registry
from autoresearch_jax.search.samplers.space import Dimension
from autoresearch_jax.types import Objective, Program, Proposal, Trial

STRATEGIES = Registry('strategy', 'autoresearch_jax.search')


class Strategy(abc.ABC):
  """Decides what to try next: pure `init / ask / tell`, as in Optuna's ask-and-tell interface.

  A strategy is a frozen dataclass of options, registered under a name. It has no state of its
  own: the state is an immutable value that is passed in and out, and the research loop rebuilds
  it by folding the ledger's events. The same events and seeds therefore give the same state, and
  a killed run resumes where it stopped.

  Trials run in parallel, so:

  - `ask` may be called again before earlier proposals have results;
  - `tell` delivers results in any order, including failed and cancelled trials;
  - `tell` also delivers trials that this strategy did not propose: the baseline (trial 0) and the
    replications that the acceptance rule requested.

  A proposal that carries an `edit` is run as it is. Any other proposal is sent to the proposer,
  which writes the edit.

  Example: mostly improves the last trial kept, sometimes the unmodified program.

    >>> import dataclasses
    >>> from autoresearch_jax.types import Decision, Operation
    >>> @dataclasses.dataclass(frozen=True)
    ... class EpsilonGreedy(Strategy):
    ...   epsilon: float = 0.1
    ...
    ...   def init(self, objective):
    ...     return None  # the state: id of the last trial that was kept
    ...
    ...   def ask(self, state, rng):
    ...     if state is None:
    ...       return Proposal(Operation.DRAFT), state
    ...     parent = 0 if rng.random() < self.epsilon else state
    ...     return Proposal(Operation.IMPROVE, parents=(parent,)), state
    ...
    ...   def tell(self, state, trial):
    ...     kept = trial.verdict.decision is Decision.KEEP
    ...     return trial.id if kept else state
    >>> strategy = EpsilonGreedy(epsilon=0.2)
    >>> state = strategy.init(Objective('val_loss', 'minimize'))
    >>> proposal, state = strategy.ask(state, np.random.default_rng(0))
    >>> proposal.operation, proposal.parents
    (<Operation.DRAFT: 'draft'>, ())

  Decorating the class with `@STRATEGIES.register('epsilon_greedy')` makes it available as
  `--config.search.strategy=epsilon_greedy`. `autoresearch_jax.testing.strategies.StrategyContract`
  checks a strategy against everything stated here.
  """

  @abc.abstractmethod
  def init(self, objective: Objective) -> Any:
    """Returns the state before any trial.

    Args:
      objective: The metric to optimise, and its direction.

    Returns:
      Immutable plain data that msgspec can encode: built-in types or frozen dataclasses.
    """

  @abc.abstractmethod
  def ask(self, state: Any, rng: np.random.Generator) -> tuple[Proposal, Any]:
    """Returns the next proposal and the new state.

    Args:
      state: The current state; it must not be modified.
      rng: The only source of randomness, seeded by the root seed and the number of
        the search's events so far.
    """

  @abc.abstractmethod
  def tell(self, state: Any, trial: Trial) -> Any:
    """Returns the state after a trial has finished and the acceptance rule has decided on it.

    Args:
      state: The current state; it must not be modified.
      trial: The trial with its result and verdict, whatever its status.
    """

  def revise(self, state: Any, proposal: Proposal) -> tuple[Proposal, Any]:
    """Returns what to run instead of a proposal that was prepared but has not started.

    The loop prepares the next trial while others run. Before it starts that trial, it calls
    `revise`, so that a strategy can take results into account that arrived in the meantime (see
    `wrappers/speculative.py`). By default the proposal stands.
    """
    return proposal, state

  def search_space(self, program: Program) -> tuple[Dimension, ...]:
    """Returns the constants that this strategy samples; they are shown before a run.

    Empty (the default) for a strategy that leaves all edits to the proposer.

    Raises:
      ValueError: The options do not fit the program's constants.
    """
    del program
    return ()

  def required_metrics(self) -> tuple[str, ...]:
    """Returns the metrics, besides the objective's, that the problem must measure."""
    return ()
