"""Tables of recorded trials: CSV, or JSON as a list of objects, one row per training run.

A row has constants (numbers, or text with a few values), a metric and, where recorded, whether it
succeeded, its seed and its seconds. The table's notes say which columns and rows are left out and
what counts as a failure: a row with a missing constant or with more cells than the header is left
out; a row that claims success without a finite metric is a failure, and so is one whose metric
looks like a placeholder (see `table_outcomes.py`).
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from autoresearch_jax.benchmark.simulations import table_outcomes
from autoresearch_jax.benchmark.simulations.table_outcomes import words_of

SHIPPED = pathlib.Path(__file__).resolve().parent / 'tables'
EXTRA_CELLS = '\n'  # the key of cells beyond the header; no column can have this name

MAX_NUMBER = 1e100  # larger numbers overflow in the fit
MAX_LEVELS = 20  # of a text column; one with more is a comment, not a category

SECONDS = ('seconds', 'secs', 'duration', 'elapsed', 'runtime', 'walltime', 'wallseconds', 'time',
           'trainseconds', 'trainingseconds', 'durationseconds', 'elapsedseconds', 'elapsedtime',
           'walltimeseconds', 'timeseconds', 'runtimeseconds')  # fmt: skip
SEEDS = ('seed', 'randomseed', 'trainingseed', 'trainseed', 'rngseed', 'prngseed')
IDS = ('id', 'index', 'number', 'trial', 'run', 'trialid', 'runid', 'trialnumber', 'runnumber',
       'step', 'iteration', 'unnamed0', '')  # fmt: skip
SPLITS = ('train', 'training', 'val', 'valid', 'validation', 'test', 'eval', 'dev', 'best', 'final')
METRICS = ('loss', 'bpb', 'acc', 'accuracy', 'perplexity', 'ppl', 'error', 'auc', 'f1', 'mse',
           'rmse', 'mae', 'score', 'nll', 'bleu')  # fmt: skip

Row = dict[str, Any]


class TableError(ValueError):
  """The table cannot be used; the message says what was found and which columns exist."""


@dataclasses.dataclass(frozen=True)
class Columns:
  """The meaning of a table's columns.

  The success, seconds and seed columns may be absent if they have the names below, and are then
  looked for under other usual names; a column with another name must exist.

  Attributes:
    metric: The metric.
    success: Whether the run succeeded.
    seconds: How long it took.
    seed: The training seed.
    constants: The constants; () for all other columns of numbers and categories.
    ties: Whether equal extreme metrics that look like placeholders count as failures.
    direction: Whether the metric is minimised or maximised.
  """

  metric: str
  success: str = 'ok'
  seconds: str = 'seconds'
  seed: str = 'seed'
  constants: tuple[str, ...] = ()
  ties: Literal['fail', 'keep'] = 'fail'
  direction: Literal['minimize', 'maximize'] = 'minimize'


@dataclasses.dataclass(frozen=True, eq=False)
class TrialTable:
  """The usable rows of a table.

  Attributes:
    names: Names of the d constants that vary, in ALL_CAPS.
    integers: Those that are integers, categories included.
    levels: Category -> its values; a program's integer is the place in this list.
    points: The constants, [rows, d].
    metric: The metric, [rows]; NaN for failures.
    ok: Whether the run succeeded; bool, [rows].
    seconds: How long it took, [rows].
    notes: Sentences on what was found and what was left out.
  """

  names: tuple[str, ...]
  integers: frozenset[str]
  levels: Mapping[str, tuple[str, ...]]
  points: np.ndarray
  metric: np.ndarray
  ok: np.ndarray
  seconds: np.ndarray
  notes: tuple[str, ...]

  @property
  def level_counts(self) -> tuple[int, ...]:
    """The number of values of each category, and 0 for each number; [d]."""
    return tuple(len(self.levels.get(name, ())) for name in self.names)


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
  _require_named(path, columns, existing)
  columns = dataclasses.replace(
    columns,
    seconds=_found(columns.seconds, SECONDS, rows, existing, notes),
    seed=_found(columns.seed, SEEDS, rows, existing, notes),
  )
  constants, levels = _constants(path, rows, columns, existing, notes)
  coded = [_coded(row, constants, levels) for row in rows]
  kept = [i for i, point in enumerate(coded) if None not in point]
  if lost := len(rows) - len(kept):
    notes.append(f'{lost} of {len(rows)} rows lack a constant and are left out.')
  if not kept:
    raise TableError(f'No row of the table {path} has all of {", ".join(constants)} as numbers.')
  points = np.array([coded[i] for i in kept], float)
  return _table(path, [rows[i] for i in kept], points, constants, levels, columns, existing, notes)


def _coded(
  row: Row, constants: Sequence[str], levels: Mapping[str, tuple[str, ...]]
) -> tuple[float | None, ...]:
  """Returns a row's constants as numbers; None where one is missing."""
  return tuple(
    levels[c].index(_text(row.get(c))) if c in levels else _number(row.get(c)) for c in constants
  )


