"""Data of the user: examples from a file or a folder, for classification or regression.

The splits are given in the data, or made here. What a run trains on is a copy in the cache, whose
fingerprint is that of the content and of the options that change it, not of the path.
"""

import dataclasses
import functools
import hashlib
import math
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import example_files, splits
from autoresearch_jax.data import targets as target_arrays
from autoresearch_jax.data.content import content_digest
from autoresearch_jax.data.examples import (
  INFO,
  UNSPLIT,
  ExampleColumn,
  Examples,
  PreparedInfo,
  Request,
)
from autoresearch_jax.problems import metrics as supervised
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import OWN_METRICS_FILE, Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same options become
# Options that change neither the stored data nor the split.
WITHOUT_EFFECT = ('path', 'evaluation_batch', 'top_k', 'own_metrics', 'own_metrics_file')
CHUNK_BYTES = 1 << 25  # of inputs, read at a time
MAX_EXACT = 2**24  # integers up to this are exact in float32
STORED_AS_IS = ('uint8', 'int8', 'uint16', 'int16', 'float16', 'float32')
CHANNEL_DIMENSIONS = (1, 3)  # of inputs whose last axis are features, or channels of an image


@dataclasses.dataclass(frozen=True)
class OpenedExamples:
  """The examples of all given splits, with their targets read and checked.

  Attributes:
    parts: Split -> examples.
    targets: Split -> class of each example, int64, or numbers, float64.
    classes: Label of each class; () for a regression.
    renumbered: Whether the labels of the file are other numbers than the classes.
  """

  parts: dict[str, Examples]
  targets: dict[str, np.ndarray]
  classes: tuple[str, ...]
  renumbered: bool

  @property
  def input_shape(self) -> tuple[int, ...]:
    """Of one example; a number for each becomes a row of one."""
    return next(iter(self.parts.values())).inputs.shape[1:] or (1,)


