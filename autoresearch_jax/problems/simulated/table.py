"""Tables of recorded trials: CSV, or JSON as a list of objects; one row a training run.

A row has constants (numbers), a metric, and where recorded whether it succeeded, its seed and its
seconds. What cannot be used is left out or counted as a failure, and the table says so: a row
whose constants are not all there is left out; one that claims success without a finite metric
has failed.
"""

import csv
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

SHIPPED = pathlib.Path(__file__).resolve().parent / 'tables'
TRUE, FALSE = ('1', '1.0', 'true', 'yes', 'ok'), ('0', '0.0', 'false', 'no', '')

Row = dict[str, Any]


class TableError(ValueError):
  """The table cannot be used; the sentence says what was found and which columns exist."""


@dataclasses.dataclass(frozen=True)
class Columns:
  """Which columns are what. constants: () for all other columns of numbers.

  success, seconds and seed may be missing when they are called as here; others must exist.
  """

  metric: str
  success: str = 'ok'
  seconds: str = 'seconds'
  seed: str = 'seed'
  constants: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
  """names: of the constants in ALL_CAPS, d of them; whole: those that are ints.

  points: [rows, d]. metric: [rows], NaN where failed. ok: bool [rows]. seconds: [rows]. notes:
  sentences on what was left out.
  """

  names: tuple[str, ...]
  whole: frozenset[str]
  points: np.ndarray
  metric: np.ndarray
  ok: np.ndarray
  seconds: np.ndarray
  notes: tuple[str, ...]


def read(source: str, columns: Columns) -> Table:
  """source: the name of a shipped table, or a path. Raises TableError."""
  path = SHIPPED / f'{source}.csv'
  if not path.is_file():
    path = pathlib.Path(source)
  rows = _rows(path)
  if not rows:
    raise TableError(f'The table {path} is empty: it needs a row for each recorded trial.')
  existing = list(dict.fromkeys(name for row in rows for name in row))
  constants = _constants(path, rows, columns, existing)
  used = [row for row in rows if all(_number(row.get(c)) is not None for c in constants)]
  notes = []
  if len(used) < len(rows):
    lost = len(rows) - len(used)
    notes.append(f'{lost} of {len(rows)} rows lack a constant and are left out.')
  return _table(path, used, constants, columns, existing, notes)


def _table(
  path: pathlib.Path,
  rows: list[Row],
  constants: Sequence[str],
  columns: Columns,
  existing: list[str],
  notes: list[str],
) -> Table:
  if not rows:
    raise TableError(f'No row of the table {path} has all of {", ".join(constants)} as numbers.')
  metric = np.array([_finite(row.get(columns.metric)) for row in rows])
  claimed = np.array([_claims(path, row, columns.success, existing) for row in rows], bool)
  ok = claimed & np.isfinite(metric)
  if columns.success in existing and (lies := int((claimed & ~ok).sum())):
    notes.append(f'{lies} rows say they succeeded and have no finite {columns.metric}: failed.')
  if not ok.any():
    raise TableError(f'All {len(rows)} usable rows of the table {path} failed: nothing to fit.')
  seconds = np.array([_finite(row.get(columns.seconds)) for row in rows])
  seconds = np.where(np.isfinite(seconds), seconds, _typical(seconds))
  names, points = _varied(path, rows, constants, notes)
  whole = frozenset(n for n, column in zip(names, points.T, strict=True) if not (column % 1).any())
  return Table(names, whole, points, np.where(ok, metric, np.nan), ok, seconds, tuple(notes))


def _varied(
  path: pathlib.Path, rows: list[Row], constants: Sequence[str], notes: list[str]
) -> tuple[tuple[str, ...], np.ndarray]:
  """The constants that differ between rows, and their values [rows, d]."""
  points = np.array([[_number(row[c]) for c in constants] for row in rows], float)
  varied = np.flatnonzero(np.ptp(points, axis=0) > 0).tolist()
  if not varied:
    raise TableError(f'No constant changes in the table {path}: there is nothing to search over.')
  same = [constant for i, constant in enumerate(constants) if i not in varied]
  if same:
    notes.append(f'Always the same, so left out: {", ".join(same)}.')
  names = tuple(_capitals(constants[i]) for i in varied)
  if len(set(names)) < len(names):
    raise TableError(f'Two constants of the table {path} have the same name in capitals: {names}.')
  return names, points[:, varied]


def _rows(path: pathlib.Path) -> list[Row]:
  try:
    text = path.read_text(encoding='utf-8')
  except (OSError, ValueError) as error:
    shipped = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.csv')))
    raise TableError(f'No table at {str(path)!r} ({error}); shipped are: {shipped}.') from None
  if path.suffix != '.json':
    return [dict(row) for row in csv.DictReader(text.splitlines())]
  try:
    rows = json.loads(text)
  except ValueError as error:
    raise TableError(f'{path} is no JSON: {error}.') from None
  if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
    raise TableError(f'{path} must be a list of objects, one for each trial.')
  return rows


def _constants(
  path: pathlib.Path, rows: list[Row], columns: Columns, existing: list[str]
) -> tuple[str, ...]:
  default = Columns(columns.metric)
  named = [columns.metric, *columns.constants]
  for field in ('success', 'seconds', 'seed'):
    if (name := getattr(columns, field)) != getattr(default, field):
      named.append(name)
  for name in named:
    if name not in existing:
      raise TableError(f'The table {path} has no column {name!r}; it has: {", ".join(existing)}.')
  if columns.constants:
    return columns.constants
  taken = {columns.metric, columns.success, columns.seconds, columns.seed}
  numeric = tuple(c for c in existing if c not in taken and _is_numeric(rows, c))
  if not numeric:
    raise TableError(
      f'The table {path} has no column of constants beside those named; it has: '
      f'{", ".join(existing)}.'
    )
  return numeric


def _is_numeric(rows: list[Row], column: str) -> bool:
  """Whether what is there are numbers; a missing value is not a word."""
  there = [row.get(column) for row in rows if row.get(column) not in (None, '')]
  return bool(there) and all(_parsed(value) is not None for value in there)


def _parsed(value: Any) -> float | None:
  try:
    return None if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    return None


def _number(value: Any) -> float | None:
  number = _parsed(value)
  return number if number is not None and math.isfinite(number) else None


def _finite(value: Any) -> float:
  number = _number(value)
  return math.nan if number is None else number


def _claims(path: pathlib.Path, row: Row, column: str, existing: list[str]) -> bool:
  """Whether the row says that it succeeded; without such a column a metric says it."""
  if column not in existing:
    return True
  word = str(row.get(column, '') if row.get(column) is not None else '').strip().lower()
  if word not in TRUE + FALSE:
    raise TableError(
      f'The column {column!r} of the table {path} has {word!r}; it may have: '
      f'{", ".join(TRUE)} or {", ".join(FALSE[:-1])}.'
    )
  return word in TRUE


def _typical(seconds: np.ndarray) -> float:
  return float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else 1.0


def _capitals(name: str) -> str:
  word = re.sub(r'\W', '_', name).upper()
  return word if not word[:1].isdigit() else f'C{word}'
