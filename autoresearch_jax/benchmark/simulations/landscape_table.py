"""Recorded landscapes: real trainings of every combination of some edits and constants.

A landscape is a full factorial. Its factors are structural edits of a program (`edits.py` of its
folder, and the general ones) and values of its constants; a cell is one combination, which is one
program. Every cell was trained on several seeds and with several budgets by
`scripts/studies/landscapes/record_edits.py`, which `docs/landscapes.md` describes. This module is
the file format; `landscape.py` plays a landscape.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

SHIPPED = pathlib.Path(__file__).resolve().parent / 'landscapes'
FORMAT = 1
ARRAYS = ('metric', 'failed_at', 'invalid', 'flops', 'peak_bytes', 'seconds')


class LandscapeError(ValueError):
  """A landscape cannot be read; the message says why."""


@dataclasses.dataclass(frozen=True)
class Factor:
  """What a landscape varies.

  Attributes:
    name: Its name in simulated programs, in ALL_CAPS.
    kind: `edit` for a structural edit, `constant` for a constant of the program.
    levels: The alternatives; the first one is the starting program's. For a constant its values.
      For an edit the key of the catalogue's edit that leads there, '' for none.
  """

  name: str
  kind: Literal['edit', 'constant']
  levels: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
  """Recorded trainings of all c cells with s seeds and b budgets.

  Attributes:
    name: Name of the landscape.
    factors: What it varies; the last one varies fastest from cell to cell.
    metric_name: The metric.
    direction: Whether it is minimised or maximised.
    steps: Train steps of each budget, ascending, [b].
    metric: The metric of each training, float32 [c, b, s]; NaN where it failed.
    failed_at: The step at which the loss diverged, counted from 1, [c, b, s]; 0 where it did not.
    invalid: Whether the edits exclude each other, bool [c].
    flops: FLOPs of a train step, [c].
    peak_bytes: Memory of a training, [c].
    seconds: CPU seconds of a training with each budget, [c, b].
    about: How it was recorded: config, seeds, versions, digests.
  """

  name: str
  factors: tuple[Factor, ...]
  metric_name: str
  direction: Literal['minimize', 'maximize']
  steps: tuple[int, ...]
  metric: np.ndarray
  failed_at: np.ndarray
  invalid: np.ndarray
  flops: np.ndarray
  peak_bytes: np.ndarray
  seconds: np.ndarray
  about: Mapping[str, Any]

  @property
  def shape(self) -> tuple[int, ...]:
    """The number of levels of each factor."""
    return shape_of(self.factors)

  @functools.cached_property
  def fails(self) -> np.ndarray:
    """Whether a training with the full budget fails on half of the seeds or more, bool [c]."""
    return self.invalid | (np.isnan(self.metric[:, -1]).mean(axis=-1) >= 0.5)

  @functools.cached_property
  def mean(self) -> np.ndarray:
    """The mean over the seeds that did not fail, [c, b]; NaN where none is left."""
    count = np.isfinite(self.metric).sum(axis=-1)
    total = np.nansum(self.metric.astype(float), axis=-1)
    return np.where(count, total / np.maximum(count, 1), np.nan)

  def cell(self, levels: Sequence[int]) -> int:
    """Returns the index of the cell with these levels."""
    index = 0
    for level, size in zip(levels, self.shape, strict=True):
      index = index * size + level
    return index

  def save(self, path: pathlib.Path) -> None:
    """Writes a compressed `.npz` file without pickled objects."""
    about = dict(self.about) | {
      'format': FORMAT,
      'name': self.name,
      'metric': self.metric_name,
      'direction': self.direction,
      'steps': self.steps,
      'factors': [dataclasses.asdict(factor) for factor in self.factors],
    }
    arrays = {name: getattr(self, name) for name in ARRAYS}
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)

  @classmethod
  def load(cls, source: str) -> Self:
    """Reads a landscape.

    Args:
      source: Name of a shipped landscape, or the path of an `.npz` file.

    Raises:
      LandscapeError: There is none, or the file has another format.
    """
    path = SHIPPED / f'{source}.npz'
    path = path if path.is_file() else pathlib.Path(source)
    try:
      with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored['about']))
        arrays = {name: stored[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError) as error:
      shipped = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.npz'))) or 'none'
      raise LandscapeError(
        f'There is no landscape {source!r} ({error}). Shipped: {shipped}; or give the path of an '
        '.npz file by scripts/studies/landscapes/record_edits.py.'
      ) from None
    if about.pop('format') != FORMAT:
      raise LandscapeError(f'{path} has another format than {FORMAT}; record it again.')
    factors = tuple(Factor(f['name'], f['kind'], tuple(f['levels'])) for f in about.pop('factors'))
    return cls(
      name=about.pop('name'),
      factors=factors,
      metric_name=about.pop('metric'),
      direction=about.pop('direction'),
      steps=tuple(about.pop('steps')),
      **arrays,
      about=about,
    )


def shape_of(factors: Sequence[Factor]) -> tuple[int, ...]:
  return tuple(len(factor.levels) for factor in factors)


def cells_of(factors: Sequence[Factor]) -> int:
  return math.prod(shape_of(factors))


@functools.lru_cache(maxsize=8)
def loaded(source: str) -> Landscape:
  """Returns a landscape, read once."""
  return Landscape.load(source)
