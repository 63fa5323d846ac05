"""Language modelling on text of the user, scored in bits per byte."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import packing, text_files
from autoresearch_jax.data import tokenizer as tokenizers
from autoresearch_jax.data.content import content_digest
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same options become


@PROBLEMS.register('text')
@dataclasses.dataclass(frozen=True)
class Text(Problem):
  """Text of yours: a file, a folder, or a column of a Parquet file.

  Attributes:
    path: A UTF-8 text file, a folder of them, or a Parquet file with a document in each row.
    column: The column of a Parquet file; '' for `text`, `content` or `document`.
    tokenizer: `bytes` (a token is a byte of UTF-8) or `bpe` (byte pairs, trained on the text).
    vocab_size: Tokens of `bpe`, the four special ones included; bytes are always 260.
    sequence_length: Tokens that a row predicts.
    split: `documents` (whole ones are held out), `end` (the end of each is), or `auto`: documents
      if there are at least 20.
    validation_fraction: Share of the text that is held out for validation.
    test_fraction: Share that is scored only at the end of a run; 0: no test split.
    evaluation_batch: Rows per call of `predict`.
  """

  path: str = ''
  column: str = ''
  tokenizer: Literal['bytes', 'bpe'] = 'bytes'
  vocab_size: int = 1024
  sequence_length: int = 128
  split: text_files.TextSplit = 'auto'
  validation_fraction: float = 0.1
  test_fraction: float = 0.05
  evaluation_batch: int = 32

  def __post_init__(self) -> None:
    if not self.path:
      raise ValueError("config.data.path is empty; set it to your text, such as 'book.txt'.")
    validation, test = self.validation_fraction, self.test_fraction
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
      raise ValueError(
        f'config.data.validation_fraction is {validation} and test_fraction is {test}; the first '
        'must be above 0, and their sum below 1.'
      )
    for name in ('sequence_length', 'evaluation_batch'):
      if getattr(self, name) < 1:
        raise ValueError(f'config.data.{name} is {getattr(self, name)}; it must be at least 1.')
    if not tokenizers.SMALLEST < self.vocab_size <= tokenizers.LARGEST:
      raise ValueError(
        f'config.data.vocab_size is {self.vocab_size}; it must be above {tokenizers.SMALLEST} and '
        f'at most {tokenizers.LARGEST}.'
      )

  def shapes(self) -> dict[str, Any]:
    size = tokenizers.SMALLEST if self.tokenizer == 'bytes' else self.vocab_size
    return {
      'kind': 'language_model', 'vocab_size': size, 'sequence_length': self.sequence_length
    }  # fmt: skip

  def metrics(self) -> Mapping[str, Direction]:
    return {'val_bpb': 'minimize', 'val_loss': 'minimize', 'val_perplexity': 'minimize'}

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Makes tokenizer and rows on first use."""
    files = text_files.files_of(pathlib.Path(self.path))
    key = self._key(content_digest(files, cache / 'text'))
    folder, content = caching.folder(
      cache / 'text', key[:16], lambda making: self._make(making, say), say
    )
    held_out = np.load(folder / 'validation' / 'rows.npy', mmap_mode='r')
    return Dataset(
      kind='language_model',
      train=str(folder / 'train'),
      validation=str(folder / 'validation'),
      token_bytes=str(folder / 'token_bytes.npy'),
      evaluation_batch=min(self.evaluation_batch, len(held_out)),
      fingerprint=hashlib.sha256(f'{key} {content}'.encode()).hexdigest(),
      test=str(folder / caching.TEST_FOLDER) if self.test_fraction else '',
      metrics=tuple(self.metrics()),
    )

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """The text, and its copies in the default cache."""
    path = pathlib.Path(self.path).absolute()
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    return (*found, caching.directory() / 'text')

  def _key(self, content: str) -> str:
    """SHA-256 of everything that the stored data depend on."""
    options = dataclasses.asdict(self) | {'path': ''}
    if self.tokenizer == 'bytes':
      options['vocab_size'] = 0
    parts = (FORMAT, options, tokenizers.PATTERN, content)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

  def _make(self, folder: pathlib.Path, say: Callable[[str], None]) -> None:
    documents, skipped = text_files.read_documents(pathlib.Path(self.path), self.column)
    if skipped:
      shown = ', '.join(skipped[:3]) + (', ...' if len(skipped) > 3 else '')
      say(f'{len(skipped)} files are no UTF-8 text and were left out: {shown}')
    fractions = {'validation': self.validation_fraction, 'test': self.test_fraction}
    parts = text_files.divide(documents, self.split, fractions)
    if self.tokenizer == 'bytes':
      tokens = tokenizers.Tokenizer(tuple(bytes([byte]) for byte in range(256)))
    else:
      say(f'Training a tokenizer of {self.vocab_size} tokens.')
      tokens = tokenizers.train(parts['train'], self.vocab_size, tokenizers.TRAINING_CHARACTERS)
    tokens.save(folder / 'tokenizer.json')
    np.save(folder / 'token_bytes.npy', tokens.token_bytes)
    rows = {}
    for split in ('validation', 'test', 'train'):
      if split in parts:
        place = folder / (caching.TEST_FOLDER if split == 'test' else split)
        rows[split] = self._pack(parts[split], tokens, place, split, rows.get('validation', 0))
    say(
      f'Prepared {rows["train"] * self.sequence_length:,} training tokens from {len(documents):,} '
      f'documents; held out: {rows["validation"] * self.sequence_length:,} for validation, '
      f'{rows.get("test", 0) * self.sequence_length:,} for the test split.'
    )

  def _pack(
    self,
    texts: list[str],
    tokens: tokenizers.Tokenizer,
    folder: pathlib.Path,
    split: str,
    validation: int,
  ) -> int:
    """Writes the rows of a split, as many as whole evaluation batches take, and returns them."""
    folder.mkdir()
    length = self.sequence_length + 1
    encoded = packing.cut(tokens.encode(texts, threads=os.cpu_count() or 1), length)
    rows: Iterable[np.ndarray] = packing.Packer(encoded, length)
    if split != 'train':
      held_out = list(rows)
      # The test split has the batch of the validation split, which one call of `predict` takes.
      batch = max(1, min(self.evaluation_batch, validation or len(held_out)))
      rows = held_out[: len(held_out) // batch * batch]
    count = packing.write(rows, folder / 'rows.npy', length)
    if not count:
      raise ValueError(
        f'The {split} text gives no row of {length} tokens (or not enough for a batch of '
        f'{self.evaluation_batch}); use more text, a smaller config.data.sequence_length or '
        f'evaluation_batch, or a larger config.data.{split}_fraction.'
      )
    return count
