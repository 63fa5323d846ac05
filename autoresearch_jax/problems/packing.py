"""Circle packing: place n circles of any size in the unit square, maximising the sum of radii.

A construction has one row (x, y, radius) per circle. For 26 circles AlphaEvolve found a sum of
2.635 (2025, https://arxiv.org/abs/2506.13131), and the best known is about 2.6360. The verifier
judges circles, not how they were found: a program that hard-codes a known packing gets its score.
"""

import dataclasses
import hashlib
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.problems.verifiers import VERIFIERS, InvalidConstruction, Verifier
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same construction scores
MAX_CIRCLES = 200  # the exact check looks at every pair
# Rounding may enlarge a share of a radius by 8 x 2**-53: a distance by 4, a sum, a quotient and
# products by 1 each. Twice that is taken off, so that exact arithmetic agrees.
SAFE = 1 - 2.0**-49


@PROBLEMS.register('packing')
@dataclasses.dataclass(frozen=True)
class Packing(Problem):
  """Circle packing.

  Attributes:
    circles: How many are packed.
  """

  circles: int = 26

  def __post_init__(self) -> None:
    if not 1 <= self.circles <= MAX_CIRCLES:
      raise ValueError(
        f'config.data.circles is {self.circles}; 1 to {MAX_CIRCLES} can be verified.'
      )

  def shapes(self) -> dict[str, Any]:
    return {'kind': 'construction', 'output_shape': (self.circles, 3)}

  def metrics(self) -> Mapping[str, Direction]:
    return {
      'sum_of_radii': 'maximize',
      'smallest_radius': 'maximize',
      'covered_area': 'maximize',
      'largest_cut': 'minimize',
    }

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Stores nothing, since a packing needs no data."""
    del cache, say
    key = msgspec.json.encode(('packing', FORMAT, self.circles))
    return Dataset('construction', verifier='packing', fingerprint=hashlib.sha256(key).hexdigest())

  def best_known(self, metric: str) -> float | None:
    return 2.6360 if (metric, self.circles) == ('sum_of_radii', 26) else None


@VERIFIERS.register('packing')
@dataclasses.dataclass(frozen=True)
class PackingVerifier(Verifier):
  """Shrinks overlapping circles until the packing is valid, then scores it.

  The metrics sum_of_radii, smallest_radius and covered_area are those of the valid packing.
  largest_cut is the largest fraction of a radius that was removed, 0 to 1: for a valid packing, no
  more than float32 rounding.
  """

  def verify(self, construction: np.ndarray) -> dict[str, float]:
    """construction: float64 [circles, 3]. Raises InvalidConstruction."""
    _require_circles(construction)
    claimed = construction[:, 2]
    _, radii = valid(construction[:, :2], claimed)
    left = np.divide(radii, claimed, out=np.ones_like(radii), where=claimed > 0)
    return {
      'sum_of_radii': math.fsum(radii),
      'smallest_radius': float(radii.min()),
      'covered_area': float(np.pi * np.square(radii).sum()),
      'largest_cut': float(1 - left.min()),
    }


def valid(centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Makes a packing valid by moving centres into the square and shrinking radii.

  A radius r is cut at the nearest side first, then multiplied by the smallest ratio d / (r + s)
  over neighbours, with radius s at distance d. The radii of two circles that overlapped then add up
  to at most d. A centre outside of the square is clipped to its side and gets radius 0. Rounding is
  handled twice: SAFE shrinks by more than rounding can add, and every constraint is then checked in
  rational arithmetic; a circle that still violates one (no such case is known) gets radius 0.

  Args:
    centres: float64 `[n, 2]`.
    radii: float64 `[n]`, not negative.

  Returns:
    Centres inside the square, and radii none of which grew.
  """
  centres = np.clip(centres, 0.0, 1.0)
  radii = SAFE * np.minimum(radii, np.minimum(centres, 1 - centres).min(axis=1))
  apart = centres[:, None] - centres[None]
  distance = np.hypot(apart[..., 0], apart[..., 1])
  both = radii[:, None] + radii[None]
  np.fill_diagonal(distance, np.inf)
  share = np.divide(distance, both, out=np.ones_like(both), where=both > distance)
  radii = SAFE * radii * share.min(axis=1)
  radii[sorted(set(itertools.chain(*violations(centres, radii))))] = 0.0
  return centres, radii


def violations(centres: np.ndarray, radii: np.ndarray) -> Iterator[tuple[int, ...]]:
  """Yields circles that leave the square, (i,), and pairs that overlap, (i, j), checked exactly."""
  exact = [
    (Fraction(x), Fraction(y), Fraction(r))
    for (x, y), r in zip(centres.tolist(), radii.tolist(), strict=True)
  ]
  for i, (x, y, r) in enumerate(exact):
    if r < 0 or not (r <= x <= 1 - r and r <= y <= 1 - r):
      yield (i,)
  for (i, (x, y, r)), (j, (u, v, s)) in itertools.combinations(enumerate(exact), 2):
    if (r + s) ** 2 > (x - u) ** 2 + (y - v) ** 2:
      yield i, j


def _require_circles(construction: np.ndarray) -> None:
  """Raises InvalidConstruction unless the array is a list of circles."""
  if construction.ndim != 2 or construction.shape[1] != 3 or not len(construction):
    raise InvalidConstruction(
      f'The construction has the shape {list(construction.shape)}; return one row (x, y, radius) '
      'a circle from `predict`.'
    )
  for what, bad in (
    ('a number that is not finite', ~np.isfinite(construction).all(axis=1)),
    ('a negative radius', construction[:, 2] < 0),
  ):
    if bad.any():
      circle = int(np.argmax(bad))
      x, y, radius = construction[circle]
      raise InvalidConstruction(
        f'Circle {circle} of the packing has {what}: (x, y, radius) = '
        f'({x:g}, {y:g}, {radius:g}). Return finite centres and radii of at least 0 from `predict`.'
      )