def _require_named(path: pathlib.Path, columns: Columns, existing: list[str]) -> None:
  """Raises TableError if a column that the user named does not exist."""
  default = Columns(columns.metric)
  named = [columns.metric, *columns.constants]
  for field in ('success', 'seconds', 'seed'):
    if (name := getattr(columns, field)) != getattr(default, field):
      named.append(name)
  for name in named:
    if name not in existing:
      raise TableError(f'The table {path} has no column {name!r}; it has: {", ".join(existing)}.')


def _found(
  named: str, usual: tuple[str, ...], rows: list[Row], existing: list[str], notes: list[str]
) -> str:
  """Returns the column, or if it is absent the first of numbers with a usual name."""
  if named in existing:
    return named
  for column in existing:
    if ''.join(words_of(column)) in usual and _is_numeric(rows, column):
      notes.append(f'The column {column!r} is taken as {named}; --{named} names another.')
      return column
  return named


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
  points: np.ndarray,
  constants: Sequence[str],
  levels: Mapping[str, tuple[str, ...]],
  columns: Columns,
  existing: list[str],
  notes: list[str],
) -> TrialTable:
  metric = np.array([_finite(row.get(columns.metric)) for row in rows])
  ok = _succeeded(path, rows, metric, columns, existing, notes)
  if columns.ties == 'fail':
    programs = [tuple(point) for point in points.tolist()]
    doubtful, doubts = table_outcomes.doubtful_metrics(
      np.where(ok, metric, np.nan), programs, columns.metric, columns.direction == 'maximize'
    )
    ok = ok & ~doubtful
    notes += doubts
  if not columns.constants and (column := table_outcomes.outcome_by_values(rows, constants, ok)):
    raise TableError(
      f'The column {column!r} of the table {path} separates exactly the {int((~ok).sum())} rows '
      f'that count as failures from the others. If it says whether a run succeeded, give '
      f'--success={column}; if it is a constant, list the constants by --constants.'
    )
  if not ok.any():
    raise TableError(
      f'All {len(rows)} usable rows of the table {path} failed: there is nothing to fit.'
    )
  seconds = np.array([_finite(row.get(columns.seconds)) for row in rows])
  seconds = np.where(np.isfinite(seconds), seconds, _median_or_one(seconds))
  names, points, coded = _varying(path, points, constants, levels, notes)
  _require_fittable(path, {columns.metric: metric[ok], columns.seconds: seconds})
  integers = frozenset(
    n for n, column in zip(names, points.T, strict=True) if not (column % 1).any()
  )
  return TrialTable(
    names, integers, coded, points, np.where(ok, metric, np.nan), ok, seconds, tuple(notes)
  )


def _succeeded(
  path: pathlib.Path,
  rows: list[Row],
  metric: np.ndarray,
  columns: Columns,
  existing: list[str],
  notes: list[str],
) -> np.ndarray:
  """Returns which rows succeeded, [rows], and adds notes."""
  default = Columns(columns.metric).success
  taken = {columns.metric, columns.seconds, columns.seed, *columns.constants}
  free = [c for c in existing if c not in taken or c == columns.success]
  try:
    success = table_outcomes.read_success(rows, free, columns.success, default)
  except table_outcomes.UnknownOutcome as error:
    raise TableError(f'The column {error.column!r} of the table {path} contains {error}') from None
  ok = success.claimed & np.isfinite(metric)
  notes += success.notes
  if success.columns and (wrong := int((success.claimed & ~ok).sum())):
    notes.append(
      f'{wrong} rows claim success without a finite {columns.metric} and count as failures.'
    )
  return ok


