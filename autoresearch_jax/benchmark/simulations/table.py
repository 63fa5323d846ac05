"""Tables of recorded trials: CSV, or JSON as a list of objects; one row a training run.

A row has constants (numbers), a metric, and where recorded whether it succeeded, its seed and its
seconds. What cannot be used is left out or counted as a failure, and the table says so: a row
whose constants are not all there, or with more cells than the header, is left out; one that claims
success without a finite metric has failed.
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHIPPED = pathlib.Path(__file__).resolve().parent / 'tables'
TOO_MANY = '\n'  # no name of a column: a key for cells without one
TRUE, FALSE = ('1', '1.0', 'true', 'yes', 'ok'), ('0', '0.0', 'false', 'no', '')

MOST = 1e100  # numbers beyond it overflow in what is fitted

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
  rows, notes = _whole_rows(path)
  existing = list(dict.fromkeys(name for row in rows for name in row))
  constants = _constants(path, rows, columns, existing)
  used = [row for row in rows if all(_number(row.get(c)) is not None for c in constants)]
  if lost := len(rows) - len(used):
    notes.append(f'{lost} of {len(rows)} rows lack a constant and are left out.')
  return _table(path, used, constants, columns, existing, notes)


def _whole_rows(path: pathlib.Path) -> tuple[list[Row], list[str]]:
  """The rows that have no more cells than the header, and notes."""
  recorded = _rows(path)
  rows = [row for row in recorded if TOO_MANY not in row]
  notes = []
  if ragged := len(recorded) - len(rows):
    said = f'{ragged} of {len(recorded)} rows have more cells than the header'
    notes.append(f'{said} and are left out.')
  if not rows:
    sentences = [f'The table {path} is empty: it needs a row for each recorded trial.', *notes]
    raise TableError(' '.join(sentences))
  return rows, notes


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
  _require_moderate(path, {columns.metric: metric[ok], columns.seconds: seconds})
  whole = frozenset(n for n, column in zip(names, points.T, strict=True) if not (column % 1).any())
  return Table(names, whole, points, np.where(ok, metric, np.nan), ok, seconds, tuple(notes))


def _varied(
  path: pathlib.Path, rows: list[Row], constants: Sequence[str], notes: list[str]
) -> tuple[tuple[str, ...], np.ndarray]:
  """The constants that differ between rows, and their values [rows, d]."""
  points = np.array([[_number(row[c]) for c in constants] for row in rows], float)
  _require_moderate(path, dict(zip(constants, points.T, strict=True)))
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


def _require_moderate(path: pathlib.Path, columns: Mapping[str, np.ndarray]) -> None:
  for name, numbers in columns.items():
    if (huge := numbers[np.abs(numbers) > MOST]).size:
      raise TableError(
        f'The column {name!r} of the table {path} has {huge[0]:g}; a surrogate is fitted to '
        f'numbers of at most {MOST:g}.'
      )


def _rows(path: pathlib.Path) -> list[Row]:
  try:
    text = path.read_text(encoding='utf-8-sig')  # spreadsheets begin a file with a mark
  except (OSError, ValueError) as error:
    shipped = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.csv')))
    raise TableError(f'No table at {str(path)!r} ({error}); shipped are: {shipped}.') from None
  if path.suffix != '.json':
    return _csv_rows(path, text)
  try:
    rows = json.loads(text)
  except ValueError as error:
    raise TableError(f'{path} is no JSON: {error}.') from None
  if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
    raise TableError(f'{path} must be a list of objects, one for each trial.')
  return rows


def _csv_rows(path: pathlib.Path, text: str) -> list[Row]:
  """Rows with non-empty cells beyond the header's have the key TOO_MANY."""
  try:
    rows: list[Row] = list(csv.DictReader(io.StringIO(text, newline=''), restkey=TOO_MANY))
  except csv.Error as error:
    raise TableError(f'{path} is no CSV: {error}.') from None
  for row in rows:
    if not any(row.get(TOO_MANY, ())):
      row.pop(TOO_MANY, None)
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
  except (OverflowError, TypeError, ValueError):
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
