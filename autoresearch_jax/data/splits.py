"""Divides examples into training, validation and test splits."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

SplitKind = Literal['auto', 'stratified', 'random', 'group', 'time']
HELD_OUT = ('validation', 'test')


def divide(
  kind: SplitKind,
  examples: int,
  fractions: dict[str, float],
  seed: int,
  classes: np.ndarray | None,
  by: np.ndarray | None,
) -> dict[str, np.ndarray]:
  """Returns the sorted indices of `train` and of each split that has a fraction above 0.

  Args:
    kind: `stratified` keeps the shares of the classes, `random` does not, `group` keeps examples
      of equal `by` together, `time` holds out the last ones in the order of `by`.
    examples: Their number.
    fractions: Of `validation` and `test`, of all examples.
    seed: Of the random choice.
    classes: Class of each example; needed for `stratified`.
    by: Group or time of each example; None for the order of the file, with `time`.

  Raises:
    ValueError: There are too few examples, classes or groups.
  """
  wanted = {name: fractions[name] for name in HELD_OUT if fractions.get(name, 0) > 0}
  rng = np.random.default_rng(seed)
  if kind == 'stratified':
    assert classes is not None
    parts = [
      _parts(rng.permutation(np.flatnonzero(classes == c)), wanted) for c in np.unique(classes)
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  elif kind == 'group':
    assert by is not None
    found = _by_group(by, wanted, rng)
  elif kind == 'time':
    found = _by_time(np.arange(examples) if by is None else by, wanted)
  else:
    found = _parts(rng.permutation(examples), wanted)
  for name, rows in found.items():
    if not len(rows):
      raise ValueError(
        f'The {name} split has no examples: there are {examples} in all. Use more examples, or '
        'other values of config.data.validation_fraction and config.data.test_fraction.'
      )
  return {name: np.sort(rows) for name, rows in found.items()}


def _parts(order: np.ndarray, fractions: dict[str, float]) -> dict[str, np.ndarray]:
  """Cuts examples in random order; a split gets at least one of two or more."""
  found, rest = {}, order
  for name, fraction in fractions.items():
    count = min(max(1, round(fraction * len(order))), len(rest) - 1)
    found[name], rest = rest[:count], rest[count:]
  return {'train': rest, **found}


def _by_group(
  by: np.ndarray, fractions: dict[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
  """Gives whole groups, in random order, to a split until it has its fraction."""
  names, group, sizes = np.unique(by, return_inverse=True, return_counts=True)
  if len(names) < len(fractions) + 1:
    raise ValueError(
      f'config.data.split_by has {len(names)} different groups; {len(fractions) + 1} splits need '
      'at least one each. Use another array, or another config.data.split.'
    )
  order: Sequence[int] = rng.permutation(len(names)).tolist()
  found = {}
  for left, (name, fraction) in zip(range(len(fractions), 0, -1), fractions.items(), strict=True):
    taken, size = 0, 0
    while size < fraction * len(by) and len(order) - taken > left:
      size += sizes[order[taken]]
      taken += 1
    taken = max(taken, 1)
    found[name], order = np.flatnonzero(np.isin(group, order[:taken])), order[taken:]
  return {'train': np.flatnonzero(np.isin(group, order)), **found}


def _by_time(by: np.ndarray, fractions: dict[str, float]) -> dict[str, np.ndarray]:
  """Holds out the last examples: first validation, then test. Equal times stay together."""
  order = np.argsort(by, kind='stable')
  times, end, found = by[order], len(by), {}
  for name in reversed(fractions):
    start = end - max(1, round(fractions[name] * len(by)))
    start = int(np.searchsorted(times, times[max(0, start)], side='left'))
    found[name], end = order[start:end], start
  return {'train': order[:end], **{name: found[name] for name in fractions}}
