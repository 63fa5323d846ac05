"""The results of a benchmark in one table file: SQLite, one row a run, written as runs finish.

A killed benchmark goes on where it was: `Results.keys` says which runs are there. What does not
compare is refused with a sentence: one problem's label must stand for one definition, budget and
start, and one strategy's or rule's label for one set of options; the code of all stays the same.
"""

import contextlib
import csv
import dataclasses
import io
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Self

import msgspec

from autoresearch_jax.benchmark.regret import RegretCurve
from autoresearch_jax.ledger.sqlite import transaction

APPLICATION_ID = 0x41524A42  # 'ARJB' in the header of the file
SCHEMA_VERSION = 2  # 2: digests of the code
Key = tuple[str, str, str, int]  # labels of problem, strategy and rule, and the instance's seed


class ResultsError(ValueError):
  """Results that cannot be read or do not compare; the sentence says which and why."""


@dataclasses.dataclass(frozen=True)
class BenchmarkRun:
  """One row: what was played, and what came of it.

  problem, strategy, acceptance: labels. *_code: digests of the code behind them, see `sources.py`.
  definition: digest of what makes the instance (simulation, options, seed, start, optimum). start:
  digest of the unmodified program. trials: the budget in training runs. seed: root of the run's
  randomness. curve: see `regret.RegretCurve`.
  final: normalised regret at the end. area_*: its mean over the budget, by training runs, device
  seconds and proposer calls (see `regret.areas`). runs, seconds, calls: used in all.
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
# What one label stands for, in the words of the sentence that refuses another meaning of it.
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
  """An open results file."""

  def __init__(self, connection: sqlite3.Connection, path: pathlib.Path):
    self.path = path
    self._connection = connection
    self._meanings = _Meanings(path)
    self.keys: set[Key] = set()
    for run in self.runs():
      self._take(run)

  @classmethod
  def open(cls, path: pathlib.Path, name: str) -> Self:
    """Opens or makes the file of the benchmark called `name`. Raises ResultsError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _readable(path):
      connection = sqlite3.connect(path, isolation_level=None)
      try:
        _require_ours(connection, path, name)
        return cls(connection, path)
      except BaseException:
        connection.close()
        raise

  def close(self) -> None:
    self._connection.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def add(self, runs: Iterable[BenchmarkRun]) -> None:
    """Writes finished runs, all or none. Raises ResultsError for what does not compare."""
    runs = list(runs)
    for run in runs:
      self._take(run)
    marks = ', '.join('?' * len(FIELDS))
    with _readable(self.path), transaction(self._connection):
      self._connection.executemany(
        f'INSERT OR IGNORE INTO runs VALUES ({marks})', [_values(run) for run in runs]
      )

  def runs(self) -> Iterator[BenchmarkRun]:
    """All rows, in an order that does not depend on when they were written."""
    order = 'problem, strategy, acceptance, instance_seed'
    with _readable(self.path):
      for row in self._connection.execute(f'SELECT {", ".join(FIELDS)} FROM runs ORDER BY {order}'):
        yield _run(row)

  def require(self, kind: str, label: str, meaning: dict[str, Any]) -> None:
    """Raises ResultsError when `label` stands for something else here; see MEANINGS."""
    self._meanings.require(kind, label, meaning)

  def csv(self) -> str:
    """The table as text, with a header; options, curves and counts as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(FIELDS)
    writer.writerows(_values(run) for run in self.runs())
    return text.getvalue()

  def _take(self, run: BenchmarkRun) -> None:
    self._meanings.take(run)
    self.keys.add(run.key)


class _Meanings:
  """What labels stand for in the rows so far."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._known: dict[tuple[str, str], dict[str, Any]] = {}
    self._instances: dict[tuple[str, int], tuple[str, str]] = {}

  def take(self, run: BenchmarkRun) -> None:
    for kind, fields in MEANINGS.items():
      self.require(kind, getattr(run, kind), {f: getattr(run, f) for f in fields})
    place, found = (run.problem, run.instance_seed), (run.start, run.definition)
    known = self._instances.setdefault(place, found)
    for what, before, now in zip(('start', 'definition'), known, found, strict=True):
      if before != now:
        raise ResultsError(
          f'{self.path} holds runs of problem {run.problem!r}, seed {run.instance_seed}, with '
          f'another {what} ({before[:12]} there, {now[:12]} now): they do not compare. The '
          f'simulation changed since; give another --out.'
        )

  def require(self, kind: str, label: str, meaning: dict[str, Any]) -> None:
    known = self._known.setdefault((kind, label), meaning)
    for field, words in MEANINGS[kind].items():
      if words == 'code' and known[field] != meaning[field]:
        raise ResultsError(
          f'{self.path} holds runs of the {kind} {label!r}, and the code of it changed since: '
          f'they do not compare. Give another --out.'
        )
      if known[field] != meaning[field]:
        raise ResultsError(
          f'{self.path} holds runs of the {kind} {label!r} with the {words} {known[field]!r}; '
          f'now it is {meaning[field]!r}. They do not compare: put the value back, or give '
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
  """Makes the tables in an empty file; refuses another kind of file, version or benchmark."""
  tables = connection.execute('SELECT COUNT(*) FROM sqlite_master').fetchone()[0]
  if not tables:
    connection.execute('PRAGMA journal_mode = WAL')
    connection.executescript(f'BEGIN IMMEDIATE;{_SCHEMA}')
    connection.execute('INSERT INTO about VALUES (?)', (name,))
    connection.execute('COMMIT')
  (kind,) = connection.execute('PRAGMA application_id').fetchone()
  (version,) = connection.execute('PRAGMA user_version').fetchone()
  if kind != APPLICATION_ID:
    raise ResultsError(f'{path} is a database, but not of benchmark results; give another --out.')
  if version != SCHEMA_VERSION:
    raise ResultsError(
      f'{path} has the schema {version}; this version of autoresearch_jax reads '
      f'{SCHEMA_VERSION}. Give another --out.'
    )
  (held,) = connection.execute('SELECT name FROM about').fetchone()
  if held != name:
    raise ResultsError(
      f'{path} holds the results of the benchmark {held!r}, and this one is {name!r}; give '
      f'another --out.'
    )


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
  """Turns what SQLite says into a sentence about the file."""
  try:
    yield
  except sqlite3.Error as error:
    raise ResultsError(f'{path} cannot be used for results: {error}.') from error
