"""Acceptance rules: keep or discard, from measurements and noise. Pure, like strategies.

A rule is a frozen dataclass of options, registered by name in `ACCEPTANCE`. Its state is folded
over the ledger's events, as a strategy's is.
"""

from typing import Any, Protocol

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Objective, Trial, Verdict

ACCEPTANCE = Registry('acceptance', __name__)


class Acceptance(Protocol):
  """The contract of an acceptance rule; `tests/acceptance/contract.py` checks every one.

  baseline_seeds: how many seeds the baseline (trial 0) is trained on, so that noise is known.
  """

  @property
  def baseline_seeds(self) -> int: ...

  def init(self, objective: Objective) -> Any: ...

  def decide(self, state: Any, trial: Trial, incumbent: Trial | None) -> tuple[Verdict, Any]:
    """Judges a finished trial against the incumbent (None: the trial is the baseline)."""
    ...
