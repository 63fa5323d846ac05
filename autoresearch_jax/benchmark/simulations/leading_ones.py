"""Leading ones: the share of bits that are right before the first wrong one.

Which value of a bit is right, and the order of the bits, are drawn for an instance and hidden from
the proposer. Source: Rudolph, Convergence Properties of Evolutionary Algorithms, 1997; hidden as
in Droste, Jansen and Wegener, Theory of Computing Systems 39, 2006.
"""

import dataclasses

import numpy as np

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.binary import BitString, other_than, require_noise


@SIMULATIONS.register('leading_ones')
@dataclasses.dataclass(frozen=True)
class LeadingOnes:
  """n: bits. noise: deviation of the fitness between seeds."""

  n: int = 64
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 4:
      raise ValueError(f'n is {self.n}; leading ones needs 4 bits or more.')

  def instance(self, seed: int) -> BitString:
    rng = np.random.default_rng((seed, 3))
    right, order = rng.integers(0, 2, self.n), rng.permutation(self.n)

    def terms(bits: np.ndarray) -> np.ndarray:
      return np.cumprod((bits == right)[order]) / self.n

    first = other_than(right, rng)
    return BitString(f'leading_ones-{self.n}/{seed}', first, terms, right.tolist, self.noise)