@PROBLEMS.register('arrays')
@dataclasses.dataclass(frozen=True)
class Arrays(Problem):
  """Examples of yours: arrays, images or a table.

  Attributes:
    path: An .npz file, a folder of .npy files, a folder with a sub-folder of images for each class,
      a table (.parquet, .csv), or a Hugging Face dataset saved to disk.
    inputs: Name of the inputs, such as `x` for `x_train` and `x_test`; of a table, its input
      columns. () recognises common names.
    targets: Name of the targets; '' recognises common names.
    task: `classification`, `regression`, or `auto`: floats are a regression.
    split: How splits that are not given are made: `stratified` (by class), `random`, `group`
      (equal `split_by` together), `time` (the last are held out), or `auto`.
    split_by: Array or column with the group or the time of each example.
    split_seed: Decides which examples are held out.
    validation_fraction: Share of the examples that is held out for validation.
    test_fraction: Share that is scored only at the end of a run; 0: no test split.
    standardize_inputs: Whether to shift and scale the inputs by mean and standard deviation of the
      training split, for each feature or channel.
    standardize_targets: The same for the targets of a regression; metrics are in their own unit,
      and the training loss is not.
    image_size: Height and width to which images of files are resized; () for their own.
    top_k: Of which k to measure `val_topK_accuracy`, where there are more classes.
    evaluation_batch: Examples per call of `predict`.
    own_metrics_file: A Python file with metrics of yours: functions (outputs, targets) -> scalar.
    own_metrics: Names of these metrics -> `minimize` or `maximize`; `val_cost` is the function
      `cost`.
  """

  path: str = ''
  inputs: tuple[str, ...] = ()
  targets: str = ''
  task: target_arrays.TaskKind = 'auto'
  split: splits.SplitKind = 'auto'
  split_by: str = ''
  split_seed: int = 0
  validation_fraction: float = 0.2
  test_fraction: float = 0.1
  standardize_inputs: bool = False
  standardize_targets: bool = True
  image_size: tuple[int, ...] = ()
  top_k: tuple[int, ...] = (5,)
  evaluation_batch: int = 256
  own_metrics_file: str = ''
  own_metrics: dict[str, Direction] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    if not self.path:
      raise ValueError("config.data.path is empty; set it to your data, such as 'data.npz'.")
    validation, test = self.validation_fraction, self.test_fraction
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
      raise ValueError(
        f'config.data.validation_fraction is {validation} and test_fraction is {test}; the first '
        'must be above 0, and their sum below 1.'
      )
    if self.split == 'group' and not self.split_by:
      raise ValueError(
        "config.data.split is 'group'; set config.data.split_by to the array with the groups."
      )
    if self.split_by and self.split not in ('group', 'time'):
      raise ValueError(
        f'config.data.split_by is {self.split_by!r}, which only the splits group and time use; set '
        'config.data.split to one of these.'
      )
    if self.evaluation_batch < 1 or self.split_seed < 0:
      raise ValueError(
        f'config.data.evaluation_batch is {self.evaluation_batch} and split_seed is '
        f'{self.split_seed}; they must be at least 1 and 0.'
      )
    if len(self.image_size) not in (0, 2) or any(size < 1 for size in self.image_size):
      raise ValueError(
        f'config.data.image_size is {self.image_size}; it must be (height, width), or ().'
      )
    if bool(self.own_metrics) != bool(self.own_metrics_file):
      raise ValueError(
        'config.data.own_metrics names metrics with their direction, and own_metrics_file the file '
        'that defines them; set both or none.'
      )
    for name in self.own_metrics:
      known = name in {*supervised.CLASSIFICATION, *supervised.REGRESSION}
      known = known or supervised.TOP_K.fullmatch(name)
      if known or not re.fullmatch(r'val_[a-z][a-z0-9_]*', name):
        raise ValueError(
          f'config.data.own_metrics has {name!r}; use another name, such as val_cost for the '
          'function cost.'
        )

  def shapes(self) -> dict[str, Any]:
    shapes = {'kind': 'supervised', 'input_shape': self._opened.input_shape}
    if self._opened.classes:
      return {**shapes, 'num_classes': len(self._opened.classes)}
    return {**shapes, 'output_shape': next(iter(self._opened.targets.values())).shape[1:]}

  def metrics(self) -> Mapping[str, Direction]:
    return {**self._known_metrics(), **self.own_metrics}

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Copies the examples into the cache, each split in a folder of its own."""
    content = content_digest(example_files.files_of(pathlib.Path(self.path)), cache / 'arrays')
    key = self._key(content)
    folder, stored = caching.folder(
      cache / 'arrays', key[:16], lambda making: self._make(making, say), say
    )
    info = msgspec.json.decode((folder / INFO).read_bytes(), type=PreparedInfo)
    fingerprint = hashlib.sha256(f'{key} {stored}'.encode()).hexdigest()
    own_metrics_folder, fingerprint = self._own_metrics_folder(cache, fingerprint, say)
    return Dataset(
      kind='supervised',
      train=str(folder / 'train'),
      validation=str(folder / 'validation'),
      evaluation_batch=min(self.evaluation_batch, info.examples['validation']),
      fingerprint=fingerprint,
      test=str(folder / caching.TEST_FOLDER) if 'test' in info.examples else '',
      metrics=tuple(self._known_metrics()),
      target_mean=tuple(info.target_mean),
      target_std=tuple(info.target_std),
      num_classes=len(info.classes),
      own_metrics=tuple(self.own_metrics.items()),
      own_metrics_folder=own_metrics_folder,
    )

  def _known_metrics(self) -> dict[str, Direction]:
    if self._opened.classes:
      return supervised.classification_metrics(len(self._opened.classes), self.top_k)
    return supervised.regression_metrics()

  def _own_metrics_folder(
    self, cache: pathlib.Path, fingerprint: str, say: Callable[[str], None]
  ) -> tuple[str, str]:
    """The folder with the file of the user's metrics, and the fingerprint of data and metrics."""
    if not self.own_metrics:
      return '', fingerprint
    path = pathlib.Path(self.own_metrics_file)
    try:
      text = path.read_text()
    except (OSError, ValueError) as error:
      raise ValueError(
        f'config.data.own_metrics_file is {str(path)!r}, which cannot be read: {error}. Name a .py '
        'file.'
      ) from None
    parts = (fingerprint, text, tuple(self.own_metrics.items()))
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def make(folder: pathlib.Path) -> None:
      (folder / OWN_METRICS_FILE).write_text(text)

    parent = cache / 'arrays' / 'own_metrics_files'
    folder, _ = caching.folder(parent, digest[:16], make, say)
    return str(folder), digest

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """The data and their copies in the default cache."""
    return (*example_files.hidden_paths(pathlib.Path(self.path)), caching.directory() / 'arrays')

  def _key(self, content: str) -> str:
    """SHA-256 of everything that the stored data depend on."""
    options = {k: v for k, v in dataclasses.asdict(self).items() if k not in WITHOUT_EFFECT}
    options['inputs'] = example_files.chosen_inputs(pathlib.Path(self.path), self.inputs)
    return hashlib.sha256(msgspec.json.encode((FORMAT, options, content))).hexdigest()

  @functools.cached_property
  def _opened(self) -> OpenedExamples:
    """Raises ValueError if the data cannot be used."""
    path = pathlib.Path(self.path)
    request = Request(self.inputs, self.targets, self.split_by, self.image_size)
    parts = example_files.open_examples(path, request)
    _require_same_inputs(parts, path)
    given = {split: part.targets for split, part in parts.items()}
    where = f'in {path}'
    if target_arrays.task_of(self.task, list(given.values())) == 'regression':
      numbers = {split: target_arrays.numbers(array, where) for split, array in given.items()}
      if len({array.shape[1:] for array in numbers.values()}) > 1:
        raise ValueError(
          f'{path}: the targets of the splits have different shapes; make them equal.'
        )
      return OpenedExamples(parts, numbers, (), False)
    labels = {split: target_arrays.labels(array, where) for split, array in given.items()}
    names = next(iter(parts.values())).class_names
    if names:
      target_arrays.require_labelled(labels, path)
    found = target_arrays.classes_of(list(labels.values()), where)
    classes = {split: np.searchsorted(found, array) for split, array in labels.items()}
    renumbered = not names and list(found) != list(range(len(found)))
    if names and found.dtype.kind in 'iu' and found[-1] < len(names):
      shown = tuple(names[int(label)] for label in found)
    else:
      shown = tuple(map(str, found.tolist()))
    return OpenedExamples(parts, classes, shown, renumbered)

  def _rows(self) -> dict[str, tuple[str, np.ndarray]]:
    """Split -> (the given split that its examples are from, their indices)."""
    opened = self._opened
    source = UNSPLIT if UNSPLIT in opened.parts else 'train'
    if source not in opened.parts:
      raise ValueError(
        f'{self.path} has {", ".join(opened.parts)} examples, and none for training.'
      )
    examples = len(opened.targets[source])
    fractions = {'validation': self.validation_fraction, 'test': self.test_fraction}
    missing = {n: f for n, f in fractions.items() if f > 0 and n not in opened.parts}
    kind = self.split
    if kind == 'auto':
      kind = 'stratified' if opened.classes else 'random'
    if kind == 'stratified' and not opened.classes:
      raise ValueError("config.data.split is 'stratified', which needs classes; use 'random'.")
    classes = opened.targets[source] if opened.classes else None
    if kind == 'stratified' and missing:
      assert classes is not None
      target_arrays.require_examples(classes, opened.classes, len(missing) + 1)
    made = splits.divide(kind, examples, missing, self.split_seed, classes, opened.parts[source].by)
    rows = {split: (source, indices) for split, indices in made.items()}
    for split in splits.HELD_OUT:
      if split in opened.parts:
        rows[split] = (split, np.arange(len(opened.targets[split])))
    return rows

  def _make(self, folder: pathlib.Path, say: Callable[[str], None]) -> None:
    opened, rows = self._opened, self._rows()
    _require_space(opened, rows, folder, self.standardize_inputs)
    info = PreparedInfo(
      list(opened.classes), {split: len(indices) for split, (_, indices) in rows.items()}
    )
    scale = None
    if self.standardize_inputs:
      scale = _moments(opened.parts[rows['train'][0]].inputs, rows['train'][1])
      info = msgspec.structs.replace(
        info, input_mean=scale[0].tolist(), input_std=scale[1].tolist()
      )
    numbers = opened.targets
    if self.standardize_targets and not opened.classes:
      known = numbers[rows['train'][0]][rows['train'][1]]
      mean, std = known.mean(axis=0), known.std(axis=0)
      std = np.where(std > 0, std, 1.0)
      numbers = {split: (array - mean) / std for split, array in numbers.items()}
      info = msgspec.structs.replace(
        info, target_mean=np.ravel(mean).tolist(), target_std=np.ravel(std).tolist()
      )
    seen: dict[str, set[int]] = {}
    for split, (source, indices) in rows.items():
      place = folder / (caching.TEST_FOLDER if split == 'test' else split)
      place.mkdir()
      seen[split] = _write(opened.parts[source].inputs, indices, place / 'inputs.npy', scale)
      kind = np.int32 if opened.classes else np.float32
      np.save(place / 'targets.npy', numbers[source][indices].astype(kind))
    (folder / INFO).write_bytes(msgspec.json.encode(info))
    for line in _report(opened, rows, info, seen):
      say(line)


