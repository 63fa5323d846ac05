"""A short vector for a program's text, in which nearness means few differing lines.

Each line, its numbers rounded to two significant digits, is hashed to PLACES of SIZE places of a
vector, with a sign (feature hashing: Weinberger and others, 2009, arXiv 0902.2206). A program's
sketch is the sum over its lines, so equal lines cancel in the difference of two sketches and only
what differs is left: PLACES times the number of differing lines is about its squared length.

Programs of one run are nearly equal, so texts as wholes are no measure of novelty. Two programs
are *near-duplicates* when their differences from the start have a cosine above a threshold.
"""

import collections
import dataclasses
import functools
import hashlib
import re
from typing import Self

import numpy as np

from autoresearch_jax.types import Program

SIZE, PLACES = 128, 4
# A number that stands alone: no part of a name, and no string of digits in quotes.
_NUMBER = re.compile(
  r"""(?<![\w.'"])\d+\.?\d*(?:[eE][-+]?\d+)?|(?<![\w.'"])\.\d+(?:[eE][-+]?\d+)?"""
)


@dataclasses.dataclass(frozen=True)
class Sketch:
  """data: int16 [SIZE], as bytes so that a state with sketches is plain data."""

  data: bytes = bytes(2 * SIZE)

  @classmethod
  def of(cls, program: Program) -> Self:
    return cls(_sketched(program.files))

  @property
  def array(self) -> np.ndarray:
    return np.frombuffer(self.data, np.int16)


def direction(program: Program, start: Sketch) -> bytes:
  """The difference of a program's sketch from the start's, of length 1: float32 [SIZE + 1].

  The last place is 1 when nothing differs. The product of two directions is their cosine.
  """
  difference = np.append(Sketch.of(program).array.astype(np.float32) - start.array, 0)
  length = np.linalg.norm(difference)
  if length == 0:
    difference[-1] = length = 1
  return (difference / length).astype(np.float32).tobytes()


def cosines(one: bytes, others: tuple[bytes, ...]) -> np.ndarray:
  """Cosines between a direction and others. float32 [n]."""
  return _stacked(others, np.float32) @ np.frombuffer(one, np.float32)


def differing(sketch: Sketch, others: tuple[Sketch, ...]) -> np.ndarray:
  """About how many lines differ, from one program to each of the others. float32 [n]."""
  theirs = _stacked(tuple(other.data for other in others), np.int16).astype(np.float32)
  return np.square(theirs - sketch.array).sum(axis=1) / PLACES


def _stacked(rows: tuple[bytes, ...], kind: type) -> np.ndarray:
  return np.frombuffer(b''.join(rows), kind).reshape(len(rows), -1)


@functools.lru_cache(maxsize=256)  # a wrapper and its inner strategy look at the same trial
def _sketched(files: tuple[tuple[str, str], ...]) -> bytes:
  sums = np.zeros(SIZE, np.int64)
  for _, text in files:
    for line, times in collections.Counter(text.splitlines()).items():
      for place, sign in _places(line):
        sums[place] += sign * times
  return np.clip(sums, -(2**15), 2**15 - 1).astype(np.int16).tobytes()


@functools.lru_cache(maxsize=2**14)
def _places(line: str) -> tuple[tuple[int, int], ...]:
  """(place, sign) of a line's features; none for an empty one."""
  line = _NUMBER.sub(lambda number: f'{float(number[0]):.2g}', line.rstrip())
  if not line:
    return ()
  digest = hashlib.blake2b(line.encode(), digest_size=2 * PLACES).digest()
  numbers = [int.from_bytes(digest[2 * n : 2 * n + 2], 'little') for n in range(PLACES)]
  return tuple((number % SIZE, 1 if number // SIZE % 2 else -1) for number in numbers)
