"""Acceptance rules: keep, discard or replicate, from measurements and noise. Pure, like strategies.

A rule is a frozen dataclass of options, registered by name in `ACCEPTANCE`. Its state is folded
over the ledger's events, as a strategy's is. A rule that is not sure yet discards for now and asks
for a replication; the replication is a trial of its own, and it is what gets kept.
"""

from typing import Any, Protocol

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Objective, Proposal, Trial, Verdict

ACCEPTANCE = Registry('acceptance', __name__)


class Acceptance(Protocol):
  """The contract of an acceptance rule; `tests/acceptance/contract.py` checks this package's own.

  For others' rules there is no such battery yet, but streams of trials to run them on are in
  `testing/acceptance.py`.

  baseline_seeds: how many seeds the baseline (trial 0) is trained on, so that noise is known.
  """

  @property
  def baseline_seeds(self) -> int: ...

  def init(self, objective: Objective) -> Any: ...

  def ask(self, state: Any) -> tuple[Proposal | None, Any]:
    """A replication that the rule wants run before the strategy is asked again; None: nothing.

    May be called again before earlier replications were decided.
    """
    ...

  def decide(self, state: Any, trial: Trial, incumbent: Trial | None) -> tuple[Verdict, Any]:
    """Judges a finished trial against the incumbent (None: the trial is the baseline).

    Comes for failed and cancelled trials too, so that a rule knows what became of a replication.
    """
    ...

  def undecided(self, state: Any, trial: Trial) -> bool:
    """Whether more replications may yet change a DISCARD of this trial's program."""
    ...