def _require_same_inputs(parts: dict[str, Examples], path: pathlib.Path) -> None:
  """Raises ValueError unless all splits have inputs of one shape, made of numbers."""
  first = next(iter(parts.values())).inputs
  for part in parts.values():
    column = part.inputs
    if column.shape[1:] != first.shape[1:]:
      raise ValueError(
        f'{path}: an example of {first.name} has the shape {list(first.shape[1:])}, and one of '
        f'{column.name} has {list(column.shape[1:])}; make them equal.'
      )
    if column.dtype.kind not in 'biufO' or 0 in column.shape:
      raise ValueError(
        f'{path}: {column.name} has the shape {list(column.shape)} and holds {column.dtype}; '
        'inputs must be numbers, at least one for each example.'
      )


def _require_space(
  opened: OpenedExamples,
  rows: dict[str, tuple[str, np.ndarray]],
  folder: pathlib.Path,
  standardized: bool,
) -> None:
  dtype = (
    np.dtype(np.float32) if standardized else _stored(next(iter(opened.parts.values())).inputs)
  )
  needed = sum(len(indices) for _, indices in rows.values()) * math.prod(opened.input_shape)
  free = shutil.disk_usage(folder).free
  if needed * dtype.itemsize > free:
    raise ValueError(
      f'The copy of the inputs takes {needed * dtype.itemsize / 2**30:.1f} GiB, and '
      f'{free / 2**30:.1f} GiB are free on the disk of the cache. Free some space, store the '
      f'inputs as uint8 or float16, or set {caching.VARIABLE} to a folder on another disk.'
    )


