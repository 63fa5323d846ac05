"""Program embeddings in which similar programs are close, computed without a language model.

Each line, its numbers rounded to two significant digits, is hashed to HASHES_PER_LINE positions of
a vector with DIMENSION entries, each with a sign (feature hashing: Weinberger et al., 2009, arXiv
0902.2206). A program's embedding is the sum over its lines. Equal lines cancel in the difference
of two embeddings, and its squared length is about HASHES_PER_LINE times the number of differing
lines.

Programs of one run are nearly equal, so comparing whole texts says little about novelty. Two
programs are near-duplicates when their differences from the start have a cosine similarity above
a threshold.
"""

import collections
import dataclasses
import functools
import hashlib
import re
from typing import Self

import numpy as np

from autoresearch_jax.types import Program

DIMENSION, HASHES_PER_LINE = 128, 4
# A number on its own: not part of a name, and not digits inside quotes.
_NUMBER = re.compile(
  r"""(?<![\w.'"])\d+\.?\d*(?:[eE][-+]?\d+)?|(?<![\w.'"])\.\d+(?:[eE][-+]?\d+)?"""
)


@dataclasses.dataclass(frozen=True)
class Embedding:
  """A program as a vector.

  Attributes:
    data: int16 [DIMENSION], as bytes so that states holding embeddings are plain data.
  """

  data: bytes = bytes(2 * DIMENSION)

  @classmethod
  def of(cls, program: Program) -> Self:
    return cls(_embedded(program.files))

  @property
  def array(self) -> np.ndarray:
    return np.frombuffer(self.data, np.int16)


def edit_direction(program: Program, start: Embedding) -> bytes:
  """Returns the normalised difference between a program's embedding and the start's.

  The dot product of two directions is their cosine similarity.

  Returns:
    float32 [DIMENSION + 1] as bytes, of length 1. The last entry is 1 when nothing differs.
  """
  difference = np.append(Embedding.of(program).array.astype(np.float32) - start.array, 0)
  length = np.linalg.norm(difference)
  if length == 0:
    difference[-1] = length = 1
  return (difference / length).astype(np.float32).tobytes()


def cosine_similarities(direction: bytes, others: tuple[bytes, ...]) -> np.ndarray:
  """Cosine similarities between one direction and others. float32 [n]."""
  return _stacked(others, np.float32) @ np.frombuffer(direction, np.float32)


def num_differing_lines(embedding: Embedding, others: tuple[Embedding, ...]) -> np.ndarray:
  """Approximate number of differing lines between one program and others. float32 [n]."""
  stacked = _stacked(tuple(other.data for other in others), np.int16).astype(np.float32)
  return np.square(stacked - embedding.array).sum(axis=1) / HASHES_PER_LINE


def _stacked(rows: tuple[bytes, ...], dtype: type) -> np.ndarray:
  return np.frombuffer(b''.join(rows), dtype).reshape(len(rows), -1)


@functools.lru_cache(maxsize=256)  # a wrapper and its inner strategy embed the same trial
def _embedded(files: tuple[tuple[str, str], ...]) -> bytes:
  sums = np.zeros(DIMENSION, np.int64)
  for _, text in files:
    for line, count in collections.Counter(text.splitlines()).items():
      for position, sign in _features(line):
        sums[position] += sign * count
  return np.clip(sums, -(2**15), 2**15 - 1).astype(np.int16).tobytes()


@functools.lru_cache(maxsize=2**14)
def _features(line: str) -> tuple[tuple[int, int], ...]:
  """Returns (position, sign) of each hashed feature of a line; none for an empty line."""
  line = _NUMBER.sub(lambda number: f'{float(number[0]):.2g}', line.rstrip())
  if not line:
    return ()
  digest = hashlib.blake2b(line.encode(), digest_size=2 * HASHES_PER_LINE).digest()
  hashes = [int.from_bytes(digest[2 * n : 2 * n + 2], 'little') for n in range(HASHES_PER_LINE)]
  return tuple((value % DIMENSION, 1 if value // DIMENSION % 2 else -1) for value in hashes)
