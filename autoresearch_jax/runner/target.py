"""Ends training once the loss on the whole validation split has reached the budget's target.

Called by `train` at equal distances while the clock is paused. Scoring the whole split may take
longer than training between two checks, so far from the target a fixed batch of it is scored, and
the split whenever half of the way to the target seems to be done. No jax here.
"""

import math
from collections.abc import Callable
from typing import Any

from autoresearch_jax.types import PruningRung

NUM_CHECKS = 100  # in a budget, so what a run took is known to 1 % of the budget
MARGIN = 0.02  # relative to the target, within which the whole split is scored at every check


class TargetMonitor:
  """Compares a training run with the budget's target.

  Args:
    target_loss: The target, in the unit of the loss.
    fixed_batch_loss: Maps the leaves of a state to its loss on one validation batch.
    validation_loss: Maps them to the loss on the whole validation split.

  Attributes:
    loss: The loss when the whole split was scored last; infinite before.
    reached: Whether that is at most the target.
  """

  def __init__(
    self,
    target_loss: float,
    fixed_batch_loss: Callable[[Any], float],
    validation_loss: Callable[[Any], float],
  ):
    self.loss = math.inf
    self._target = target_loss
    self._fixed_batch_loss, self._validation_loss = fixed_batch_loss, validation_loss
    self._difference = 0.0  # of the loss on all from that on the fixed batch

  @property
  def reached(self) -> bool:
    return self.loss <= self._target

  def check(self, leaves: Any) -> bool:
    """Returns whether a state has reached the target."""
    loss = self._fixed_batch_loss(leaves)
    near = max(MARGIN * abs(self._target), (self.loss - self._target) / 2)
    if loss + self._difference <= self._target + near:
      self.loss = self._validation_loss(leaves)
      difference = self.loss - loss
      self._difference = difference if math.isfinite(difference) else 0.0
    return self.reached

  def check_end(self, leaves: Any) -> bool:
    """The same for the state at the end of the budget, by the whole split."""
    self.loss = self._validation_loss(leaves)
    return self.reached


class ProgressReport:
  """Passes on progress reports, and repeats the last one as a sign of life during a check.

  Args:
    report: Receives them.
  """

  def __init__(self, report: Callable[..., None]):
    self._report = report
    self._last: tuple[Any, ...] = (0.0, 0, None)

  def __call__(self, *news: Any) -> None:
    self._last = news
    self._report(*news)

  def repeat(self) -> None:
    self._report(*self._last)


def checks() -> tuple[PruningRung, ...]:
  """The points at which training is checked."""
  return tuple(PruningRung(i / NUM_CHECKS) for i in range(1, NUM_CHECKS))