def _stored(column: ExampleColumn) -> np.dtype:
  """The dtype of the copy: the loader turns it into float32."""
  if column.dtype.kind == 'b':
    return np.dtype(np.uint8)
  return np.dtype(column.dtype.name if column.dtype.name in STORED_AS_IS else 'float32')


def _chunks(column: ExampleColumn, rows: np.ndarray) -> Any:
  """Yields (index of the first row in `rows`, the inputs of some rows), checked."""
  size = max(1, math.prod(column.shape[1:])) * column.dtype.itemsize
  step = max(1, CHUNK_BYTES // size)
  for start in range(0, len(rows), step):
    part = rows[start : start + step]
    chunk = column.read(part)
    target_arrays.require_finite(chunk, f'The inputs {column.name}', part)
    large = chunk.dtype.kind in 'iu' and chunk.dtype.itemsize > 2
    if large and max(int(chunk.max()), -int(chunk.min())) > MAX_EXACT:
      raise ValueError(
        f'The inputs {column.name} have integers above {MAX_EXACT}, which float32 cannot tell '
        'apart; scale them, or leave identifiers out.'
      )
    with np.errstate(over='ignore'):
      stored = chunk.astype(_stored(column))
    target_arrays.require_finite(stored, f'The inputs {column.name} in float32', part)
    yield start, stored.reshape(len(part), *(column.shape[1:] or (1,)))


def _moments(column: ExampleColumn, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of each feature of vectors, each channel of images, else of all."""
  separate = len(column.shape[1:] or (1,)) in CHANNEL_DIMENSIONS
  count, total, squares = 0, np.zeros(1), np.zeros(1)
  for _, chunk in _chunks(column, rows):
    flat = chunk.reshape(-1, chunk.shape[-1] if separate else 1).astype(np.float64)
    count, total, squares = count + len(flat), total + flat.sum(0), squares + np.square(flat).sum(0)
  mean = total / count
  std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
  return mean, np.where(std > 1e-6 * np.maximum(1, np.abs(mean)), std, 1.0)


def _write(
  column: ExampleColumn,
  rows: np.ndarray,
  path: pathlib.Path,
  scale: tuple[np.ndarray, np.ndarray] | None,
) -> set[int]:
  """Writes the inputs of some examples, and returns a hash of each."""
  dtype = np.dtype(np.float32) if scale else _stored(column)
  shape = (len(rows), *(column.shape[1:] or (1,)))
  out = np.lib.format.open_memmap(path, 'w+', dtype, shape)
  seen: set[int] = set()
  for start, chunk in _chunks(column, rows):
    seen.update(hash(row.tobytes()) for row in chunk)
    out[start : start + len(chunk)] = (chunk - scale[0]) / scale[1] if scale else chunk
  out.flush()
  return seen


def _report(
  opened: OpenedExamples,
  rows: dict[str, tuple[str, np.ndarray]],
  info: PreparedInfo,
  seen: dict[str, set[int]],
) -> Any:
  """Yields what the user should know of the prepared data."""
  counts = info.examples
  what = f'{len(info.classes)} classes' if info.classes else 'a regression'
  yield (
    f'Prepared {counts["train"]:,} training examples of {list(opened.input_shape)}, {what}; held '
    f'out: {counts["validation"]:,} for validation, {counts.get("test", 0):,} for the test split.'
  )
  if opened.renumbered:
    shown = ', '.join(f'{i} = {name}' for i, name in enumerate(info.classes[:8]))
    yield f'Classes: {shown}{", ..." if len(info.classes) > 8 else ""}'
  for split in splits.HELD_OUT:
    if split not in counts:
      continue
    if twice := len(seen[split] & seen['train']):
      yield (
        f'{twice} of the {counts[split]:,} {split} inputs are in the training split too, so that '
        "scores may be too good; remove duplicates, or set config.data.split to 'group'."
      )
    if info.classes:
      source, indices = rows[split]
      known = np.unique(opened.targets[rows['train'][0]][rows['train'][1]])
      for c in np.setdiff1d(np.unique(opened.targets[source][indices]), known)[:4]:
        yield f'The {split} split has the class {info.classes[c]!r}, and no training example does.'
