"""Concatenated deceptive traps of five bits: single flips lead away from the optimum.

A block with u correct bits scores 5 for u = 5 and 4 - u otherwise. The fitness is the sum over
blocks divided by the number of bits. Each instance draws the correct bits and which five form a
block, so that no strategy benefits from their order. Source: Deb and Goldberg, Analyzing Deception
in Trap Functions, Foundations of Genetic Algorithms 2, 1993.
"""

import dataclasses

import numpy as np

from autoresearch_jax.benchmark.simulations.base import SIMULATIONS, Simulation
from autoresearch_jax.benchmark.simulations.binary import (
  BitStringInstance,
  random_start,
  require_noise,
)


@SIMULATIONS.register('trap')
@dataclasses.dataclass(frozen=True)
class Trap(Simulation):
  """Concatenated five-bit traps.

  Attributes:
    n: Number of bits, a multiple of 5.
    noise: Standard deviation of the fitness between training seeds.
  """

  n: int = 60
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 5 or self.n % 5:
      raise ValueError(f'n is {self.n}; it must be a multiple of 5.')

  def instance(self, seed: int) -> BitStringInstance:
    rng = np.random.default_rng((seed, 2))
    best, order = rng.integers(0, 2, self.n), rng.permutation(self.n)
    table = np.array([4, 3, 2, 1, 0, 5]) / self.n

    def terms(bits: np.ndarray) -> np.ndarray:
      return table[(bits == best)[order].reshape(-1, 5).sum(axis=1)]

    first = random_start(best, rng)
    return BitStringInstance(f'trap-{self.n}/{seed}', first, terms, best.tolist, self.noise)
