"""How long a trial trains, and on what."""

import dataclasses
from typing import Any, Literal

BudgetUnit = Literal['seconds', 'steps', 'tokens', 'flops']
Platform = Literal['cpu', 'gpu', 'tpu']
TARGET_METRIC = 'val_loss'  # whose value ends training where there is a target
# Metrics of a training run that ends at its target: what it took.
COSTS_TO_TARGET = ('training_seconds', 'steps', 'tokens', 'flops')


@dataclasses.dataclass(frozen=True)
class Budget:
  """How long a trial trains.

  Attributes:
    amount: Its size, in `unit`.
    unit: `seconds` (of training; compilation does not count), `steps`, `tokens` (examples, for
      supervised problems) or `flops`.
    clock: How seconds are counted. `calibrated`: as reference seconds, which are longer while the
      machine is slow; see `runner/reference.py`. `wall`: by the wall clock. `auto`: calibrated,
      except that a run which began with the wall clock keeps it.
    target_loss: Training ends as soon as `val_loss` on the whole validation split is at most this,
      and what it took is measured: the metrics COSTS_TO_TARGET. A training run that has used up
      `amount` without reaching it has failed. None: training takes all of `amount`.
  """

  amount: float
  unit: BudgetUnit = 'seconds'
  clock: Literal['auto', 'calibrated', 'wall'] = 'auto'
  target_loss: float | None = None

  def is_calibrated(self) -> bool:
    """Whether the machine's speed is measured while a trial trains."""
    return self.unit == 'seconds' and self.clock != 'wall'

  def describe(self) -> str:
    """Returns it in words, such as '300 seconds' or 'val_loss 3.28 within 300 seconds'."""
    size = f'{self.amount:g} {self.unit}'
    if self.target_loss is None:
      return size
    return f'{TARGET_METRIC} {self.target_loss:g} within {size}'

  def identity(self) -> dict[str, Any]:
    """Returns what digests of it are made of: those of budgets without a target are old ones'."""
    return {name: value for name, value in vars(self).items() if value is not None}

  def scaled(self, fidelity: float) -> 'Budget':
    return dataclasses.replace(self, amount=self.amount * fidelity)
