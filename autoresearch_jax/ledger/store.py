"""The ledger: the append-only event log of a run, in SQLite, and the only source of truth.

The research loop appends events; everything else (history, results.tsv, the git repository, the
report) is derived from them. An event is a row (index, kind, trial, time, payload, checksum). Each
checksum covers the previous one, so changed or missing rows are detected on reading, and triggers
refuse UPDATE and DELETE. A witness file reveals a missing end (`witness.py`). Repairs are made by
`repair.py`.

Events are stored in the schema of the version that wrote them, and upgraded on reading
(`upgrade.py`): rows cannot be rewritten, since checksums and triggers forbid it. Every session
records its schema version in its first event (Started or Resumed), so a run that was begun by an
earlier version and resumed by this one is read correctly throughout.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from autoresearch_jax.clock import monotonic_time
from autoresearch_jax.ledger import sqlite, texts
from autoresearch_jax.ledger.events import (
  CONSULTED,
  KINDS,
  Damaged,
  Event,
  LedgerError,
  Record,
  Resumed,
  Started,
)
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.upgrade import SCHEMA_VERSION, upgrade
from autoresearch_jax.ledger.witness import Witness, read_witness, witness_path
from autoresearch_jax.types import from_builtins, to_builtins

SCHEMA = 'schema'  # in the payload of a session's first event; absent in version 1
SESSION_KINDS = tuple(kind.__name__.lower() for kind in (Started, Resumed))

Row = tuple[int, str, int | None, float, str, str]  # as in the table


@dataclasses.dataclass(frozen=True)
class Position:
  """A place between two events of a ledger.

  Attributes:
    index: Number of events before it.
    checksum: Of the last of them.
    schema: Version in which they were written.
  """

  index: int = 0
  checksum: str = ''
  schema: int = 1


class Ledger:
  """The event log in one file. One process appends at a time, since the workspace is locked.

  Attributes:
    path: The file.
  """

  def __init__(
    self, connection: sqlite3.Connection, path: pathlib.Path, clock: Callable[[], float]
  ):
    """Use `open` or `read` instead."""
    self.path = path
    self._connection = connection
    self._clock = clock
    self._texts: dict[str, str] = {}  # programs' files by digest
    self._next, self._checksum = 0, ''
    self._witness = Witness(None)

  @classmethod
  def open(cls, path: pathlib.Path, clock: Callable[[], float] = monotonic_time) -> Self:
    """Opens or creates the ledger for appending, and verifies all events.

    Args:
      path: The file.
      clock: Returns the time of an appended event, in Unix seconds.

    Raises:
      LedgerError: It cannot be opened, is damaged, or was written by a later version.
    """
    last = read_witness(path)
    if last is not None and not (path.exists() and path.stat().st_size):
      raise _missing_end(path, 0, last[0])
    with sqlite.explained(path):
      connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ledger = cls(connection, path, clock)
    with contextlib.ExitStack() as failing:
      failing.enter_context(ledger)
      with sqlite.explained(path):
        sqlite.prepare(connection)
        sqlite.require_known_version(connection, path)
      for _ in ledger.records():
        pass
      ledger._require_witnessed(last)
      ledger._witness = Witness.open(path)
      failing.pop_all()
    return ledger

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Opens the ledger for reading only, also while a run appends to it.

    Raises:
      LedgerError: There is none, or it cannot be read.
    """
    if not path.is_file():
      raise LedgerError(f'There is no ledger at {path}; use the --workdir of a run.')
    with sqlite.explained(path):
      connection = sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True)
    ledger = cls(connection, path, monotonic_time)
    with contextlib.ExitStack() as failing, sqlite.explained(path):
      failing.enter_context(ledger)
      sqlite.require_known_version(connection, path)
      failing.pop_all()
    return ledger

  def close(self) -> None:
    """Closes the files. Idempotent."""
    self._connection.close()
    self._witness.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __len__(self) -> int:
    return self._next

  def append(self, event: Event) -> Record:
    """Appends an event durably, and returns it as a reader gets it.

    Raises:
      msgspec.ValidationError: The event would not read back (a metric that is not finite, say);
        the ledger is unchanged.
      LedgerError: It cannot be written.
    """
    kind = type(event).__name__.lower()
    payload = to_builtins(event)
    if kind in SESSION_KINDS:
      payload[SCHEMA] = SCHEMA_VERSION
    long = texts.take(payload)
    trial = payload.pop('trial', None)
    now, body = self._clock(), msgspec.json.encode(payload).decode()
    record = self._record(self._next, kind, trial, now, body, SCHEMA_VERSION, long)
    checksum = _chain(self._checksum, self._next, kind, trial, now, body)
    with sqlite.explained(self.path), sqlite.transaction(self._connection):
      if kind in SESSION_KINDS:  # an earlier version would misread what follows
        self._connection.execute(f'PRAGMA user_version = {SCHEMA_VERSION}')
      rows = [(d, texts.compress(t) if kind == CONSULTED else t) for d, t in long.items()]
      self._connection.executemany('INSERT OR IGNORE INTO texts VALUES (?, ?)', rows)
      row = (self._next, kind, trial, now, body, checksum)
      self._connection.execute('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)', row)
    self._witness.write(self._next, checksum)
    self._next, self._checksum = self._next + 1, checksum
    return record

  def records(self) -> Iterator[Record]:
    """Yields all events in order, and verifies their checksums. Raises Damaged."""
    place = Position()
    for row in self._rows():
      place, record = self._after(place, row)
      yield record
    self._next, self._checksum = place.index, place.checksum

  def records_since(self, place: Position) -> tuple[list[Record], Position]:
    """Returns the events from a place on, verified, and the place after them.

    Raises:
      Damaged: An event was changed, or the ledger is not the one in which the place is.
    """
    if place.index and self.row(place.index - 1) is None:
      raise _missing_end(self.path, 0, place.index - 1)
    found = []
    for row in self._rows(place.index):
      place, record = self._after(place, row)
      found.append(record)
    return found, place

  def _after(self, place: Position, row: Row) -> tuple[Position, Record]:
    """Returns the event of the row at a place, verified, and the place after it."""
    schema = _schema(row, place.schema)
    record = self._checked(row, place.index, place.checksum, schema)
    return Position(place.index + 1, row[-1], schema), record

  def intact_records(self) -> tuple[list[Record], str]:
    """Returns the events before the first damaged one, and a description of the damage or ''.

    Reads row by row, so that damage does not hide the rows before it.
    """
    found: list[Record] = []
    checksum, schema = '', 1
    try:
      while (row := self.row(len(found))) is not None:
        schema = _schema(row, schema)
        found.append(self._checked(row, len(found), checksum, schema))
        checksum = row[-1]
    except Damaged as error:
      return found, str(error)
    return found, ''

  def row(self, index: int) -> Row | None:
    """Returns the row of an event without verifying it. Raises Damaged if it cannot be read."""
    with sqlite.explained(self.path):
      select = 'SELECT * FROM events WHERE "index" = ?'
      return self._connection.execute(select, [index]).fetchone()

  def _checked(self, row: Row, expected: int, before: str, schema: int) -> Record:
    index, kind, trial, when, body, stored = row
    advice = _advice(self.path, expected)
    if index != expected:
      raise Damaged(f'{self.path}: event {expected} is missing; the next one is {index}. {advice}')
    if _chain(before, index, kind, trial, when, body) != stored:
      raise Damaged(
        f'{self.path}: event {index} ({kind}, trial {trial}) was changed: its checksum does not '
        f'match. {advice}'
      )
    try:
      return self._record(index, kind, trial, when, body, schema, {})
    except msgspec.ValidationError as error:
      raise LedgerError(
        f'{self.path}: event {index} ({kind}, trial {trial}) cannot be read: {error}. Use the '
        f'version of autoresearch_jax that wrote it.'
      ) from None

  def _require_witnessed(self, last: tuple[int, str] | None) -> None:
    if last is None:
      return
    index, checksum = last
    row = self.row(index)
    if row is None:
      raise _missing_end(self.path, self._next, index)
    if row[-1] != checksum:
      raise Damaged(
        f'{self.path} is not the ledger that was written here: the checksum of event {index} '
        f'differs from the one in {witness_path(self.path).name}. Restore the right file, or run '
        f'`autoresearch repair {self.path.parent}`.'
      )

  def _rows(self, first: int = 0) -> list[Row]:
    """Returns all rows at once, so that no read transaction stays open while the caller works."""
    with sqlite.explained(self.path):
      select = 'SELECT * FROM events WHERE "index" >= ? ORDER BY "index"'
      return self._connection.execute(select, [first]).fetchall()

  def _record(
    self,
    index: int,
    kind: str,
    trial: int | None,
    when: float,
    body: str,
    schema: int,
    long: dict[str, str],
  ) -> Record:
    """Returns the event of a row. `long` has the texts that are not stored yet, by digest."""
    payload = msgspec.json.decode(body)
    if kind in SESSION_KINDS:
      payload.pop(SCHEMA, None)
    kind, payload = upgrade(kind, payload, schema)
    if kind not in KINDS:
      raise LedgerError(f'{self.path}: event {index} is of the unknown kind {kind!r}.')
    if trial is not None:
      payload['trial'] = trial
    texts.put(payload, lambda key: long[key] if key in long else self._text(key, index))
    return Record(index, when, from_builtins(payload, KINDS[kind]))

  def _text(self, key: str, index: int) -> str:
    if key not in self._texts:
      with sqlite.explained(self.path):
        select = 'SELECT text FROM texts WHERE digest = ?'
        row = self._connection.execute(select, [key]).fetchone()
      text = texts.decompress(row[0]) if row else None
      if text is None or texts.digest(text) != key:
        raise Damaged(
          f'{self.path}: the text {key[:12]} of event {index} is missing or changed. '
          f'{_advice(self.path, index)}'
        )
      if isinstance(row[0], bytes):
        return text  # rarely read; caching all of them would use too much memory
      self._texts[key] = text
    return self._texts[key]


