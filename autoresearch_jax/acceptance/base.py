"""The base class of all acceptance rules, and the registry they are looked up in."""

import abc
from typing import Any

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Objective, Proposal, Trial, Verdict

ACCEPTANCE = Registry('acceptance', 'autoresearch_jax.acceptance')


class AcceptanceRule(abc.ABC):
  """Decides whether a trial is kept or discarded, from its measurements and their noise.

  A rule is a frozen dataclass of options, registered under a name. Like a strategy, it is pure:
  its state is an immutable value that the research loop rebuilds from the ledger's events.

  A rule that is not yet sure discards the trial for now and requests a replication through `ask`.
  The replication is a trial of its own, and that is the trial which may be kept.

  Attributes:
    baseline_seeds: How many seeds the baseline (trial 0) is trained on. With two or more, the
      seed-to-seed noise is known from the start.

  Example: keep a trial when it is better than the incumbent by at least `min_gain`.

    >>> import dataclasses
    >>> from autoresearch_jax.types import Decision
    >>> @dataclasses.dataclass(frozen=True)
    ... class MinGain(AcceptanceRule):
    ...   min_gain: float = 0.01
    ...   baseline_seeds: int = 2
    ...
    ...   def init(self, objective):
    ...     return objective
    ...
    ...   def decide(self, state, trial, incumbent):
    ...     score = state.score(trial)
    ...     if score is None:
    ...       return Verdict(Decision.CRASH, trial.result.reason), state
    ...     best = None if incumbent is None else state.score(incumbent)
    ...     if best is None or score - best > self.min_gain:
    ...       return Verdict(Decision.KEEP, f'score {score:.6g}'), state
    ...     return Verdict(Decision.DISCARD, f'score {score:.6g}, incumbent {best:.6g}'), state
    >>> rule = MinGain()
    >>> rule.ask(rule.init(Objective('val_loss', 'minimize')))[0] is None
    True
  """

  baseline_seeds: int = 1

  @abc.abstractmethod
  def init(self, objective: Objective) -> Any:
    """Returns the state before any trial, as immutable plain data that msgspec can encode."""

  @abc.abstractmethod
  def decide(self, state: Any, trial: Trial, incumbent: Trial | None) -> tuple[Verdict, Any]:
    """Returns the verdict on a finished trial, and the new state.

    Also called for failed and cancelled trials, so that a rule learns what became of a
    replication that it requested.

    Args:
      state: The current state; it must not be modified.
      trial: The trial with its result.
      incumbent: The last trial kept, None when the trial is the baseline.
    """

  def ask(self, state: Any) -> tuple[Proposal | None, Any]:
    """Returns a replication to run before the strategy is asked again, and the new state.

    May be called again before earlier replications were decided. By default None: the rule
    decides every trial at once.
    """
    return None, state

  def undecided(self, state: Any, trial: Trial) -> bool:
    """Returns whether pending replications may still turn this trial's DISCARD into a KEEP."""
    del state, trial
    return False

  def without_tests(self, state: Any) -> Any | None:
    """Returns the state as it would be if no program was under test.

    Canaries are judged from it while tests go on (`research/canaries.py`). By default None: they
    wait until no test is open.
    """
    del state
    return None
