"""The exact maximum of a sum of functions of neighbouring bits on a ring.

    max over x in {0, 1}^n of  Σ_i f_i(x_i, x_{i+1}, ..., x_{i+k}),  indices modulo n

Dynamic programming over windows of k bits gives the best path around the ring. That path need not
be a cycle: its last window may differ from its first. Three facts lead to the best cycle:

- A path that is a cycle and has the best value of all paths is the best cycle.
- Adding a potential h of the first window and subtracting h of the last one changes the value of
  paths but not of cycles. Repeated passes (value iteration for the maximum cycle mean; Howard,
  1960) yield potentials for which the best path usually is a cycle.
- Where it still is not, best-first branch and bound fixes one bit in both windows, to 0 and to 1.
  The best path is an upper bound for all cycles that agree with the fixed bits.

(That NK landscapes with adjacent neighbours are solvable by dynamic programming: Wright, Thompson
and Zhang, IEEE Transactions on Evolutionary Computation 4, 2000.)
"""

import dataclasses
import heapq

import numpy as np

MAX_PASSES = 8  # potentials change little after that


@dataclasses.dataclass(frozen=True)
class _Path:
  """The best path under a restriction.

  Attributes:
    value: Its value, an upper bound for cycles under the restriction.
    start: Its first window, as a number.
    end: Its last window.
    mask: The bits that are fixed in both windows.
    fixed: Their values.
  """

  value: float
  start: int
  end: int
  mask: int = 0
  fixed: int = 0

  def __lt__(self, other: '_Path') -> bool:
    return self.value > other.value


def maximum(tables: np.ndarray) -> list[int]:
  """Returns the best bits, [n].

  Args:
    tables: [n, 2^(k+1)]; row i has the values of f_i, indexed by the binary number of its bits with
      x_i as the most significant one.
  """
  if tables.shape[1] == 2:
    return tables.argmax(axis=1).tolist()  # k = 0: the bits are independent
  potential = np.zeros(tables.shape[1] // 2)
  for _ in range(MAX_PASSES):
    best, origin = _around(tables, potential)
    path = _best_path(best - potential, origin)
    if path.start == path.end:
      return _bits(tables, path.start)
    potential = best - best.max()
  return _bits(tables, _best_cycle(tables, potential).start)


def _best_cycle(tables: np.ndarray, potential: np.ndarray) -> _Path:
  """Branch and bound: returns the best path that is a cycle."""
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
  """Goes around the ring once.

  A step drops a window's first bit and appends one. The axes inside are: the dropped bit, the bits
  that stay, the new bit.

  Args:
    tables: As in `maximum`.
    best: Value of each first window, [2^k].

  Returns:
    The best value of a path to each last window, [2^k], and the first window of that path, [2^k].
  """
  origin = np.arange(len(best), dtype=np.int32)
  for table in tables:
    both = best.reshape(2, -1, 1) + table.reshape(2, -1, 2)
    came = origin.reshape(2, -1, 1)
    best = np.maximum(both[0], both[1]).reshape(-1)
    origin = np.where(both[1] > both[0], came[1], came[0]).reshape(-1)
  return best, origin


def _bits(tables: np.ndarray, window: int) -> list[int]:
  """Returns the bits, [n], of the best cycle through `window`, traced back from its end."""
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
