"""Handwritten digits: 1797 images of 8 x 8 pixels in ten classes, from scikit-learn itself.

Small enough that a whole research loop takes a minute. Source: E. Alpaydin and C. Kaynak, Optical
Recognition of Handwritten Digits, UCI 1998.
"""

import dataclasses
import hashlib
import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.data import cache as caching
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same options become
EXAMPLES, PIXELS, CLASSES = 1797, 64, 10
WHITE = 16.0  # the largest value of a pixel


@PROBLEMS.register('digits')
@dataclasses.dataclass(frozen=True)
class Digits(Problem):
  """Handwritten digits, 8 x 8 pixels, 10 classes.

  Attributes:
    validation_examples: Size of the validation split, stratified by class; a multiple of
      `evaluation_batch`.
    test_examples: Size of the test split, which is scored only at the end of a run; 0: none.
    evaluation_batch: Examples per call of `predict`.
    split_seed: Decides which examples are held out.
  """

  validation_examples: int = 450
  test_examples: int = 0
  evaluation_batch: int = 225
  split_seed: int = 0

  def __post_init__(self) -> None:
    if self.test_examples and self.test_examples < CLASSES:
      raise ValueError(
        f'config.data.test_examples is {self.test_examples}; {CLASSES} are needed, or 0.'
      )
    if not CLASSES <= self.validation_examples <= EXAMPLES - CLASSES - self.test_examples:
      raise ValueError(
        f'config.data.validation_examples is {self.validation_examples}; of {EXAMPLES} examples, '
        f'{CLASSES} to {EXAMPLES - CLASSES} can be held out, less {self.test_examples} '
        'test_examples.'
      )
    for name in ('validation_examples', 'test_examples'):
      if self.evaluation_batch < 1 or getattr(self, name) % self.evaluation_batch:
        raise ValueError(
          f'config.data.evaluation_batch is {self.evaluation_batch}; it must divide the '
          f'{getattr(self, name)} {name}.'
        )
    if self.split_seed < 0:
      raise ValueError(f'config.data.split_seed is {self.split_seed}; it must not be below 0.')

  def shapes(self) -> dict[str, Any]:
    return {'kind': 'supervised', 'input_shape': (PIXELS,), 'num_classes': CLASSES}

  def metrics(self) -> Mapping[str, Direction]:
    return {'val_loss': 'minimize', 'val_accuracy': 'maximize'}

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Makes inputs, float32 `[examples, 64]` in [0, 1], and targets, int32 `[examples]`."""
    key = self._key()
    folder, content = caching.folder(
      cache / 'digits', key[:16], lambda making: self._make(making, say), say
    )
    return Dataset(
      kind='supervised',
      train=str(folder / 'train'),
      validation=str(folder / 'validation'),
      evaluation_batch=self.evaluation_batch,
      fingerprint=hashlib.sha256(f'{key} {content}'.encode()).hexdigest(),
      test=str(folder / caching.TEST_FOLDER) if self.test_examples else '',
    )

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """The file that ships with scikit-learn, and everything in the default cache."""
    return (_packaged(), caching.directory() / 'digits')

  def best_known(self, metric: str) -> float | None:
    """What a search reached, see configs/digits.py."""
    return {'val_loss': 0.07}.get(metric)

  def _key(self) -> str:
    """SHA-256 of everything that the stored data depend on, so not of `evaluation_batch`."""
    parts = (FORMAT, self.validation_examples, self.split_seed)
    if self.test_examples:  # else the data are those of runs from before there were any
      parts = (*parts, self.test_examples)
    content = hashlib.sha256(_packaged().read_bytes()).hexdigest()
    return hashlib.sha256(msgspec.json.encode((parts, content))).hexdigest()

  def _make(self, folder: pathlib.Path, say: Callable[[str], None]) -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, needed once
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    inputs, targets = load_digits(return_X_y=True)
    train, splits = np.arange(len(targets)), {}
    for name, size in (
      ('validation', self.validation_examples),
      (caching.TEST_FOLDER, self.test_examples),
    ):
      if size:
        parts = train_test_split(
          train, test_size=size, random_state=self.split_seed, stratify=targets[train]
        )
        train, splits[name] = map(np.asarray, parts)
    for name, chosen in {'train': train, **splits}.items():
      (folder / name).mkdir()
      np.save(folder / name / 'inputs.npy', (inputs[chosen] / WHITE).astype(np.float32))
      np.save(folder / name / 'targets.npy', targets[chosen].astype(np.int32))
    say(
      f'Prepared {len(train)} training digits; held out: {self.validation_examples} for '
      f'validation, {self.test_examples} for the test split.'
    )


def _packaged() -> pathlib.Path:
  """The file with the digits in the installed scikit-learn, found without importing it."""
  found = importlib.util.find_spec('sklearn')
  if found is None or found.origin is None:
    raise ValueError("The problem 'digits' needs scikit-learn: pip install scikit-learn.")
  return pathlib.Path(found.origin).parent / 'datasets' / 'data' / 'digits.csv.gz'
