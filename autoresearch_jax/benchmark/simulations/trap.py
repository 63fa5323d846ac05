"""Concatenated traps of five bits: fully deceptive, so that single flips lead away.

A block with u bits right counts 5 for u = 5 and 4 - u else; the fitness is the sum over blocks,
divided by the number of bits. Which bits are right, and which five make a block, is drawn for an
instance, so that no strategy profits from their order. Source: Deb and Goldberg, Analyzing
Deception in Trap Functions, Foundations of Genetic Algorithms 2, 1993.
"""

import dataclasses

import numpy as np

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.binary import BitString, other_than, require_noise


@SIMULATIONS.register('trap')
@dataclasses.dataclass(frozen=True)
class Trap:
  """n: bits, a multiple of 5. noise: deviation of the fitness between seeds."""

  n: int = 60
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 5 or self.n % 5:
      raise ValueError(f'n is {self.n}; trap-5 needs a multiple of 5.')

  def instance(self, seed: int) -> BitString:
    rng = np.random.default_rng((seed, 2))
    right, order = rng.integers(0, 2, self.n), rng.permutation(self.n)
    table = np.array([4, 3, 2, 1, 0, 5]) / self.n

    def terms(bits: np.ndarray) -> np.ndarray:
      return table[(bits == right)[order].reshape(-1, 5).sum(axis=1)]

    first = other_than(right, rng)
    return BitString(f'trap-{self.n}/{seed}', first, terms, right.tolist, self.noise)
