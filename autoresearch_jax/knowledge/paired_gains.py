"""Mean differences between programs that were trained on the same seeds, with intervals.

For the ablation of `autoresearch finalize` and for what the report says of it.
"""

import dataclasses
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from scipy import stats

LEVEL = 0.95

Scores = Mapping[int, float]  # by seed; larger is better
Name = TypeVar('Name', bound=Hashable)


@dataclasses.dataclass(frozen=True)
class PairedGain:
  """Mean paired difference between two programs on the same seeds.

  Attributes:
    mean: Gain of the first program; above 0 is better.
    half_width: Half width of its 95 % confidence interval.
    pairs: Number of seeds.
  """

  mean: float
  half_width: float
  pairs: int

  @property
  def is_shown(self) -> bool:
    """Whether the gain is significantly above 0."""
    return self.mean > self.half_width

  @property
  def is_loss(self) -> bool:
    """Whether it is significantly below 0."""
    return -self.mean > self.half_width

  def __str__(self) -> str:
    return f'{self.mean:+.6f} ± {self.half_width:.6f} ({self.pairs} paired seeds)'


def paired_gains(differences: Mapping[Name, Sequence[float]]) -> dict[Name, PairedGain]:
  """Returns the mean of each group of paired differences, with an interval.

  The variance is pooled over the groups. A group of fewer than two pairs is left out.
  """
  groups = {name: values for name, values in differences.items() if len(values) > 1}
  degrees = sum(len(values) - 1 for values in groups.values())
  squares = sum(statistics.variance(values) * (len(values) - 1) for values in groups.values())
  if not degrees:
    return {}
  deviation = math.sqrt(squares / degrees)
  critical = float(stats.t.ppf((1 + LEVEL) / 2, degrees))
  return {
    name: PairedGain(
      statistics.fmean(values), critical * deviation / math.sqrt(len(values)), len(values)
    )
    for name, values in groups.items()
  }


def paired_differences(ours: Scores, theirs: Scores) -> list[float]:
  """Returns the differences of the scores on the seeds that both have."""
  return [ours[seed] - theirs[seed] for seed in sorted({*ours} & {*theirs})]
