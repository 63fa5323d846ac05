"""Targets of examples: whether they are classes or numbers, and which class a label is."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

TaskKind = Literal['auto', 'classification', 'regression']
MAX_CLASS_SHARE = 0.5  # of the examples; with more distinct labels, they are no classes
SHOWN = 8  # labels in a message


def task_of(kind: TaskKind, targets: Sequence[np.ndarray]) -> TaskKind:
  """Returns `classification` or `regression`, as chosen or by the targets of the splits.

  Floats are a regression unless each row has a single 1 (one-hot); all else are classes.
  """
  if kind != 'auto':
    return kind
  floats = all(array.dtype.kind == 'f' for array in targets)
  return 'regression' if floats and not all(map(_is_one_hot, targets)) else 'classification'


def numbers(targets: np.ndarray, where: str) -> np.ndarray:
  """The targets of a regression, float64 [examples, ...]. Raises ValueError."""
  if targets.dtype.kind not in 'biuf':
    raise ValueError(
      f'The targets {where} hold {targets.dtype}, and a regression needs numbers; set '
      "config.data.task to 'classification' if they are labels."
    )
  require_finite(targets, f'The targets {where}')
  return targets.astype(np.float64)


def labels(targets: np.ndarray, where: str) -> np.ndarray:
  """The labels of a classification, [examples]: integers or texts. Raises ValueError."""
  if targets.ndim == 2 and targets.shape[1] > 1 and _is_one_hot(targets):
    return targets.argmax(axis=1)
  if targets.ndim == 2 and targets.shape[1] == 1:
    targets = targets[:, 0]
  if targets.ndim != 1:
    raise ValueError(
      f'The targets {where} have the shape {list(targets.shape)}; a classification needs one label '
      "for each example (or one-hot rows). Set config.data.task to 'regression' if they are "
      'quantities.'
    )
  if targets.dtype.kind == 'S':
    return targets.astype(str)
  if targets.dtype.kind == 'f':
    require_finite(targets, f'The targets {where}')
    if (targets != np.round(targets)).any():
      raise ValueError(
        f'The targets {where} hold numbers such as {targets[targets != np.round(targets)][0]}, '
        "which are no classes; set config.data.task to 'regression'."
      )
    return targets.astype(np.int64)
  if targets.dtype.kind not in 'biuU':
    raise ValueError(
      f'The targets {where} hold {targets.dtype}; give integers or texts, one for each example.'
    )
  return targets.astype(np.int64) if targets.dtype.kind == 'b' else targets


def require_labelled(labels: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
  """Raises ValueError for an index of a named class below 0, which marks unlabelled examples."""
  for split, array in labels.items():
    if array.dtype.kind == 'i' and (below := np.count_nonzero(array < 0)):
      which = f'{split} examples' if split else 'examples'
      raise ValueError(
        f'{path}: {below} of the {len(array)} {which} have the label {array.min()}, which stands '
        'for no label. Leave them out, as by dataset.filter(lambda row: row["label"] >= 0), or '
        'remove that split, and save the dataset again.'
      )


def classes_of(parts: Sequence[np.ndarray], where: str) -> np.ndarray:
  """All different labels, sorted: class i is the i-th. Raises ValueError."""
  every = np.concatenate(parts)
  found = np.unique(every)
  if len(found) < 2:
    raise ValueError(
      f'The targets {where} have {len(found)} class{"es" if not len(found) else ""}; a '
      'classification needs two at least. Name the labels in config.data.targets.'
    )
  if len(found) > MAX_CLASS_SHARE * len(every):
    raise ValueError(
      f'The targets {where} have {len(found)} different labels in {len(every)} examples. Set '
      "config.data.task to 'regression' if they are quantities; classes need more examples each."
    )
  return found


def require_examples(classes: np.ndarray, names: Sequence[str], splits: int) -> None:
  """Raises ValueError for a class with fewer examples than there are splits."""
  counts = np.bincount(classes, minlength=len(names))
  if (few := np.flatnonzero(counts < splits)).size:
    listed = ', '.join(f'{names[c]!r} ({counts[c]})' for c in few[:SHOWN])
    raise ValueError(
      f'Too few examples of {len(few)} of {len(names)} classes for {splits} splits: {listed}. Add '
      "examples, leave these classes out, or set config.data.split to 'random'."
    )


def require_finite(array: np.ndarray, what: str, rows: np.ndarray | None = None) -> None:
  """Raises ValueError for NaN and infinity.

  Args:
    array: [examples, ...].
    what: Begins the message.
    rows: Numbers of the examples, for the message; None for 0, 1, 2 and so on.
  """
  if array.dtype.kind != 'f' or np.isfinite(array).all():
    return
  bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
  first = bad[0] if rows is None else rows[bad[0]]
  raise ValueError(
    f'{what}: example {first} has NaN or infinity (and {len(bad) - 1} more here). Remove these '
    'examples, or replace the values.'
  )


def _is_one_hot(targets: np.ndarray) -> bool:
  if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind not in 'biuf':
    return False
  return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())
