"""Detects that the machine changed, from the runs of the incumbent: a self-starting CUSUM.

The same program on other seeds scores the same but for seed noise, so a lasting shift of its scores
is the machine's. Page (Biometrika 1954) sums the deviations from the mean beyond an allowance, and
signals when the sum passes a limit. Hawkins (The Statistician 1987) makes it self-starting: each
run is compared with the mean of the runs before it, by Student's t, since nothing is known in
advance.
"""

import dataclasses

import scipy.special

from autoresearch_jax.acceptance.noise import NoiseState

ALLOWANCE = 0.5  # standard deviations: half of the smallest shift that should be found soon
LIMIT = 5.0  # without a shift, one signal in about 230 runs; of three deviations, after 2 or 3


@dataclasses.dataclass(frozen=True)
class DriftMonitor:
  """The two CUSUMs over one program's runs. Immutable.

  Attributes:
    count: Runs since the last signal.
    mean: Their mean.
    above: Sum of the deviations above the mean, beyond the allowance, in standard deviations.
    below: The same for deviations below the mean.
  """

  count: int = 0
  mean: float = 0.0
  above: float = 0.0
  below: float = 0.0

  @property
  def signals(self) -> bool:
    """Whether the runs have shifted."""
    return max(self.above, self.below) > LIMIT

  def add(self, value: float, noise: NoiseState) -> 'DriftMonitor':
    """Returns the monitor after one more run."""
    count = self.count + 1
    mean = self.mean + (value - self.mean) / count
    seed_std = noise.seed_std
    if not self.count or not seed_std:
      return dataclasses.replace(self, count=count, mean=mean)
    t = (value - self.mean) / (seed_std * (1 + 1 / self.count) ** 0.5)
    tail = float(scipy.special.stdtr(noise.degrees_of_freedom, -abs(t)))
    deviation = -float(scipy.special.ndtri(max(tail, 1e-100))) * (1 if t > 0 else -1)
    return DriftMonitor(
      count,
      mean,
      max(0.0, self.above + deviation - ALLOWANCE),
      max(0.0, self.below - deviation - ALLOWANCE),
    )
