"""Best-fit packing of tokenized documents into full rows, without padding.

As in the original: from a buffer of 1,000 documents a row takes the largest that fits into its
remaining space. When none fits, the shortest is cropped to fill the row, and its rest is dropped.
Every document starts with the document-start token, so every row does.
"""

import bisect
import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

BUFFER = 1000
WRITE_ROWS = 4096  # rows handed to the file at a time


@dataclasses.dataclass(frozen=True)
class Packed:
  """Where the tokens went: into full rows, cropped, or left over in the last, incomplete row.

  Attributes:
    rows: Full rows.
    documents: Documents read.
    tokens: Tokens of those documents.
    cropped: Tokens dropped to fill a row.
    left_over: Tokens in the last, incomplete row.
  """

  rows: int
  documents: int
  tokens: int
  cropped: int
  left_over: int


class _Buffer:
  """Documents sorted by length, then by arrival."""

  def __init__(self) -> None:
    self._keys: list[tuple[int, int]] = []  # (length, arrival), sorted
    self._documents: dict[int, np.ndarray] = {}
    self.arrived = 0

  def __len__(self) -> int:
    return len(self._keys)

  def add(self, document: np.ndarray) -> None:
    bisect.insort(self._keys, (len(document), self.arrived))
    self._documents[self.arrived] = document
    self.arrived += 1

  def take(self, space: int) -> np.ndarray:
    """The largest document of at most `space` tokens, or the shortest when none fits."""
    above = bisect.bisect_left(self._keys, (space + 1, -1))
    place = bisect.bisect_left(self._keys, (self._keys[above - 1][0], -1)) if above else 0
    _, arrival = self._keys.pop(place)
    return self._documents.pop(arrival)


class Packer:
  """Iterates over full rows, uint16 `[length]`; afterwards `result` has the token counts.

  Args:
    documents: uint16 arrays, each starting with the document-start token.
    length: Tokens in a row.
    buffer: Documents to choose from.
  """

  def __init__(self, documents: Iterable[np.ndarray], length: int, buffer: int = BUFFER):
    if length < 2:
      raise ValueError(f'Rows of {length} tokens hold no pair of input and target.')
    self._documents = iter(documents)
    self._length = length
    self._capacity = buffer
    self._waiting = _Buffer()
    self.result = Packed(0, 0, 0, 0, 0)

  def __iter__(self) -> Iterator[np.ndarray]:
    rows = cropped = tokens = filled = 0
    row = np.empty(self._length, np.uint16)
    while self._refill():
      document = self._waiting.take(self._length - filled)
      taken = min(len(document), self._length - filled)
      row[filled : filled + taken] = document[:taken]
      filled += taken
      tokens += len(document)
      cropped += len(document) - taken
      if filled == self._length:
        yield row
        row, filled, rows = np.empty(self._length, np.uint16), 0, rows + 1
    self.result = Packed(rows, self._waiting.arrived, tokens, cropped, filled)

  def _refill(self) -> int:
    missing = self._capacity - len(self._waiting)
    for document in itertools.islice(self._documents, missing):
      if len(document):
        self._waiting.add(document)
    return len(self._waiting)


def cut(documents: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
  """Splits documents into pieces of at most `length` tokens, each with its own document start.

  For rows much shorter than the original's: with whole files and rows of 256 tokens, nine tenths
  of the text would be cropped.
  """
  for document in documents:
    if len(document) <= length:
      yield document
      continue
    for start in range(1, len(document), length - 1):
      yield np.concatenate([document[:1], document[start : start + length - 1]])


def require_whole_batches(
  splits: Mapping[str, int], evaluation_batch: int, sequence_length: int
) -> None:
  """Raises ValueError for a split whose tokens do not fill batches of `predict`.

  Args:
    splits: Tokens of each split, by the option in config.data.
    evaluation_batch: Rows of a batch.
    sequence_length: Tokens that a row predicts.
  """
  batch = evaluation_batch * sequence_length
  for name, tokens in splits.items():
    if tokens % batch:
      below = max(1, tokens // batch) * batch
      raise ValueError(
        f'config.data.{name} is {tokens}, not a multiple of evaluation_batch x sequence_length = '
        f'{batch}; {below} would be.'
      )


def write(rows: Iterable[np.ndarray], path: pathlib.Path, length: int) -> int:
  """Streams rows to a .npy file, uint16 `[rows, length]`, and returns their number.

  The header is rewritten at the end, when the number is known; numpy pads it for that.
  """
  count = 0
  rows = iter(rows)
  with path.open('wb') as file:
    header_bytes = _header(file, 0, length)
    while block := list(itertools.islice(rows, WRITE_ROWS)):
      file.write(np.stack(block).astype('<u2', copy=False).tobytes())
      count += len(block)
    file.seek(0)
    if _header(file, count, length) != header_bytes:
      raise RuntimeError(f'The header of {path} does not fit into the space reserved for it.')
  return count


def _header(file, rows: int, length: int) -> int:
  header = {'descr': '<u2', 'fortran_order': False, 'shape': (rows, length)}
  np.lib.format.write_array_header_1_0(file, header)
  return file.tell()
