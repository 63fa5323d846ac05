"""Examples from files of the user: inputs, read in parts, with their targets.

`example_files` opens them from a path. Used by the problem `arrays`.
"""

import abc
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

INPUT_NAMES = ('inputs', 'input', 'x', 'images', 'image', 'data', 'features')
TARGET_NAMES = ('targets', 'target', 'y', 'labels', 'label')
SPLIT_NAMES = {
  'train': ('train', 'training'),
  'validation': ('validation', 'valid', 'val', 'dev'),
  'test': ('test',),
}
INFO = 'arrays.json'
UNSPLIT = ''  # the key of examples that no split is given for
KNOWN = (
  'an .npz file, a folder of .npy files, a folder with a sub-folder of images for each class, a '
  'table (.parquet or .csv), or a Hugging Face dataset saved to disk'
)


class ExampleColumn(abc.ABC):
  """An array with a row for each example, which may be larger than the memory.

  Attributes:
    name: What it is called in its file, for messages.
    shape: [examples, ...].
    dtype: Of its elements.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype

  @abc.abstractmethod
  def read(self, rows: np.ndarray) -> np.ndarray:
    """Returns the rows with these indices. Raises ValueError if they cannot be read."""


@dataclasses.dataclass
class ArrayColumn(ExampleColumn):
  """A column of an array that is loaded, or mapped into memory, on first use."""

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  load: Callable[[], np.ndarray]
  _array: np.ndarray | None = None

  def read(self, rows: np.ndarray) -> np.ndarray:
    if self._array is None:
      self._array = self.load()
    return self._array[rows]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Examples of one split, or of all.

  Attributes:
    inputs: [examples, ...].
    targets: As they are in the file: numbers or texts, [examples, ...].
    by: What the split goes by, [examples]; None if nothing was asked for.
    class_names: Names of the classes 0, 1, ... where the file has some.
  """

  inputs: ExampleColumn
  targets: np.ndarray
  by: np.ndarray | None = None
  class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Request:
  """What to read from a path.

  Attributes:
    inputs: Name of the inputs (columns of a table may be several); () to recognise them.
    targets: Name of the targets; '' to recognise them.
    by: Name of what the split goes by; '' for nothing.
    image_size: Height and width that images are resized to; () for their own.
  """

  inputs: tuple[str, ...] = ()
  targets: str = ''
  by: str = ''
  image_size: tuple[int, ...] = ()


class PreparedInfo(msgspec.Struct, frozen=True):
  """What prepared arrays mean: the file INFO beside them, and beside a model of them.

  Attributes:
    classes: Label of each class, in order; empty for a regression.
    examples: Number of examples in each split.
    input_mean: What was subtracted from the inputs, a number for each feature; empty for nothing.
    input_std: What they were then divided by.
    target_mean: The same of the targets of a regression.
    target_std: See above.
  """

  classes: list[str]
  examples: dict[str, int]
  input_mean: list[float] = []
  input_std: list[float] = []
  target_mean: list[float] = []
  target_std: list[float] = []

  def scaled(self, inputs: np.ndarray) -> np.ndarray:
    """Inputs as they were in the user's data, as programs see them."""
    if not self.input_mean:
      return inputs
    return ((inputs - np.array(self.input_mean)) / np.array(self.input_std)).astype(np.float32)

  def unscaled(self, outputs: np.ndarray) -> np.ndarray:
    """Outputs [examples, ...] of a program in the unit of the user's targets."""
    if not self.target_mean:
      return outputs
    flat = outputs.reshape(len(outputs), -1) * self.target_std + self.target_mean
    return flat.reshape(outputs.shape).astype(np.float32)


def chosen(
  names: Iterable[str], wanted: str, known: tuple[str, ...], role: str, where: pathlib.Path
) -> dict[str, str]:
  """Finds the arrays of a role: split -> name, as in {'train': 'x_train', 'test': 'x_test'}.

  Args:
    names: Names of all arrays.
    wanted: The name that the user gave, with or without that of a split; '' for none.
    known: Names that are recognised otherwise.
    role: `inputs` or `targets`.
    where: Their file, for the message.

  Raises:
    ValueError: There are none, or several that might be meant.
  """
  names = list(names)
  if wanted in names:
    return {UNSPLIT: wanted}
  splits = {name: split for split, all_names in SPLIT_NAMES.items() for name in all_names}
  base = '|'.join(map(re.escape, (wanted,) if wanted else known))
  split = '|'.join(splits)
  affixed = re.compile(
    rf'(?:(?P<before>{split})[_.-]?)?(?P<base>{base})(?:[_.-]?(?P<after>{split}))?', re.IGNORECASE
  )
  found: dict[str, dict[str, str]] = {}
  for name in names:
    if match := affixed.fullmatch(name):
      word = (match['before'] or match['after'] or '').lower()
      found.setdefault(match['base'].lower(), {})[splits.get(word, UNSPLIT)] = name
  if len(found) == 1:
    (parts,) = found.values()
    if UNSPLIT in parts and len(parts) > 1:
      parts.setdefault('train', parts.pop(UNSPLIT))
    return parts
  has = ', '.join(names[:12]) + (', ...' if len(names) > 12 else '') or 'nothing'
  if found:
    both = ' and '.join(sorted(found))
    raise ValueError(f'{where} has {both}, both possible {role}; set config.data.{role} to one.')
  what = f'no {wanted!r}' if wanted else f'nothing that is recognised as {role}'
  raise ValueError(f'{where} has {what}. It has: {has}. Set config.data.{role} to one of these.')
