"""The maximum of a sum of functions of neighbouring bits on a ring, exactly.

    max over x in {0, 1}^n of  Σ_i f_i(x_i, x_{i+1}, ..., x_{i+k}),  indices modulo n

Dynamic programming over windows of k bits gives the best path around the ring, one that need not
close: its last window may differ from its first. Three facts make the best ring of it:
- A path that closes and has the best value among all paths is the best ring.
- With any potential h over windows, first window's h added and last window's h taken off, rings
  keep their values and other paths do not. Going round several times (value iteration for the
  maximum cycle mean; Howard, 1960) gives potentials with which the best path mostly closes.
- Where it still does not, best-first branch and bound fixes one bit in both windows, to 0 and to
  1; the best path bounds all rings that agree with the fixed bits.
(That adjacent-neighbour NK landscapes yield to dynamic programming: Wright, Thompson and Zhang,
IEEE Transactions on Evolutionary Computation 4, 2000.)
"""

import dataclasses
import heapq

import numpy as np

LAPS = 8  # at most; potentials change little after that


@dataclasses.dataclass(frozen=True)
class _Path:
  """The best path under a restriction; start, end: its first and last window.

  mask, fixed: which bits of both windows are fixed, and to what.
  """

  value: float
  start: int
  end: int
  mask: int = 0
  fixed: int = 0

  def __lt__(self, other: '_Path') -> bool:
    return self.value > other.value


def maximum(tables: np.ndarray) -> list[int]:
  """The best bits. tables: [n, 2^(k+1)], f_i at the number that its bits write, x_i first."""
  if tables.shape[1] == 2:
    return tables.argmax(axis=1).tolist()  # no neighbours
  potential = np.zeros(tables.shape[1] // 2)
  for _ in range(LAPS):
    best, origin = _around(tables, potential)
    path = _best_path(best - potential, origin)
    if path.start == path.end:
      return _bits(tables, path.start)
    potential = best - best.max()
  return _bits(tables, _branched(tables, potential).start)


def _branched(tables: np.ndarray, potential: np.ndarray) -> _Path:
  """The best path that closes."""
  heap = [_restricted(tables, potential, 0, 0)]
  while (path := heapq.heappop(heap)).start != path.end:
    bit = 1 << ((path.start ^ path.end).bit_length() - 1)
    for value in (0, bit):
      child = _restricted(tables, potential, path.mask | bit, path.fixed | value)
      heapq.heappush(heap, child)
  return path


def _restricted(tables: np.ndarray, potential: np.ndarray, mask: int, fixed: int) -> _Path:
  allowed = (np.arange(len(potential)) & mask) == fixed
  best, origin = _around(tables, np.where(allowed, potential, -np.inf))
  gains = np.where(allowed, best - potential, -np.inf)
  return dataclasses.replace(_best_path(gains, origin), mask=mask, fixed=fixed)


def _best_path(gains: np.ndarray, origin: np.ndarray) -> _Path:
  end = int(gains.argmax())
  return _Path(float(gains[end]), int(origin[end]), end)


def _around(tables: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Once around the ring: the best value of a path to each window, and where that path began.

  best: [2^k], value of the first windows. A step appends a bit to the window and drops its first.
  Axes: the bit that is dropped, the bits that stay, the bit that is new.
  """
  origin = np.arange(len(best), dtype=np.int32)
  for table in tables:
    both = best.reshape(2, -1, 1) + table.reshape(2, -1, 2)
    came = origin.reshape(2, -1, 1)
    best = np.maximum(both[0], both[1]).reshape(-1)
    origin = np.where(both[1] > both[0], came[1], came[0]).reshape(-1)
  return best, origin


def _bits(tables: np.ndarray, window: int) -> list[int]:
  """The best ring that begins and ends with `window`, followed back from its end."""
  half = tables.shape[1] // 2
  best = np.full(half, -np.inf)
  best[window] = 0.0
  dropped = []
  for table in tables:
    both = np.repeat(best, 2) + table
    dropped.append(both[half:] > both[:half])
    best = np.maximum(both[:half], both[half:])
  bits = []
  for choice in reversed(dropped):
    first = int(choice[window])
    bits.append(first)
    window = (first * half + window) >> 1
  return bits[::-1]
