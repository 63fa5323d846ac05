"""Batches for the runner: shuffled and endless for training, in fixed order for validation.

Grain reads the memory map ahead in threads; what comes out depends on the seed alone, not on
threads, process or machine. Grain imports jax, so it is imported when training batches are asked
for and not before: the controller may import this module.
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
GATHERED = 256  # examples gathered at once, or one batch
AHEAD = 8  # such gatherings
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
  """Training batches without end, each epoch in another order.

  Language models: inputs and targets, int32 [batch, time], rows cut to `sequence_length`.
  Supervised problems: inputs float32 [batch, *input_shape], targets int32 [batch];
  `sequence_length` is not looked at. Constructions need no data: float32 [0] twice. skip: examples
  to pass over first. Close the iterator (or drop it) to end its threads. Raises ValueError for
  rows shorter than asked, FileNotFoundError.
  """
  if dataset.kind == 'construction':
    return itertools.repeat(dict.fromkeys(('inputs', 'targets'), np.zeros(0, np.float32)))
  import grain  # noqa: PLC0415 - it imports jax

  examples, gather = _open(dataset, dataset.train, sequence_length)
  if not examples:
    raise ValueError(f'There are no training rows in {dataset.train}.')

  # One element of grain is several batches of a small model: each costs it more than such a step.
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
  """(start, count) -> so many indices from `start` on, without end: all of them in each epoch.

  Grain's own shuffle takes 10 microseconds an index, longer than a small model's step on it.
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
  """The whole validation split in its order, in batches of `dataset.evaluation_batch`.

  on_test: the test split instead. Raises ValueError when the batch does not divide the split, and
  FileNotFoundError when the data are not there.
  """
  size, name = dataset.evaluation_batch, 'test' if on_test else 'validation'
  folder = dataset.test if on_test else dataset.validation
  if not folder or not pathlib.Path(folder).exists():
    raise FileNotFoundError(f'The {name} data are missing: {folder or "none were held back"}.')
  examples, gather = _open(dataset, folder, None)
  if size < 1 or examples % size:
    raise ValueError(
      f'The {name} split has {examples} rows, which batches of {size} do not divide; '
      'change evaluation_batch.'
    )
  for start in range(0, examples, size):
    yield gather(np.arange(start, start + size))


def _closed_after(ahead: Any) -> Iterator[Batch]:
  with contextlib.closing(iter(ahead)) as batches_ahead:
    yield from itertools.chain.from_iterable(batches_ahead)


def _open(
  dataset: Dataset, folder: str, sequence_length: int | None
) -> tuple[int, Callable[[np.ndarray], Batch]]:
  """The number of examples in a split's folder and how to gather some of them."""
  if dataset.kind == 'language_model':
    return _open_rows(pathlib.Path(folder, 'rows.npy'), sequence_length)
  inputs = np.load(pathlib.Path(folder, 'inputs.npy'), mmap_mode='r')
  targets = np.load(pathlib.Path(folder, 'targets.npy'), mmap_mode='r')

  def gather(indices: np.ndarray) -> Batch:
    return {
      'inputs': inputs[indices].astype(np.float32, copy=False),
      'targets': targets[indices].astype(np.int32, copy=False),
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
