"""Byte-pair encoding: trained with rustbpe, applied with tiktoken, stored as JSON.

A vocabulary holds the 256 bytes, the merges, and four special tokens at its end, the first of which
starts every document. Used while data are prepared; training reads tokens only.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import msgspec
import numpy as np
import rustbpe
import tiktoken

# GPT-4's split with runs of at most two digits, as the original has it: a small vocabulary would
# waste too many tokens on three-digit numbers.
PATTERN = (
  r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
  r'| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+'
)
SPECIALS = tuple(f'<|reserved_{i}|>' for i in range(4))
DOCUMENT_CHARACTERS = 10_000  # longer documents are cut to this for training the tokenizer
TRAINING_CHARACTERS = 1_000_000_000
SMALLEST = 256 + len(SPECIALS)
BYTES = frozenset(bytes([byte]) for byte in range(256))
BATCH = 256  # documents handed to the encoder's threads at a time
LARGEST = 1 << 16  # token ids are stored as uint16


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A trained vocabulary.

  Attributes:
    tokens: Bytes of each ordinary token, by id. Special tokens take the ids after those.
    pattern: Regular expression that splits text before merging.
  """

  tokens: tuple[bytes, ...]
  pattern: str = PATTERN

  def __post_init__(self) -> None:
    if len(set(self.tokens)) != len(self.tokens) or not BYTES.issubset(self.tokens):
      raise ValueError('The tokenizer needs every byte as a token, and no token twice.')

  @property
  def vocab_size(self) -> int:
    return len(self.tokens) + len(SPECIALS)

  @property
  def document_start(self) -> int:
    """The id of the token that starts every document."""
    return len(self.tokens)

  @property
  def token_bytes(self) -> np.ndarray:
    """UTF-8 bytes of each token, int32 `[vocab]`; 0 for special tokens.

    Read from the table, since a token that is part of a character decodes to a replacement
    character of three bytes.
    """
    return np.array([*map(len, self.tokens), *([0] * len(SPECIALS))], np.int32)

  def encode(self, documents: Iterable[str], threads: int) -> Iterator[np.ndarray]:
    """Yields each document's tokens after a document-start token: uint16 `[length]`, in order.

    Text that looks like a special token is encoded as ordinary text.
    """
    for texts in _batches(documents, BATCH):
      for tokens in self._encoding.encode_ordinary_batch(texts, num_threads=threads):
        yield np.array([self.document_start, *tokens], np.uint16)

  @functools.cached_property
  def _encoding(self) -> tiktoken.Encoding:
    ranks = {token: rank for rank, token in enumerate(self.tokens)}
    specials = {name: len(ranks) + i for i, name in enumerate(SPECIALS)}
    return tiktoken.Encoding(
      'autoresearch', pat_str=self.pattern, mergeable_ranks=ranks, special_tokens=specials
    )

  def decode(self, tokens: Sequence[int]) -> bytes:
    """The bytes that `tokens` stand for, without special tokens."""
    return b''.join(self.tokens[t] for t in tokens if t < len(self.tokens))

  def save(self, path: pathlib.Path) -> None:
    path.write_bytes(msgspec.json.encode({'pattern': self.pattern, 'tokens': self.tokens}))

  @classmethod
  def load(cls, path: pathlib.Path) -> Self:
    """Reads a stored tokenizer. Raises ValueError when the file is none."""
    try:
      return msgspec.json.decode(path.read_bytes(), type=cls)
    except msgspec.DecodeError as error:
      raise ValueError(f'{path} is not a tokenizer: {error}.') from None


def train(documents: Iterable[str], vocab_size: int, characters: int) -> Tokenizer:
  """Trains a tokenizer.

  Args:
    documents: Text; each document is cut to DOCUMENT_CHARACTERS.
    vocab_size: Tokens, the special ones included.
    characters: Of the text, at most, from its beginning.

  Raises:
    ValueError: The size is out of range, or the text gives fewer tokens.
  """
  if not SMALLEST < vocab_size <= LARGEST:
    raise ValueError(f'vocab_size is {vocab_size}; it must be above {SMALLEST}, at most {LARGEST}.')
  logging.getLogger('rustbpe').setLevel(logging.WARNING)  # else a line for each percent
  trainer = rustbpe.Tokenizer()  # pyright: ignore[reportAttributeAccessIssue] - has no stubs
  ids = vocab_size - len(SPECIALS)
  trainer.train_from_iterator(_limited(documents, characters), ids, pattern=PATTERN)
  ranks = sorted(trainer.get_mergeable_ranks(), key=lambda pair: pair[1])
  if len(ranks) != ids:
    raise ValueError(
      f'The text yields only {len(ranks) + len(SPECIALS)} tokens; vocab_size is {vocab_size}. '
      'Use a smaller vocabulary or more text.'
    )
  return Tokenizer(tuple(bytes(token) for token, _ in ranks))


def _limited(documents: Iterable[str], characters: int) -> Iterator[str]:
  left = characters
  for document in documents:
    if left <= 0:
      return
    text = document[: min(DOCUMENT_CHARACTERS, left)]
    left -= len(text)
    yield text


def _batches(documents: Iterable[str], size: int) -> Iterator[list[str]]:
  batch: list[str] = []
  for document in documents:
    batch.append(document)
    if len(batch) == size:
      yield batch
      batch = []
  if batch:
    yield batch
