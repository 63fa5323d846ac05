"""The results of a benchmark: an SQLite file with one row per run, written as runs finish.

A killed benchmark resumes, since `Results.keys` has the finished runs. Runs that cannot be compared
are refused: within a file, the label of a problem stands for one definition, budget and start, the
label of a strategy or rule for one set of options, and the code behind a label must not change.
"""

import contextlib
import csv
import dataclasses
import io
import os
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Self

import msgspec

from autoresearch_jax.benchmark.regret import RegretCurve
from autoresearch_jax.ledger.ownership import url_of
from autoresearch_jax.ledger.sqlite import is_database, transaction

APPLICATION_ID = 0x41524A42  # 'ARJB' in the header of the file
SCHEMA_VERSION = 2  # 2: digests of the code
# What is written beside results.db.
DERIVED_FILES = ('results.csv', 'leaderboard.md', 'leaderboard.html', 'leaderboard_figures')
Key = tuple[str, str, str, int]  # labels of problem, strategy and rule; instance seed


class ResultsError(ValueError):
  """Results cannot be read or compared; the message says why."""


def require_usable(folder: pathlib.Path) -> None:
  """Raises ResultsError for a folder with files of the user that a benchmark would overwrite."""
  if url := url_of(folder):
    raise ResultsError(f'--out is {url}, but it must be a folder of this machine; choose another.')
  if folder.exists() and not folder.is_dir():
    raise ResultsError(f'{folder} is a file; choose another --out.')
  if is_database(folder / 'results.db', APPLICATION_ID):
    return
  if taken := [name for name in DERIVED_FILES if os.path.lexists(folder / name)]:
    raise ResultsError(
      f'{folder} has {", ".join(taken)}, but is not the folder of a benchmark, which would '
      'overwrite that. Choose another --out, or move it away.'
    )


@dataclasses.dataclass(frozen=True)
class BenchmarkRun:
  """One row: the definition of a run, and its results.

  Attributes:
    problem: Label of the problem.
    simulation: Registered name of its simulation.
    simulation_options: Options of the simulation.
    problem_code: Digest of the code behind it, see `sources.py`.
    definition: Digest of the instance: simulation, options, seed, start and optimum.
    start: Digest of the unmodified program.
    instance_seed: Seed of the instance.
    trials: Budget in training runs.
    slots: Trials that ran at the same time.
    strategy: Label of the strategy.
    strategy_name: Its registered name.
    strategy_options: Its options.
    strategy_code: Digest of the code behind it.
    acceptance: Label of the acceptance rule.
    acceptance_name: Its registered name.
    acceptance_options: Its options.
    acceptance_code: Digest of the code behind it.
    seed: Root of the run's randomness.
    curve: Regret over the run.
    final: Normalized regret at the end.
    area_runs: Mean regret over the budget in training runs, see `regret.areas`.
    area_seconds: Mean regret over the budget in device seconds.
    area_calls: Mean regret over the budget in proposer calls.
    runs: Training runs used.
    seconds: Device seconds used.
    calls: Proposer calls made.
    run_seconds: Device seconds of one training run of the start.
    statuses: Number of trials by status.
    kept: Number of trials kept after the baseline.
    false_keeps: How many of them were worse than the incumbent before, without noise.
    versions: Versions of the packages that can change a result.
  """

  problem: str
  simulation: str
  simulation_options: dict[str, Any]
  problem_code: str
  definition: str
  start: str
  instance_seed: int
  trials: float
  slots: int
  strategy: str
  strategy_name: str
  strategy_options: dict[str, Any]
  strategy_code: str
  acceptance: str
  acceptance_name: str
  acceptance_options: dict[str, Any]
  acceptance_code: str
  seed: int
  curve: RegretCurve
  final: float
  area_runs: float
  area_seconds: float
  area_calls: float
  runs: float
  seconds: float
  calls: int
  run_seconds: float
  statuses: dict[str, int]
  kept: int
  false_keeps: int
  versions: dict[str, str]

  @property
  def key(self) -> Key:
    return self.problem, self.strategy, self.acceptance, self.instance_seed


FIELDS = tuple(f.name for f in dataclasses.fields(BenchmarkRun))
JSON = ('simulation_options', 'strategy_options', 'acceptance_options', 'curve', 'statuses',
        'versions')  # fmt: skip
