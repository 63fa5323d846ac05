"""Leading ones: the share of correct bits before the first wrong one.

Each instance draws the correct value of every bit and the order of the bits; the proposer knows
neither. Source: Rudolph, Convergence Properties of Evolutionary Algorithms, 1997; with a hidden
order as in Droste, Jansen and Wegener, Theory of Computing Systems 39, 2006.
"""

import dataclasses

import numpy as np

from autoresearch_jax.benchmark.simulations.base import SIMULATIONS, Simulation
from autoresearch_jax.benchmark.simulations.binary import (
  BitStringInstance,
  random_start,
  require_noise,
)


@SIMULATIONS.register('leading_ones')
@dataclasses.dataclass(frozen=True)
class LeadingOnes(Simulation):
  """Leading ones with a hidden target and order.

  Attributes:
    n: Number of bits.
    noise: Standard deviation of the fitness between training seeds.
  """

  n: int = 64
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 4:
      raise ValueError(f'n is {self.n}; leading ones needs 4 bits or more.')

  def instance(self, seed: int) -> BitStringInstance:
    rng = np.random.default_rng((seed, 3))
    best, order = rng.integers(0, 2, self.n), rng.permutation(self.n)

    def terms(bits: np.ndarray) -> np.ndarray:
      return np.cumprod((bits == best)[order]) / self.n

    first = random_start(best, rng)
    name = f'leading_ones-{self.n}/{seed}'
    return BitStringInstance(name, first, terms, best.tolist, self.noise)
