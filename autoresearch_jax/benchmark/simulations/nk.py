"""Kauffman's NK landscape on a ring: bit i interacts with its next k neighbours.

The contribution of bit i is uniform in [0, 1), a hash of the instance, of i and of the k + 1 bits;
the fitness is the mean over bits. Sources: Kauffman and Levin, Journal of Theoretical Biology 128,
1987; Weinberger, Physical Review A 44, 1991 (adjacent neighbours).

The optimum is exact (`ring.py`). It takes milliseconds up to k = 10 and 10 to 40 s for n = 64,
k = 16. For that size, `solutions/` has the optima of the seeds that benchmarks use, 0 to 4 and 1000
to 1019; `write_solutions` computed them with the same search.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterable

import numpy as np

from autoresearch_jax.benchmark.simulations import ring
from autoresearch_jax.benchmark.simulations.base import SIMULATIONS, Simulation
from autoresearch_jax.benchmark.simulations.binary import BitStringInstance, require_noise

SOLUTIONS = pathlib.Path(__file__).resolve().parent / 'solutions' / 'nk_64_16.csv'


@SIMULATIONS.register('nk')
@dataclasses.dataclass(frozen=True)
class NK(Simulation):
  """NK landscape with adjacent neighbours.

  Attributes:
    n: Number of bits.
    k: Number of neighbours that each bit interacts with; larger is more rugged.
    noise: Standard deviation of the fitness between training seeds.
  """

  n: int = 64
  k: int = 4
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 4 or not 0 <= self.k <= min(16, self.n - 1):
      raise ValueError(
        f'n is {self.n} and k is {self.k}; n must be 4 or more and k from 0 to 16, below n (the '
        'search for the optimum has 2^k states).'
      )

  def instance(self, seed: int) -> BitStringInstance:
    rng = np.random.default_rng((seed, 1))
    key = rng.integers(2**63, dtype=np.uint64)
    loci = np.arange(self.n)
    neighbours = (loci[:, None] + np.arange(self.k + 1)) % self.n
    powers = 2 ** np.arange(self.k, -1, -1)
    shifted = (loci << 32).astype(np.uint64)

    def terms(bits: np.ndarray) -> np.ndarray:
      return uniform(key, shifted + (bits[neighbours] @ powers).astype(np.uint64)) / self.n

    first = rng.integers(0, 2, self.n).tolist()
    find_best = functools.partial(self._find_best, seed, key.item())
    name = f'nk-{self.n}-{self.k}/{seed}'
    return BitStringInstance(name, first, terms, find_best, self.noise)

  def _find_best(self, seed: int, key: int) -> list[int]:
    shipped = _shipped_solutions() if (self.n, self.k) == (64, 16) else {}
    return shipped.get(seed) or best_bits(self.n, self.k, key)


def uniform(key: np.uint64, words: np.ndarray) -> np.ndarray:
  """Hashes each word (uint64 array) to [0, 1) by SplitMix64.

  Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
  """
  z = words * np.uint64(0x9E3779B97F4A7C15) + key
  z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=256)
def best_bits(n: int, k: int, key: int) -> list[int]:
  """Returns the optimal bits, [n], of the landscape with this hash key."""
  windows = np.arange(2 ** (k + 1), dtype=np.uint64)
  tables = [uniform(np.uint64(key), np.uint64(i << 32) + windows) for i in range(n)]
  return ring.maximum(np.array(tables))


@functools.cache
def _shipped_solutions() -> dict[int, list[int]]:
  """Seed -> optimal bits, from the shipped file."""
  with SOLUTIONS.open(newline='', encoding='utf-8') as file:
    return {int(row['seed']): [int(bit) for bit in row['bits']] for row in csv.DictReader(file)}


def write_solutions(seeds: Iterable[int], path: pathlib.Path = SOLUTIONS) -> None:
  """Solves the instances with n = 64, k = 16 and writes the file; takes a quarter of an hour."""
  with path.open('w', newline='', encoding='utf-8') as file:
    table = csv.writer(file, lineterminator='\n')
    table.writerow(['seed', 'bits'])
    for seed in seeds:
      table.writerow([seed, ''.join(map(str, best_bits(64, 16, key_of(seed))))])


def key_of(seed: int) -> int:
  """Returns the key that the contributions of an instance are hashed with."""
  return int(np.random.default_rng((seed, 1)).integers(2**63, dtype=np.uint64))
