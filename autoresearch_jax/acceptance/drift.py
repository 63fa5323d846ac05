"""Detects that the machine changed, from the runs of the incumbent: a self-starting CUSUM.

The same program on other seeds scores the same but for seed noise, so a lasting shift of its scores
is the machine's. Page (Biometrika 1954) sums the deviations from the mean beyond an allowance, and
signals when the sum passes a limit. Hawkins (The Statistician 1987) makes it self-starting: each
run is compared with the mean of the runs before it, by Student's t, since nothing is known in
advance. While a sum is above a warning limit, the next run follows sooner, as in control charts
with variable sampling intervals (Reynolds, Amin & Arnold, Technometrics 1990).
"""

import dataclasses

import scipy.special

from autoresearch_jax.acceptance.noise import NoiseState

ALLOWANCE = 0.5  # standard deviations: half of the smallest shift that should be found soon
WARNING = 2.0  # standard deviations, of a sum
LIMIT = 5.0  # without a shift, one signal in about 230 runs; of three deviations, after 2 or 3


@dataclasses.dataclass(frozen=True)
class DriftMonitor:
  """The two CUSUMs over one program's runs. Immutable.

  Attributes:
    count: Runs since the last signal.
    mean: Their mean.
    above: Sum of the deviations above the mean, beyond the allowance, in standard deviations.
    below: The same for deviations below the mean.
    runs_above: Runs since `above` was last 0: those since the change, if there was one.
    runs_below: The same for `below`.
  """

  count: int = 0
  mean: float = 0.0
  above: float = 0.0
  below: float = 0.0
  runs_above: int = 0
  runs_below: int = 0

  @property
  def signals(self) -> bool:
    """Whether the runs have shifted."""
    return max(self.above, self.below) > LIMIT

  @property
  def warns(self) -> bool:
    """Whether the runs may have shifted, so that the next one should follow soon."""
    return max(self.above, self.below) > WARNING

  @property
  def excursion(self) -> int:
    """Number of runs since the runs shifted, if they did (Page's estimate)."""
    return self.runs_above if self.above >= self.below else self.runs_below

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
    above = max(0.0, self.above + deviation - ALLOWANCE)
    below = max(0.0, self.below - deviation - ALLOWANCE)
    return DriftMonitor(
      count,
      mean,
      above,
      below,
      self.runs_above + 1 if above else 0,
      self.runs_below + 1 if below else 0,
    )
