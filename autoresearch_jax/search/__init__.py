"""Strategies: what to try next. Pure `init / ask / tell`, one file each, numpy at most.

A strategy is a frozen dataclass of options, registered by name in `STRATEGIES`. Its state is an
immutable value; the research loop folds it over the ledger's events, so the same events give
the same state. Randomness comes in as a generator made from (root seed, event index).

Three things follow from being asynchronous: `ask` may come again before earlier proposals were
told of; `tell` brings results in any order, failed and cancelled ones too; and it brings trials
the strategy never asked for, the baseline and the replications of acceptance. A wrapper is a
strategy with the options `inner` and `inner_options`, the name and options of another.

The loop prepares the next trial while others run. A strategy may have one method more,

    revise(state, proposal) -> (proposal, state)

which says, before such a trial begins, what it would ask for by now; see `speculative.py`. Without
it the trial is run as it was asked for.
"""

from typing import Any, Protocol

import numpy as np

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Objective, Proposal, Trial

STRATEGIES = Registry('strategy', __name__)


class Strategy(Protocol):
  """The contract of a strategy; `StrategyContract` in `testing/strategies.py` checks it."""

  def init(self, objective: Objective) -> Any:
    """The state before any trial. It is msgspec-encodable plain data (or frozen dataclasses)."""
    ...

  def ask(self, state: Any, rng: np.random.Generator) -> tuple[Proposal, Any]:
    """The next proposal. May be called again before earlier proposals were told of."""
    ...

  def tell(self, state: Any, trial: Trial) -> Any:
    """Takes in a finished and decided trial, whatever its status, in any order."""
    ...
