"""Tables of recorded trials: CSV, or JSON as a list of objects, one row per training run.

A row has constants (numbers), a metric and, where recorded, whether it succeeded, its seed and its
seconds. Unusable rows are left out or counted as failures, and the table's notes say so: a row with
a missing constant or with more cells than the header is left out; a row that claims success without
a finite metric is a failure.
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
EXTRA_CELLS = '\n'  # the key of cells beyond the header; no column can have this name
TRUE, FALSE = ('1', '1.0', 'true', 'yes', 'ok'), ('0', '0.0', 'false', 'no', '')

MAX_NUMBER = 1e100  # larger numbers overflow in the fit

Row = dict[str, Any]


class TableError(ValueError):
  """The table cannot be used; the message says what was found and which columns exist."""


@dataclasses.dataclass(frozen=True)
class Columns:
  """The meaning of a table's columns.

  The success, seconds and seed columns may be absent if they have the names below; a column with
  another name must exist.

  Attributes:
    metric: The metric.
    success: Whether the run succeeded.
    seconds: How long it took.
    seed: The training seed.
    constants: The constants; () for all other columns of numbers.
  """

  metric: str
  success: str = 'ok'
  seconds: str = 'seconds'
  seed: str = 'seed'
  constants: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class TrialTable:
  """The usable rows of a table.

  Attributes:
    names: Names of the d constants that vary, in ALL_CAPS.
    integers: Those that are integers.
    points: The constants, [rows, d].
    metric: The metric, [rows]; NaN for failures.
    ok: Whether the run succeeded; bool, [rows].
    seconds: How long it took, [rows].
    notes: Sentences on what was left out.
  """

  names: tuple[str, ...]
  integers: frozenset[str]
  points: np.ndarray
  metric: np.ndarray
  ok: np.ndarray
  seconds: np.ndarray
  notes: tuple[str, ...]


def read_table(source: str, columns: Columns) -> TrialTable:
  """Reads a table.

  Args:
    source: Name of a shipped table, or a path.
    columns: The meaning of its columns.

  Raises:
    TableError: The table cannot be used.
  """
  path = SHIPPED / f'{source}.csv'
  if not path.is_file():
    path = pathlib.Path(source)
  rows, notes = _usable_rows(path)
  existing = list(dict.fromkeys(name for row in rows for name in row))
  constants = _constants(path, rows, columns, existing)
  used = [row for row in rows if all(_number(row.get(c)) is not None for c in constants)]
  if lost := len(rows) - len(used):
    notes.append(f'{lost} of {len(rows)} rows lack a constant and are left out.')
  return _table(path, used, constants, columns, existing, notes)


def _usable_rows(path: pathlib.Path) -> tuple[list[Row], list[str]]:
  """Returns the rows without extra cells, and notes on the others."""
  recorded = _rows(path)
  rows = [row for row in recorded if EXTRA_CELLS not in row]
  notes = []
  if ragged := len(recorded) - len(rows):
    notes.append(
      f'{ragged} of {len(recorded)} rows have more cells than the header and are left out.'
    )
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
) -> TrialTable:
  if not rows:
    raise TableError(f'No row of the table {path} has all of {", ".join(constants)} as numbers.')
  metric = np.array([_finite(row.get(columns.metric)) for row in rows])
  claimed = np.array([_claims_success(path, row, columns.success, existing) for row in rows], bool)
  ok = claimed & np.isfinite(metric)
  if columns.success in existing and (wrong := int((claimed & ~ok).sum())):
    notes.append(
      f'{wrong} rows claim success without a finite {columns.metric} and count as failures.'
    )
  if not ok.any():
    raise TableError(
      f'All {len(rows)} usable rows of the table {path} failed: there is nothing to fit.'
    )
  seconds = np.array([_finite(row.get(columns.seconds)) for row in rows])
  seconds = np.where(np.isfinite(seconds), seconds, _median_or_one(seconds))
  names, points = _varying(path, rows, constants, notes)
  _require_fittable(path, {columns.metric: metric[ok], columns.seconds: seconds})
  integers = frozenset(
    n for n, column in zip(names, points.T, strict=True) if not (column % 1).any()
  )
  return TrialTable(
    names, integers, points, np.where(ok, metric, np.nan), ok, seconds, tuple(notes)
  )


def _varying(
  path: pathlib.Path, rows: list[Row], constants: Sequence[str], notes: list[str]
) -> tuple[tuple[str, ...], np.ndarray]:
  """Returns the names of the constants that vary, and their values, [rows, d]."""
  points = np.array([[_number(row[c]) for c in constants] for row in rows], float)
  _require_fittable(path, dict(zip(constants, points.T, strict=True)))
  varied = np.flatnonzero(np.ptp(points, axis=0) > 0).tolist()
  if not varied:
    raise TableError(f'No constant varies in the table {path}: there is nothing to search over.')
  same = [constant for i, constant in enumerate(constants) if i not in varied]
  if same:
    notes.append(f'Left out, since they do not vary: {", ".join(same)}.')
  names = tuple(_all_caps(constants[i]) for i in varied)
  if len(set(names)) < len(names):
    raise TableError(f'Two constants of the table {path} have the same name in ALL_CAPS: {names}.')
  return names, points[:, varied]


def _require_fittable(path: pathlib.Path, columns: Mapping[str, np.ndarray]) -> None:
  for name, numbers in columns.items():
    if (huge := numbers[np.abs(numbers) > MAX_NUMBER]).size:
      raise TableError(
        f'The column {name!r} of the table {path} contains {huge[0]:g}; a surrogate cannot be '
        f'fitted to numbers above {MAX_NUMBER:g}.'
      )


def _rows(path: pathlib.Path) -> list[Row]:
  try:
    text = path.read_text(encoding='utf-8-sig')  # spreadsheets write a byte-order mark
  except (OSError, ValueError) as error:
    shipped = ', '.join(sorted(p.stem for p in SHIPPED.glob('*.csv')))
    raise TableError(
      f'There is no table {str(path)!r} ({error}). Shipped tables: {shipped}.'
    ) from None
  if path.suffix != '.json':
    return _csv_rows(path, text)
  try:
    rows = json.loads(text)
  except ValueError as error:
    raise TableError(f'{path} is not valid JSON: {error}.') from None
  if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
    raise TableError(f'{path} must be a list of objects, one per trial.')
  return rows


def _csv_rows(path: pathlib.Path, text: str) -> list[Row]:
  """Reads CSV; rows with non-empty cells beyond the header have the key EXTRA_CELLS."""
  try:
    rows: list[Row] = list(csv.DictReader(io.StringIO(text, newline=''), restkey=EXTRA_CELLS))
  except csv.Error as error:
    raise TableError(f'{path} is not valid CSV: {error}.') from None
  for row in rows:
    if not any(row.get(EXTRA_CELLS, ())):
      row.pop(EXTRA_CELLS, None)
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
      f'The table {path} has no numeric column for constants; it has: {", ".join(existing)}.'
    )
  return numeric


def _is_numeric(rows: list[Row], column: str) -> bool:
  """Whether all values that are present are numbers."""
  present = [row.get(column) for row in rows if row.get(column) not in (None, '')]
  return bool(present) and all(_parsed(value) is not None for value in present)


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


def _claims_success(path: pathlib.Path, row: Row, column: str, existing: list[str]) -> bool:
  """Whether the row claims success; without such a column every row does."""
  if column not in existing:
    return True
  word = str(row.get(column, '') if row.get(column) is not None else '').strip().lower()
  if word not in TRUE + FALSE:
    raise TableError(
      f'The column {column!r} of the table {path} contains {word!r}; allowed values: '
      f'{", ".join(TRUE)} or {", ".join(FALSE[:-1])}.'
    )
  return word in TRUE


def _median_or_one(seconds: np.ndarray) -> float:
  return float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else 1.0


def _all_caps(name: str) -> str:
  word = re.sub(r'\W', '_', name).upper()
  return word if not word[:1].isdigit() else f'C{word}'
