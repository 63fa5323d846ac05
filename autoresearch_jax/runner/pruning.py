"""Evaluates a training run at its rungs, and prunes it if it is too far behind to be kept.

Called by `train` while the clock is paused. The controller sets the thresholds
(`research/pruning.py`); here they are numbers. A run is pruned only if two losses are above their
thresholds: the training loss that the program reports, and a validation loss that the runner
measures itself. So a program is not pruned for reporting another loss than most, nor because its
`predict` averages weights and lags behind. No jax here.
"""

import math
from collections.abc import Callable
from typing import Any

from autoresearch_jax.types import PruningRung


class TrialPruned(Exception):
  """The run is too far behind; the message says where, and by how much."""


class RungMonitor:
  """The rungs of one training run.

  Args:
    validation_loss: Maps the leaves of a state to its validation loss on a fixed batch, in nats per
      target.

  Attributes:
    evaluations: (progress, training loss, validation loss) at each rung reached.
    pruned: If the run was pruned: its `progress`, the `seconds` it took, and the `saved_seconds`
      that the rest of the budget would have taken. Else empty.
  """

  def __init__(self, validation_loss: Callable[[Any], float]):
    self.evaluations: list[tuple[float, float, float]] = []
    self.pruned: dict[str, float] = {}
    self._lowest = math.inf
    self._validation_loss = validation_loss

  def restore(self, evaluations: list[tuple[float, float, float]]) -> None:
    """Continues after these evaluations, and adds further ones to the list."""
    self.evaluations = evaluations
    self._lowest = min((loss for *_, loss in evaluations), default=math.inf)

  def finish(self, leaves: Any, seconds: float) -> None:
    """Called with the trained state, after its evaluation, and with its training time."""

  def evaluate(self, rung: PruningRung, train_loss: float, leaves: Any, seconds: float) -> None:
    """Evaluates the state at a rung.

    Args:
      rung: The rung that was reached.
      train_loss: Mean training loss since the rung before.
      leaves: Leaves of the state.
      seconds: Training time so far.

    Raises:
      TrialPruned: both losses are above the rung's thresholds.
    """
    validation_loss = self._validation_loss(leaves)
    self.evaluations.append((rung.progress, train_loss, validation_loss))
    self._lowest = min(self._lowest, validation_loss)
    if rung.should_prune(train_loss, self._lowest):
      saved = seconds * (1 - rung.progress) / rung.progress
      self.pruned = {'progress': rung.progress, 'seconds': seconds, 'saved_seconds': saved}
      raise TrialPruned(
        f'Pruned at {rung.progress:.0%} of the budget: the training loss was {train_loss:.4f} '
        f'(threshold {rung.max_train_loss:.4f}), and the lowest validation loss on a fixed batch '
        f'was {self._lowest:.4f} nats per target (threshold {rung.max_val_loss:.4f}). This saved '
        f'{saved:.1f} s of training.'
      )
