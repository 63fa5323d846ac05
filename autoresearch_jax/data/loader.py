"""Batches for the runner: shuffled and endless for training, in fixed order for evaluation.

Grain prefetches from the memory map in threads. The batches depend on the seed alone, not on
threads, process or machine. Grain imports jax, so it is imported only when training batches are
requested: the controller may import this module.
"""

import contextlib
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from autoresearch_jax.types import Dataset

Batch = dict[str, np.ndarray]
THREADS = 2
GATHERED = 256  # examples read at once, or one batch if that is larger
AHEAD = 8  # such reads are prefetched
ENDLESS = 1 << 48  # examples; grain's own endless repeat overflows with batches of one


def batches(
  dataset: Dataset,
  batch_size: int,
  sequence_length: int,
  seed: int,
  *,
  threads: int = THREADS,
  skip: int = 0,
) -> Iterator[Batch]:
  """Endless training batches, reshuffled every epoch. Close the iterator to end its threads.

  Args:
    dataset: Prepared data.
    batch_size: Examples a batch.
    sequence_length: Tokens to which rows are cut; ignored unless it is a language model.
    seed: Decides the order.
    threads: That read ahead.
    skip: Examples to skip first.

  Returns:
    Dicts of `inputs` and `targets`. Language models: int32 `[batch, time]` twice. Supervised
    problems: float32 `[batch, *input_shape]`, and int32 `[batch]` or, in regression, float32
    `[batch, ...]`. Constructions: float32 `[0]` twice, since they need no data.

  Raises:
    ValueError: Rows are shorter than `sequence_length`.
    FileNotFoundError: The data are missing.
  """
  if dataset.kind == 'construction':
    return itertools.repeat(dict.fromkeys(('inputs', 'targets'), np.zeros(0, np.float32)))
  import grain  # noqa: PLC0415 - it imports jax

  examples, gather = _open(dataset, dataset.train, sequence_length)
  if not examples:
    raise ValueError(f'There are no training rows in {dataset.train}.')

  # One grain element holds several batches of a small model, since an element costs more than its
  # train step.
  together = max(1, GATHERED // batch_size)
  order, size = _order(examples, seed), together * batch_size

  def read(number: int) -> list[Batch]:
    gathered = gather(order(skip + number * size, size))
    parts = (slice(i, i + batch_size) for i in range(0, size, batch_size))
    return [{name: array[part] for name, array in gathered.items()} for part in parts]

  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD)
  numbers = grain.MapDataset.range(ENDLESS // size)
  return _closed_after(numbers.map(read).to_iter_dataset(options))


def _order(examples: int, seed: int) -> Callable[[int, int], np.ndarray]:
  """A function `(start, count)` -> indices, an endless sequence of shuffled epochs.

  Grain's own shuffle takes 10 microseconds an index, longer than a small model's train step.
  """

  @functools.lru_cache(maxsize=2)
  def epoch(number: int) -> np.ndarray:
    return np.random.default_rng((seed, number)).permutation(examples)

  def indices(start: int, count: int) -> np.ndarray:
    parts = []
    while count:
      number, offset = divmod(start, examples)
      parts.append(epoch(number)[offset : offset + count])
      start, count = start + len(parts[-1]), count - len(parts[-1])
    return np.concatenate(parts)

  return indices


def validation(dataset: Dataset, on_test: bool = False) -> Iterator[Batch]:
  """The validation split in stored order, in batches of `dataset.evaluation_batch`.

  The last batch of a supervised problem is filled up with the first examples.

  Args:
    dataset: Prepared data.
    on_test: Whether to read the test split instead.

  Raises:
    ValueError: The batch size does not divide the rows of a language model.
    FileNotFoundError: The data are missing.
  """
  size, name = dataset.evaluation_batch, 'test' if on_test else 'validation'
  examples, gather = _held_out(dataset, on_test)
  if size < 1 or (examples % size and dataset.kind == 'language_model'):
    raise ValueError(
      f'The {name} split has {examples} rows, which batches of {size} do not divide; '
      'change evaluation_batch.'
    )
  for start in range(0, examples, size):
    yield gather(np.arange(start, start + size) % examples)


def held_out_examples(dataset: Dataset, on_test: bool = False) -> int:
  """The number of examples (rows) in the validation split, or in the test split."""
  return _held_out(dataset, on_test)[0]


def _held_out(dataset: Dataset, on_test: bool) -> tuple[int, Callable[[np.ndarray], Batch]]:
  """The examples of a held-out split, as `_open` returns them. Raises FileNotFoundError."""
  name, folder = ('test', dataset.test) if on_test else ('validation', dataset.validation)
  if not folder or not pathlib.Path(folder).exists():
    raise FileNotFoundError(f'The {name} data are missing: {folder or "none were held back"}.')
  return _open(dataset, folder, None)


def _closed_after(ahead: Any) -> Iterator[Batch]:
  with contextlib.closing(iter(ahead)) as batches_ahead:
    yield from itertools.chain.from_iterable(batches_ahead)


def _open(
  dataset: Dataset, folder: str, sequence_length: int | None
) -> tuple[int, Callable[[np.ndarray], Batch]]:
  """The number of examples in a split, and a function that reads some of them by index."""
  if dataset.kind == 'language_model':
    return _open_rows(pathlib.Path(folder, 'rows.npy'), sequence_length)
  inputs = np.load(pathlib.Path(folder, 'inputs.npy'), mmap_mode='r')
  targets = np.load(pathlib.Path(folder, 'targets.npy'), mmap_mode='r')
  kind = np.float32 if targets.dtype.kind == 'f' else np.int32

  def gather(indices: np.ndarray) -> Batch:
    return {
      'inputs': inputs[indices].astype(np.float32, copy=False),
      'targets': targets[indices].astype(kind, copy=False),
    }

  return len(inputs), gather


def _open_rows(
  path: pathlib.Path, sequence_length: int | None
) -> tuple[int, Callable[[np.ndarray], Batch]]:
  rows = np.load(path, mmap_mode='r')  # [rows, longest + 1]
  longest = rows.shape[1] - 1
  time = longest if sequence_length is None else sequence_length
  if not 1 <= time <= longest:
    raise ValueError(
      f'Sequences of {time} tokens were asked for; the rows in {path} have 1 to {longest}.'
    )

  def gather(indices: np.ndarray) -> Batch:
    chosen = rows[indices, : time + 1].astype(np.int32)
    return {
      'inputs': np.ascontiguousarray(chosen[:, :-1]),
      'targets': np.ascontiguousarray(chosen[:, 1:]),
    }

  return len(rows), gather
