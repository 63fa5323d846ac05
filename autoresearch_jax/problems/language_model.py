"""Language modelling: a corpus, a tokenizer and packed rows, scored in bits per byte.

The original's setting is `corpus='climbmix'` with its numbers. `corpus='python'` is for CPUs: small
enough to be prepared in seconds on first use.
"""

import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import corpus as corpora
from autoresearch_jax.data import packing, shards
from autoresearch_jax.data import tokenizer as tokenizers
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same text becomes
# Of the held-out documents, those whose digest begins with this byte or a larger one: a quarter.
FIRST_TEST_BYTE = 0xC0
STORED_NAMES = {'test_tokens': 'locked_tokens'}  # of options, in the key


@PROBLEMS.register('language_model')
@dataclasses.dataclass(frozen=True)
class LanguageModel(Problem):
  """Language modelling on a text corpus.

  Attributes:
    corpus: `python` (text that ships with Python) or `climbmix` (to be downloaded first).
    vocab_size: Tokens, the four special ones included.
    sequence_length: Tokens that a row predicts.
    validation_tokens: Targets in the validation split, a multiple of a batch's tokens.
    test_tokens: Targets in the test split, which comes from other held-out documents and is scored
      only at the end of a run; 0: no test split.
    evaluation_batch: Rows per call of `predict`.
    shards: Training shards of ClimbMix that are used.
    tokenizer_characters: Characters that the tokenizer is trained on, at most.
  """

  corpus: Literal['python', 'climbmix'] = 'python'
  vocab_size: int = 1024
  sequence_length: int = 256
  validation_tokens: int = 131_072
  test_tokens: int = 0
  evaluation_batch: int = 32
  shards: int = 10
  tokenizer_characters: int = tokenizers.TRAINING_CHARACTERS

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      least = 0 if name == 'test_tokens' else 1
      if name != 'corpus' and value < least:
        raise ValueError(f'config.data.{name} is {value}; it must be at least {least}.')
    if not tokenizers.SMALLEST < self.vocab_size <= tokenizers.LARGEST:
      raise ValueError(
        f'config.data.vocab_size is {self.vocab_size}; it must be above '
        f'{tokenizers.SMALLEST} and at most {tokenizers.LARGEST}.'
      )
    if self.shards > shards.CLIMBMIX.training:
      raise ValueError(
        f'config.data.shards is {self.shards}; it must be at most {shards.CLIMBMIX.training}.'
      )
    splits = {'validation_tokens': self.validation_tokens, 'test_tokens': self.test_tokens}
    packing.require_whole_batches(splits, self.evaluation_batch, self.sequence_length)

  def shapes(self) -> dict[str, Any]:
    return {
      'kind': 'language_model',
      'vocab_size': self.vocab_size,
      'sequence_length': self.sequence_length,
    }

  def metrics(self) -> Mapping[str, Direction]:
    return {'val_bpb': 'minimize', 'val_loss': 'minimize'}

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Makes tokenizer and rows on first use. Raises shards.MissingShards, ValueError."""
    source = self._source(cache)
    key = self._key(source)
    folder, content = caching.folder(
      cache / 'language_model',
      f'{self.corpus}-{key[:16]}',
      lambda making: self._make(source, making, say),
      say,
    )
    return Dataset(
      kind='language_model',
      train=str(folder / 'train'),
      validation=str(folder / 'validation'),
      token_bytes=str(folder / 'token_bytes.npy'),
      evaluation_batch=self.evaluation_batch,
      fingerprint=hashlib.sha256(f'{key} {content}'.encode()).hexdigest(),
      test=str(folder / caching.TEST_FOLDER) if self.test_tokens else '',
    )

  def tokenizer(self, dataset: Dataset) -> tokenizers.Tokenizer:
    """The tokenizer of a prepared dataset."""
    return tokenizers.Tokenizer.load(pathlib.Path(dataset.train).parent / 'tokenizer.json')

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """The corpus's sources and everything in the default cache."""
    home = caching.directory()
    source = self._source(home)
    return (*source.hidden(), home / 'language_model', home / 'climbmix')

  def _source(self, cache: pathlib.Path) -> corpora.Corpus:
    if self.corpus == 'python':
      return corpora.PythonLibrary()
    return corpora.ClimbMix(cache / 'climbmix', self.shards)

  def _key(self, source: corpora.Corpus) -> str:
    """SHA-256 of everything that the stored data depend on, so not of `evaluation_batch`."""
    options = dataclasses.asdict(self) | {'evaluation_batch': None}
    if not self.test_tokens:  # then the data are those of runs from before there were any
      del options['test_tokens']
    # The key is stored with old runs, so it keeps the first name of the option, in its place.
    options = {STORED_NAMES.get(name, name): value for name, value in options.items()}
    parts = (FORMAT, options, tokenizers.PATTERN, source.fingerprint())
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

  def _make(self, source: corpora.Corpus, folder: pathlib.Path, say: Callable[[str], None]) -> None:
    say(f'Training a tokenizer of {self.vocab_size} tokens on the {self.corpus} corpus.')
    tokens = tokenizers.train(source.train(), self.vocab_size, self.tokenizer_characters)
    tokens.save(folder / 'tokenizer.json')
    np.save(folder / 'token_bytes.npy', tokens.token_bytes)
    say(f'Packing rows of {self.sequence_length + 1} tokens.')
    splits = [('validation', 'validation', self.validation_tokens)]
    if self.test_tokens:
      splits.append(('test', caching.TEST_FOLDER, self.test_tokens))
    for split, name, wanted_tokens in splits:
      wanted = wanted_tokens // self.sequence_length
      rows = self._pack(self._held_out(source, split), tokens, folder / name, wanted)
      if rows < wanted:
        raise ValueError(
          f'The {split} text of the {self.corpus} corpus gives {rows * self.sequence_length} '
          f'tokens; config.data.{split}_tokens is {wanted_tokens}. Lower it.'
        )
    rows = self._pack(source.train(), tokens, folder / 'train', None)
    say(f'Prepared {rows * self.sequence_length:,} training tokens in {rows:,} rows.')

  def _held_out(self, source: corpora.Corpus, split: str) -> Iterator[str]:
    """The held-out documents of one split, assigned by digest, so that no text is in both."""
    for text in source.validation():
      in_test = bool(self.test_tokens) and _in_test_split(text)
      if in_test == (split == 'test'):
        yield text

  def _pack(
    self,
    documents: Iterable[str],
    tokens: tokenizers.Tokenizer,
    folder: pathlib.Path,
    most: int | None,
  ) -> int:
    folder.mkdir()
    length = self.sequence_length + 1
    encoded: Iterator[np.ndarray] = tokens.encode(documents, threads=os.cpu_count() or 1)
    if self.corpus == 'python':
      encoded = packing.cut(encoded, length)
    rows = itertools.islice(packing.Packer(encoded, length), most)
    return packing.write(rows, folder / 'rows.npy', length)


def _in_test_split(text: str) -> bool:
  return hashlib.sha256(text.encode()).digest()[0] >= FIRST_TEST_BYTE
