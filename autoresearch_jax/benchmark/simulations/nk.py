"""Kauffman's NK landscape on a ring: bit i contributes by itself and its k next neighbours.

The contribution is uniform in [0, 1), by a hash of the instance, i and the k + 1 bits; the fitness
is the mean over bits. Sources: Kauffman and Levin, Journal of Theoretical Biology 128, 1987;
Weinberger, Physical Review A 44, 1991 (adjacent neighbours).

The optimum is exact (`ring.py`): milliseconds up to k = 10, ten to forty seconds for n = 64,
k = 16. There the solutions of the instances that benchmarks use, seeds 0 to 4 and 1000 to 1019,
are shipped in `solutions/`; `write_solutions` made the file with the same search.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterable

import numpy as np

from autoresearch_jax.benchmark.simulations import SIMULATIONS, ring
from autoresearch_jax.benchmark.simulations.binary import BitString, require_noise

SOLVED = pathlib.Path(__file__).resolve().parent / 'solutions' / 'nk_64_16.csv'


@SIMULATIONS.register('nk')
@dataclasses.dataclass(frozen=True)
class NK:
  """n: bits. k: neighbours of each. noise: deviation of the fitness between seeds."""

  n: int = 64
  k: int = 4
  noise: float = 0.0

  def __post_init__(self) -> None:
    require_noise(self.noise)
    if self.n < 4 or not 0 <= self.k <= min(16, self.n - 1):
      raise ValueError(
        f'n is {self.n} and k is {self.k}; an NK landscape here has n of 4 or more and k from 0 '
        f'to 16, below n (its optimum is found over 2^k states).'
      )

  def instance(self, seed: int) -> BitString:
    rng = np.random.default_rng((seed, 1))
    key = rng.integers(2**63, dtype=np.uint64)
    loci = np.arange(self.n)
    neighbours = (loci[:, None] + np.arange(self.k + 1)) % self.n
    powers = 2 ** np.arange(self.k, -1, -1)
    shifted = (loci << 32).astype(np.uint64)

    def terms(bits: np.ndarray) -> np.ndarray:
      return uniform(key, shifted + (bits[neighbours] @ powers).astype(np.uint64)) / self.n

    first = rng.integers(0, 2, self.n).tolist()
    best = functools.partial(self._best, seed, key.item())
    return BitString(f'nk-{self.n}-{self.k}/{seed}', first, terms, best, self.noise)

  def _best(self, seed: int, key: int) -> list[int]:
    shipped = _solutions() if (self.n, self.k) == (64, 16) else {}
    return shipped.get(seed) or solved(self.n, self.k, key)


def uniform(key: np.uint64, words: np.ndarray) -> np.ndarray:
  """A number in [0, 1) for each word (uint64 array); Steele, Lea, Flood, OOPSLA 2014, SplitMix."""
  z = words * np.uint64(0x9E3779B97F4A7C15) + key
  z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=256)
def solved(n: int, k: int, key: int) -> list[int]:
  """The best bits, by the search."""
  windows = np.arange(2 ** (k + 1), dtype=np.uint64)
  tables = [uniform(np.uint64(key), np.uint64(i << 32) + windows) for i in range(n)]
  return ring.maximum(np.array(tables))


@functools.cache
def _solutions() -> dict[int, list[int]]:
  """Seed -> bits, as shipped."""
  with SOLVED.open(newline='', encoding='utf-8') as file:
    return {int(row['seed']): [int(bit) for bit in row['bits']] for row in csv.DictReader(file)}


def write_solutions(seeds: Iterable[int], path: pathlib.Path = SOLVED) -> None:
  """Solves the instances with n = 64, k = 16 anew and writes them down; a quarter of an hour."""
  with path.open('w', newline='', encoding='utf-8') as file:
    table = csv.writer(file, lineterminator='\n')
    table.writerow(['seed', 'bits'])
    for seed in seeds:
      table.writerow([seed, ''.join(map(str, solved(64, 16, key_of(seed))))])


def key_of(seed: int) -> int:
  """What the contributions of an instance are hashed with."""
  return int(np.random.default_rng((seed, 1)).integers(2**63, dtype=np.uint64))
