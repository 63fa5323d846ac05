"""How long a trial trains, and on what."""

import dataclasses
from typing import Literal

BudgetUnit = Literal['seconds', 'steps', 'tokens', 'flops']
Platform = Literal['cpu', 'gpu', 'tpu']


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
  """

  amount: float
  unit: BudgetUnit = 'seconds'
  clock: Literal['auto', 'calibrated', 'wall'] = 'auto'

  def is_calibrated(self) -> bool:
    """Whether the machine's speed is measured while a trial trains."""
    return self.unit == 'seconds' and self.clock != 'wall'

  def scaled(self, fidelity: float) -> 'Budget':
    return dataclasses.replace(self, amount=self.amount * fidelity)