# Fields that must agree between runs with the same label, and their names in error messages.
MEANINGS = {
  'problem': {
    'simulation': 'simulation',
    'simulation_options': 'options',
    'trials': 'budget (trials)',
    'slots': 'slots',
    'problem_code': 'code',
  },
  'strategy': {
    'strategy_name': 'strategy',
    'strategy_options': 'options',
    'strategy_code': 'code',
  },
  'acceptance': {
    'acceptance_name': 'rule',
    'acceptance_options': 'options',
    'acceptance_code': 'code',
  },
}
_SCHEMA = f"""
CREATE TABLE about (name TEXT NOT NULL);
CREATE TABLE runs ({', '.join(FIELDS)},
  PRIMARY KEY (problem, strategy, acceptance, instance_seed));
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Results:
  """An open results file.

  Attributes:
    path: The file.
    name: Name of the benchmark.
    keys: Keys of the runs in it.
  """

  def __init__(self, connection: sqlite3.Connection, path: pathlib.Path):
    self.path = path
    (self.name,) = connection.execute('SELECT name FROM about').fetchone()
    self._connection = connection
    self._meanings = _Meanings(path)
    self.keys: set[Key] = set()
    for run in self.runs():
      self._check_and_add(run)

  @classmethod
  def open(cls, path: pathlib.Path, name: str) -> Self:
    """Opens or creates the file of a benchmark by its name. Raises ResultsError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _readable(path):
      connection = sqlite3.connect(path, isolation_level=None)
      try:
        _require_ours(connection, path, name)
        return cls(connection, path)
      except BaseException:
        connection.close()
        raise

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Opens the existing file of any benchmark. Raises ResultsError, OSError."""
    if not is_database(path, APPLICATION_ID):
      raise ResultsError(
        f'{path} has no benchmark results; give the folder of a benchmark by --out.'
      )
    with _readable(path), contextlib.closing(sqlite3.connect(path)) as connection:
      (name,) = connection.execute('SELECT name FROM about').fetchone()
    return cls.open(path, name)

  def close(self) -> None:
    self._connection.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def add(self, runs: Iterable[BenchmarkRun]) -> None:
    """Writes finished runs, all or none. Raises ResultsError if they cannot be compared."""
    runs = list(runs)
    for run in runs:
      self._check_and_add(run)
    marks = ', '.join('?' * len(FIELDS))
    with _readable(self.path), transaction(self._connection):
      self._connection.executemany(
        f'INSERT OR IGNORE INTO runs VALUES ({marks})', [_values(run) for run in runs]
      )

  def runs(self) -> Iterator[BenchmarkRun]:
    """Yields all rows, ordered by key."""
    order = 'problem, strategy, acceptance, instance_seed'
    with _readable(self.path):
      for row in self._connection.execute(f'SELECT {", ".join(FIELDS)} FROM runs ORDER BY {order}'):
        yield _run(row)

  def require(self, kind: str, label: str, meaning: dict[str, Any]) -> None:
    """Raises ResultsError if runs with this label differ in one of the fields in MEANINGS.

    Args:
      kind: Key of MEANINGS.
      label: The label.
      meaning: Values of the fields.
    """
    self._meanings.require(kind, label, meaning)

  def csv(self) -> str:
    """Returns the table as CSV with a header; options, curves and counts as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(FIELDS)
    writer.writerows(_values(run) for run in self.runs())
    return text.getvalue()

  def _check_and_add(self, run: BenchmarkRun) -> None:
    self._meanings.add(run)
    self.keys.add(run.key)


class _Meanings:
  """The definition behind each label in the rows so far."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._known: dict[tuple[str, str], dict[str, Any]] = {}
    self._instances: dict[tuple[str, int], tuple[str, str]] = {}

  def add(self, run: BenchmarkRun) -> None:
    for kind, fields in MEANINGS.items():
      self.require(kind, getattr(run, kind), {f: getattr(run, f) for f in fields})
    place, found = (run.problem, run.instance_seed), (run.start, run.definition)
    known = self._instances.setdefault(place, found)
    for what, before, now in zip(('start', 'definition'), known, found, strict=True):
      if before != now:
        raise ResultsError(
          f'{self.path} has runs of problem {run.problem!r}, seed {run.instance_seed}, with '
          f'another {what} ({before[:12]} there, {now[:12]} now), which cannot be compared: the '
          f'simulation has changed. Choose another --out.'
        )

  def require(self, kind: str, label: str, meaning: dict[str, Any]) -> None:
    known = self._known.setdefault((kind, label), meaning)
    for field, words in MEANINGS[kind].items():
      if words == 'code' and known[field] != meaning[field]:
        raise ResultsError(
          f'{self.path} has runs of the {kind} {label!r} with other code, which cannot be '
          f'compared. Choose another --out.'
        )
      if known[field] != meaning[field]:
        raise ResultsError(
          f'{self.path} has runs of the {kind} {label!r} with the {words} {known[field]!r}, '
          f'not {meaning[field]!r}, which cannot be compared. Restore the value, or choose '
          f'another label or another --out.'
        )


def _values(run: BenchmarkRun) -> tuple[Any, ...]:
  return tuple(
    msgspec.json.encode(getattr(run, f), order='sorted').decode() if f in JSON else getattr(run, f)
    for f in FIELDS
  )


def _run(row: tuple[Any, ...]) -> BenchmarkRun:
  values = dict(zip(FIELDS, row, strict=True))
  values |= {field: msgspec.json.decode(values[field]) for field in JSON}
  return msgspec.convert(values, BenchmarkRun)


def _require_ours(connection: sqlite3.Connection, path: pathlib.Path, name: str) -> None:
  """Creates the tables in an empty file. Raises ResultsError for any other database."""
  tables = connection.execute('SELECT COUNT(*) FROM sqlite_master').fetchone()[0]
  if not tables:
    connection.execute('PRAGMA journal_mode = WAL')
    connection.executescript(f'BEGIN IMMEDIATE;{_SCHEMA}')
    connection.execute('INSERT INTO about VALUES (?)', (name,))
    connection.execute('COMMIT')
  (kind,) = connection.execute('PRAGMA application_id').fetchone()
  (version,) = connection.execute('PRAGMA user_version').fetchone()
  if kind != APPLICATION_ID:
    raise ResultsError(f'{path} is a database without benchmark results; choose another --out.')
  if version != SCHEMA_VERSION:
    raise ResultsError(
      f'{path} has schema version {version}; this version of autoresearch_jax reads '
      f'{SCHEMA_VERSION}. Choose another --out.'
    )
  (held,) = connection.execute('SELECT name FROM about').fetchone()
  if held != name:
    raise ResultsError(
      f'{path} has the results of the benchmark {held!r}, not {name!r}; choose another --out.'
    )


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
  """Converts errors of SQLite to ResultsError."""
  try:
    yield
  except sqlite3.Error as error:
    raise ResultsError(f'{path} cannot be used for results: {error}.') from error
