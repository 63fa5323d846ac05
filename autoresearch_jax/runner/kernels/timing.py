"""Times two functions in interleaved pairs.

Each pair is one call of either, back to back, in alternating order, so that a machine that changes
slows both down. Inputs come from several sets, which together are larger than the caches, and the
two calls of a pair get different sets: neither finds its inputs in a cache because the other has
just read them. Both functions get every set in turn. A call ends when its outputs are complete.
"""

import dataclasses
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

MIN_PAIRS = 5
NORMAL_95 = 1.96  # quantile of the interval
# Caches larger than this are shared by many cores, and filling them takes too long.
MAX_CACHE_BYTES = 64 * 2**20
MIN_SETS, MAX_SETS = 4, 256
_CPU_CACHES = pathlib.Path('/sys/devices/system/cpu/cpu0/cache')
_UNITS = {'K': 2**10, 'M': 2**20, 'G': 2**30}

Timed = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Timing:
  """Seconds of both calls of each pair.

  Attributes:
    kernel: Of the kernel.
    reference: Of the reference.
  """

  kernel: tuple[float, ...]
  reference: tuple[float, ...]

  @property
  def ratios(self) -> list[float]:
    return sorted(a / b for a, b in zip(self.kernel, self.reference, strict=True))

  def metrics(self) -> dict[str, float]:
    """The median ratio with its 95 % interval, from order statistics, and the median times."""
    ratios = self.ratios
    half = NORMAL_95 * math.sqrt(len(ratios)) / 2
    low = max(0, math.floor(len(ratios) / 2 - half))
    high = min(len(ratios) - 1, math.ceil(len(ratios) / 2 + half))
    return {
      'relative_time': statistics.median(ratios),
      'relative_time_low': ratios[low],
      'relative_time_high': ratios[high],
      'kernel_ms': 1000 * statistics.median(self.kernel),
      'reference_ms': 1000 * statistics.median(self.reference),
    }


def time_pairs(
  kernel: Timed,
  reference: Timed,
  sets: Sequence[Sequence[Any]],
  is_over: Callable[[int, float], bool],
  on_pair: Callable[[int, int, Any, float], None],
) -> Timing:
  """Times pairs of calls.

  Args:
    kernel: A compiled function.
    reference: Another one that takes the same arguments.
    sets: Arguments on the device; the calls rotate through them.
    is_over: (pairs so far, seconds since the first one) -> whether to stop.
    on_pair: Called after each pair, outside of the timed calls, with its number, the index of the
      kernel's set, the kernel's outputs, and the ratio of the times.
  """
  functions = kernel, reference
  for function in functions:  # the first call of an executable is slower
    jax.block_until_ready(function(*sets[0]))
  times: tuple[list[float], list[float]] = ([], [])
  began, count = time.perf_counter(), 0
  while count < MIN_PAIRS or not is_over(count, time.perf_counter() - began):
    own, other = _sets_of(count, len(sets))
    outputs: list[Any] = [None, None]  # both live until the pair ends, or one would reuse memory
    for is_reference in (True, False) if count % 2 else (False, True):
      arguments = sets[other if is_reference else own]
      start = time.perf_counter()
      outputs[is_reference] = jax.block_until_ready(functions[is_reference](*arguments))
      times[is_reference].append(time.perf_counter() - start)
    on_pair(count, own, outputs[0], times[0][-1] / times[1][-1])
    count += 1
  return Timing(tuple(times[0]), tuple(times[1]))


def _sets_of(pair: int, count: int) -> tuple[int, int]:
  """Indices of the kernel's and of the reference's set, which swap on each round through them."""
  rounds, first = divmod(2 * pair, count)
  second = (first + 1) % count
  swapped = count % 2 == 0 and rounds % 2 == 1  # an odd number of sets alternates by itself
  return (second, first) if swapped else (first, second)


def num_sets(set_bytes: int, platform: str) -> int:
  """How many sets of inputs are twice as large as the caches together."""
  needed = math.ceil(2 * cache_bytes(platform) / max(1, set_bytes))
  return min(max(MIN_SETS, needed), MAX_SETS)


def cache_bytes(platform: str) -> int:
  """Bytes of the last cache in front of the memory, MAX_CACHE_BYTES at most."""
  if platform != 'cpu':
    return MAX_CACHE_BYTES
  sizes = []
  for file in _CPU_CACHES.glob('index*/size'):
    text = file.read_text().strip()
    if text[:-1].isdigit():
      sizes.append(int(text[:-1]) * _UNITS.get(text[-1], 1))
  return min(max(sizes, default=MAX_CACHE_BYTES), MAX_CACHE_BYTES)