def read_records(workdir: pathlib.Path) -> list[Record]:
  """Returns the events of the run in a folder, finished or in progress.

  Raises:
    LedgerError: There is no run, or its ledger cannot be read.
  """
  with Ledger.read(workdir / 'ledger.db') as ledger:
    records = list(ledger.records())
  if not any(isinstance(record.event, Started) for record in records):
    raise LedgerError(
      f'The run in {workdir} has not started: its ledger is empty. The run command starts it.'
    )
  return records


def read_history(workdir: pathlib.Path) -> History:
  """Returns the history of the run in a folder. Raises as `read_records` does."""
  return History.of(read_records(workdir))


def _schema(row: Row, before: int) -> int:
  """Returns the schema version of a row: that of its session's first event."""
  _, kind, _, _, body, _ = row
  if kind not in SESSION_KINDS:
    return before
  try:
    payload = msgspec.json.decode(body)
  except msgspec.DecodeError:  # damage, which the checksum shows
    return before
  return payload.get(SCHEMA, 1) if isinstance(payload, dict) else before


def _chain(before: str, *columns: object) -> str:
  return hashlib.sha256(msgspec.json.encode([before, *columns])).hexdigest()


def _missing_end(path: pathlib.Path, first: int, last: int) -> Damaged:
  return Damaged(
    f'{path}: events {first} to {last} are missing; the file was truncated, or replaced by an '
    f'older copy. {_advice(path, first)}'
  )


def _advice(path: pathlib.Path, intact: int) -> str:
  which = f'Events 0 to {intact - 1} are intact' if intact else 'No event is intact'
  return (
    f'{which}. Restore the file from a backup, or run `autoresearch repair {path.parent}` to move '
    f'it away and resume from event {intact}.'
  )
