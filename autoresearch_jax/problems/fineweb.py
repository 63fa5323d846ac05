"""FineWeb in GPT-2's tokens: the data of llm.c's GPT-2 and of the modded-nanogpt speedrun.

`autoresearch prepare --corpus=fineweb` downloads them. Rows are cut from the stream of tokens, as
there; a document may begin anywhere in a row, after token 50256.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import packing, shards
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same tokens become
VOCAB_SIZE = 50257  # of GPT-2


@PROBLEMS.register('fineweb')
@dataclasses.dataclass(frozen=True)
class FineWeb(Problem):
  """Language modelling on FineWeb in GPT-2's tokens, scored in nats per token.

  Attributes:
    shards: Training shards that are used, 100 million tokens each; there are 103.
    sequence_length: Tokens that a row predicts.
    validation_tokens: Targets in the validation split, a multiple of a batch's tokens: the first of
      the validation shard. llm.c and the speedrun have 10,485,760.
    test_tokens: Targets in the test split, from the same shard's end; 0: no test split.
    evaluation_batch: Rows per call of `predict`.
  """

  shards: int = 10
  sequence_length: int = 1024
  validation_tokens: int = 10_485_760
  test_tokens: int = 0
  evaluation_batch: int = 16

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      least = 0 if name == 'test_tokens' else 1
      if value < least:
        raise ValueError(f'config.data.{name} is {value}; it must be at least {least}.')
    if self.shards > shards.FINEWEB.training:
      raise ValueError(
        f'config.data.shards is {self.shards}; it must be at most {shards.FINEWEB.training}.'
      )
    splits = {'validation_tokens': self.validation_tokens, 'test_tokens': self.test_tokens}
    packing.require_whole_batches(splits, self.evaluation_batch, self.sequence_length)

  def shapes(self) -> dict[str, Any]:
    return {
      'kind': 'language_model',
      'vocab_size': VOCAB_SIZE,
      'sequence_length': self.sequence_length,
    }

  def metrics(self) -> Mapping[str, Direction]:
    return {'val_loss': 'minimize'}

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Cuts the rows on first use. Raises shards.MissingShards, ValueError."""
    paths = shards.present(shards.FINEWEB, cache / 'fineweb', self.shards)
    key = self._key(paths)
    folder, content = caching.folder(
      cache / 'fineweb_rows', key[:16], lambda making: self._make(paths, making, say), say
    )
    return Dataset(
      kind='language_model',
      train=str(folder / 'train'),
      validation=str(folder / 'validation'),
      evaluation_batch=self.evaluation_batch,
      fingerprint=hashlib.sha256(f'{key} {content}'.encode()).hexdigest(),
      test=str(folder / caching.TEST_FOLDER) if self.test_tokens else '',
    )

  def hidden(self) -> tuple[pathlib.Path, ...]:
    home = caching.directory()
    return (home / 'fineweb', home / 'fineweb_rows')

  def _key(self, paths: list[pathlib.Path]) -> str:
    """SHA-256 of everything that the stored data depend on, so not of `evaluation_batch`."""
    options = dataclasses.asdict(self) | {'evaluation_batch': None}
    records = shards.Manifest.read(paths[0].parent).records
    parts = (FORMAT, options, [(path.name, records[path.name].sha256) for path in paths])
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

  def _make(
    self, paths: list[pathlib.Path], folder: pathlib.Path, say: Callable[[str], None]
  ) -> None:
    length = self.sequence_length + 1
    held_out = shards.tokens(paths[-1])
    if len(held_out) < self.validation_tokens + self.test_tokens + 2:
      raise ValueError(
        f'{paths[-1].name} has {len(held_out):,} tokens; config.data.validation_tokens and '
        f'test_tokens need {self.validation_tokens + self.test_tokens + 2:,}. Lower them.'
      )
    splits = {'validation': [held_out[: self.validation_tokens + 1]]}
    if self.test_tokens:
      splits[caching.TEST_FOLDER] = [held_out[-self.test_tokens - 1 :]]
    counts = {}
    for name, parts in (splits | {'train': map(shards.tokens, paths[:-1])}).items():
      (folder / name).mkdir()
      rows = packing.write(windows(parts, length), folder / name / 'rows.npy', length)
      counts[name] = rows * self.sequence_length
    say(f'Prepared {counts["train"]:,} training tokens in rows of {length}.')


def windows(parts: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
  """Cuts each part into rows, whose last token is the next row's first; the rest is dropped.

  Args:
    parts: Streams of tokens, `[tokens]`.
    length: Tokens of a row, with the first input and the last target.
  """
  for tokens in parts:
    for start in range(0, len(tokens) - length + 1, length - 1):
      yield tokens[start : start + length]