def _varying(
  path: pathlib.Path,
  points: np.ndarray,
  constants: Sequence[str],
  levels: Mapping[str, tuple[str, ...]],
  notes: list[str],
) -> tuple[tuple[str, ...], np.ndarray, dict[str, tuple[str, ...]]]:
  """Returns the constants that vary: their names, values [rows, d], and categories' levels."""
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
  by_name = {
    name: levels[constants[i]]
    for name, i in zip(names, varied, strict=True)
    if constants[i] in levels
  }
  return names, points[:, varied], by_name


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
  header = text.partition('\n')[0]
  delimiter = max(',;\t', key=header.count)  # the comma if there is none
  try:
    rows: list[Row] = list(
      csv.DictReader(io.StringIO(text, newline=''), restkey=EXTRA_CELLS, delimiter=delimiter)
    )
  except csv.Error as error:
    raise TableError(f'{path} is not valid CSV: {error}.') from None
  for row in rows:
    if not any(row.get(EXTRA_CELLS, ())):
      row.pop(EXTRA_CELLS, None)
  return rows


def _constants(
  path: pathlib.Path, rows: list[Row], columns: Columns, existing: list[str], notes: list[str]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
  """Returns the columns of constants, and the levels of those that are categories."""
  if columns.constants:
    return columns.constants, {
      c: found
      for c in columns.constants
      if not _is_numeric(rows, c) and (found := _levels(rows, c))
    }
  taken = {columns.metric, columns.success, columns.seconds, columns.seed}
  constants, levels, left_out = [], {}, []
  for column in (c for c in existing if c not in taken):
    numeric = _is_numeric(rows, column)
    if columns.success == Columns.success and table_outcomes.is_outcome(rows, column):
      continue  # success is read from it, and its note says so
    if reason := _not_a_constant(rows, column, numeric):
      left_out.append(f'{column} ({reason})')
    elif numeric:
      constants.append(column)
    elif found := _levels(rows, column):
      constants.append(column)
      levels[column] = found
    elif any(_text(row.get(column)) for row in rows):
      left_out.append(f'{column} (text that differs from row to row)')
  if left_out:
    notes.append(f'Left out: {", ".join(left_out)}; --constants names the columns to use.')
  if not constants:
    raise TableError(
      f'The table {path} has no numeric column or category for constants; it has: '
      f'{", ".join(existing)}.'
    )
  return tuple(constants), levels


def _not_a_constant(rows: list[Row], column: str, numeric: bool) -> str:
  """Returns why a column is likely not a constant, by its name and values; '' if it may be."""
  words = words_of(column)
  name = ''.join(words)
  if table_outcomes.is_outcome(rows, column):
    return 'an outcome'
  if numeric and name in (*SECONDS, *SEEDS):
    return 'seconds or a seed'
  values = [_text(row.get(column)) for row in rows]
  if numeric and name in IDS and len(set(values)) == len(rows):
    return 'numbers the rows'
  if numeric and len(words) > 1 and words[0] in SPLITS and words[-1] in METRICS:
    return 'a metric'
  return ''


def _levels(rows: list[Row], column: str) -> tuple[str, ...]:
  """Returns the values of a category, sorted; () if the column is free text or empty.

  Free text has no repeated value, or more than MAX_LEVELS of them.
  """
  values = sorted({_text(row.get(column)) for row in rows})
  repeated = len(values) <= MAX_LEVELS and len(values) < len(rows)
  return tuple(values) if repeated and values != [''] else ()


def _text(value: Any) -> str:
  """Returns a cell's text. CSV and JSON agree: true and True are the same."""
  text = '' if value is None else str(value).strip()
  return text.title() if text.lower() in ('true', 'false') else text


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


def _median_or_one(seconds: np.ndarray) -> float:
  return float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else 1.0


def _all_caps(name: str) -> str:
  word = re.sub(r'\W', '_', name).upper()
  return word if not word[:1].isdigit() else f'C{word}'
