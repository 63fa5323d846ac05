"""Looks at a state in training at rungs, and ends what is too far behind to be kept.

The runner's, called by `training` while the clock stands still. Where the limits come from is the
controller's business (`research/pruning.py`); here they are numbers. What is looked at is
out of the program's hands: the mean of the losses that it reported is one of two numbers, and the
other is measured by the runner itself, so that a program which reports another loss than most, or
whose `predict` averages its weights and lags behind, is not ended for that.
"""

import math
from collections.abc import Callable
from typing import Any

from autoresearch_jax.types import PruningRung


class Hopeless(Exception):
  """Training is too far behind; the sentence says where and how far."""


class Watch:
  """One training run's looks. measure: nats a target of a state's leaves.

  looks: (progress, training loss, nats) of each. ended: of a training that was, its progress, the
  seconds that it took, and those that the rest of the budget would have taken.
  """

  def __init__(self, measure: Callable[[Any], float]):
    self.looks: list[tuple[float, float, float]] = []
    self.ended: dict[str, float] = {}
    self._lowest = math.inf
    self._measure = measure

  def look(self, at: PruningRung, loss: float, leaves: Any, seconds: float) -> None:
    """Raises Hopeless. loss: mean since the rung before. seconds: of training so far."""
    nats = self._measure(leaves)
    self.looks.append((at.progress, loss, nats))
    self._lowest = min(self._lowest, nats)
    if at.passed(loss, self._lowest):
      saved = seconds * (1 - at.progress) / at.progress
      self.ended = {'progress': at.progress, 'seconds': seconds, 'saved_seconds': saved}
      raise Hopeless(
        f'Ended at {at.progress:.0%} of the budget, too far behind to be kept: its training loss '
        f'was {loss:.4f} and the limit {at.max_train_loss:.4f}, and a fixed batch took '
        f'{self._lowest:.4f} nats a target at best, against {at.max_val_loss:.4f}. {saved:.1f} s '
        'of training were saved.'
      )
