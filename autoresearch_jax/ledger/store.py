"""The append-only event log of a run, in SQLite: the only source of truth.

The research loop appends; `history` folds the events into trials and states; the workspace and
the report derive everything else. An event is a row (index, kind, trial, time, payload,
checksum), and each checksum covers the one before it, so a changed or lost row is found by
whoever reads. Triggers refuse UPDATE and DELETE. Program texts are kept once, by digest, and so is
what was said to language models and agents, compressed by zlib.

Commits are durable when `append` returns: WAL with synchronous=FULL, since a trial costs minutes
and a commit a few milliseconds. A file beside the ledger, its witness, names the last event, so
that a file that was cut, or replaced by an older copy, is found too. This module decides nothing
and repairs nothing; `repair` does.
"""

import contextlib
import hashlib
import os
import pathlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import msgspec

from autoresearch_jax.clock import steady
from autoresearch_jax.ledger.events import (
  CONSULTED,
  KINDS,
  SIDES,
  Damaged,
  Event,
  LedgerError,
  Record,
)
from autoresearch_jax.types import from_builtins, to_builtins

SCHEMA_VERSION = 1
MAX_VERSIONS = 1000  # a higher number, and none, is no schema that ever was
APPLICATION_ID = 0x41524A58  # 'ARJX', shown by the `file` command

_SCHEMA = f"""
CREATE TABLE events (
  "index" INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  trial INTEGER,
  time REAL NOT NULL,
  payload TEXT NOT NULL,
  checksum TEXT NOT NULL
);
CREATE TABLE texts (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX events_by_trial ON events (trial);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END;
CREATE TRIGGER texts_no_update BEFORE UPDATE ON texts
  BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END;
CREATE TRIGGER texts_no_delete BEFORE DELETE ON texts
  BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


Row = tuple[int, str, int | None, float, str, str]  # as in the table


class Ledger:
  """The event log in one file. One process appends at a time: the workspace is locked."""

  def __init__(
    self, connection: sqlite3.Connection, path: pathlib.Path, clock: Callable[[], float]
  ):
    self.path = path
    self._connection = connection
    self._clock = clock
    self._texts: dict[str, str] = {}
    self._next, self._checksum = 0, ''
    self._witness: int | None = None  # a descriptor

  @classmethod
  def open(cls, path: pathlib.Path, clock: Callable[[], float] = steady) -> Self:
    """Opens or creates the ledger for appending, and checks every event. Raises LedgerError."""
    head = witnessed(path)
    if head is not None and not (path.exists() and path.stat().st_size):
      raise _gone(path, 0, head[0])
    with _sentences(path):
      connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ledger = cls(connection, path, clock)
    with contextlib.ExitStack() as failing:
      failing.enter_context(ledger)
      with _sentences(path):
        connection.execute('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = FULL')
        if not _version(connection):
          connection.executescript(f'BEGIN IMMEDIATE;{_SCHEMA}COMMIT;')
        ledger._require_known_schema()
      for _ in ledger.records():
        pass
      ledger._require_witnessed(head)
      ledger._witness = _open_witness(path)
      failing.pop_all()
    return ledger

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Opens the ledger for reading alone, also while a run appends. Raises LedgerError."""
    if not path.is_file():
      raise LedgerError(f'There is no ledger at {path}; name the --workdir of a run.')
    with _sentences(path):
      connection = sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True)
    ledger = cls(connection, path, steady)
    with contextlib.ExitStack() as failing, _sentences(path):
      failing.enter_context(ledger)
      ledger._require_known_schema()
      failing.pop_all()
    return ledger

  def close(self) -> None:
    self._connection.close()
    if self._witness is not None:
      os.close(self._witness)
      self._witness = None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __len__(self) -> int:
    return self._next

  def append(self, event: Event) -> Record:
    """Adds an event durably; returns it as a reader will see it.

    Raises msgspec.ValidationError and leaves the ledger as it was when the event would not read
    back (a metric that is not finite, say).
    """
    kind = type(event).__name__.lower()
    payload = to_builtins(event)
    texts = _take_texts(payload)
    trial = payload.pop('trial', None)
    now, body = self._clock(), msgspec.json.encode(payload).decode()
    record = self._record(self._next, kind, trial, now, body, texts)
    checksum = _chain(self._checksum, self._next, kind, trial, now, body)
    with _sentences(self.path), transaction(self._connection):
      stored = [(d, _packed(t) if kind == CONSULTED else t) for d, t in texts.items()]
      self._connection.executemany('INSERT OR IGNORE INTO texts VALUES (?, ?)', stored)
      row = (self._next, kind, trial, now, body, checksum)
      self._connection.execute('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)', row)
    if self._witness is not None:
      with contextlib.suppress(OSError):  # then it names an earlier event, which is no error
        os.pwrite(self._witness, _testimony(self._next, checksum), 0)
    self._next, self._checksum = self._next + 1, checksum
    return record

  def records(self) -> Iterator[Record]:
    """All events in order, each checked against its checksum. Raises Damaged at a bad one."""
    checksum, expected = '', 0
    for row in self._rows():
      yield self._checked(row, expected, checksum)
      expected, checksum = expected + 1, row[-1]
    self._next, self._checksum = expected, checksum

  def sound(self) -> tuple[list[Record], str]:
    """The events from the first on until one is not sound, and what is wrong there, or ''.

    Reads one by one, so that a damage does not hide what lies before it.
    """
    found: list[Record] = []
    checksum = ''
    try:
      while (row := self.row(len(found))) is not None:
        found.append(self._checked(row, len(found), checksum))
        checksum = row[-1]
    except Damaged as error:
      return found, str(error)
    return found, ''

  def row(self, index: int) -> Row | None:
    """An event's row, not checked. Raises Damaged where it cannot be read."""
    with _sentences(self.path):
      select = 'SELECT * FROM events WHERE "index" = ?'
      return self._connection.execute(select, [index]).fetchone()

  def _checked(self, row: Row, expected: int, before: str) -> Record:
    index, kind, trial, when, body, stored = row
    advice = _advice(self.path, expected)
    if index != expected:
      raise Damaged(f'{self.path}: event {expected} is missing; the next one is {index}. {advice}')
    if _chain(before, index, kind, trial, when, body) != stored:
      raise Damaged(
        f'{self.path}: event {index} ({kind}, trial {trial}) is not what was written: its '
        f'checksum does not match. {advice}'
      )
    try:
      return self._record(index, kind, trial, when, body, {})
    except msgspec.ValidationError as error:
      raise LedgerError(
        f'{self.path}: event {index} ({kind}, trial {trial}) cannot be read: {error}. Use the '
        f'version of autoresearch_jax that wrote it.'
      ) from None

  def _require_witnessed(self, witnessed: tuple[int, str] | None) -> None:
    if witnessed is None:
      return
    last, checksum = witnessed
    row = self.row(last)
    if row is None:
      raise _gone(self.path, self._next, last)
    if row[-1] != checksum:
      raise Damaged(
        f'{self.path} is another ledger than the one that was written here: event {last} has '
        f'another checksum than {_witness_path(self.path).name} says. Put the right file back, or '
        f'see what `autoresearch repair {self.path.parent}` says.'
      )

  def _rows(self) -> list[Row]:
    """All rows at one moment: no read transaction stays open while the caller works."""
    with _sentences(self.path):
      return self._connection.execute('SELECT * FROM events ORDER BY "index"').fetchall()

  def _record(
    self, index: int, kind: str, trial: int | None, when: float, body: str, texts: dict[str, str]
  ) -> Record:
    if kind not in KINDS:
      raise LedgerError(f'{self.path}: event {index} is of the unknown kind {kind!r}.')
    payload = msgspec.json.decode(body)
    if trial is not None:
      payload['trial'] = trial
    self._give_texts(payload, index, texts)
    return Record(index, when, from_builtins(payload, KINDS[kind]))

  def _give_texts(self, payload: dict[str, Any], index: int, texts: dict[str, str]) -> None:
    for program in _programs(payload):
      program['files'] = [[n, self._given(d, index, texts)] for n, d in program['files']]
    if exchange := payload.get('exchange'):
      for side in SIDES:
        if exchange.get(side):
          exchange[side] = self._given(exchange[side], index, texts)

  def _given(self, digest: str, index: int, texts: dict[str, str]) -> str:
    return texts[digest] if digest in texts else self._text(digest, index)

  def _text(self, digest: str, index: int) -> str:
    if digest not in self._texts:
      with _sentences(self.path):
        select = 'SELECT text FROM texts WHERE digest = ?'
        row = self._connection.execute(select, [digest]).fetchone()
      text = _unpacked(row[0]) if row else None
      if text is None or _digest(text) != digest:
        raise Damaged(
          f'{self.path}: the text {digest[:12]} of event {index} is lost or changed. '
          f'{_advice(self.path, index)}'
        )
      if isinstance(row[0], bytes):
        return text  # what was said to models is read rarely, and would fill the memory
      self._texts[digest] = text
    return self._texts[digest]

  def _require_known_schema(self) -> None:
    found = _version(self._connection)
    if found != SCHEMA_VERSION:
      kind = LedgerError if 0 < found < MAX_VERSIONS else Damaged
      raise kind(
        f'{self.path} has ledger schema {found}; this version of autoresearch_jax reads schema '
        f'{SCHEMA_VERSION}. Use the version that wrote it.'
      )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
  """Writes all of what is inside, or none of it. For connections without an isolation level."""
  connection.execute('BEGIN IMMEDIATE')
  try:
    yield
    connection.execute('COMMIT')
  except BaseException:
    if connection.in_transaction:  # SQLite may have rolled back by itself: on a full disk it does
      connection.execute('ROLLBACK')
    raise


def _version(connection: sqlite3.Connection) -> int:
  return connection.execute('PRAGMA user_version').fetchone()[0]


def _programs(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The programs inside an event's plain data: an edit's, and a proposal's that carries one."""
  for holder in (payload, payload.get('proposal') or {}):
    if holder.get('edit'):
      yield holder['edit']['program']


def _take_texts(payload: dict[str, Any]) -> dict[str, str]:
  """Replaces programs' texts and what was said in `payload` by digests; digest -> text."""
  texts: dict[str, str] = {}
  for program in _programs(payload):
    taken = {name: _digest(text) for name, text in program['files']}
    texts |= {taken[name]: text for name, text in program['files']}
    program['files'] = [[name, digest] for name, digest in taken.items()]
  if exchange := payload.get('exchange'):
    for side in SIDES:
      if text := exchange.get(side):
        exchange[side] = _digest(text)
        texts[exchange[side]] = text
  return texts


def _packed(text: str) -> bytes:
  return zlib.compress(text.encode(), 9)


def _unpacked(stored: str | bytes) -> str | None:
  """The text of a row, compressed or not; None when it is damaged."""
  if isinstance(stored, str):
    return stored
  if not isinstance(stored, bytes):
    return None
  try:
    return zlib.decompress(stored).decode()
  except (zlib.error, UnicodeDecodeError):
    return None


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _chain(before: str, *columns: object) -> str:
  return hashlib.sha256(msgspec.json.encode([before, *columns])).hexdigest()


def _witness_path(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix('.head')


def _testimony(index: int, checksum: str) -> bytes:
  """The witness's only line, always as long, so that it is written in one go and in place."""
  text = f'{index:012d} {checksum}'
  return f'{text} {_digest(text)[:16]}\n'.encode()


def witnessed(path: pathlib.Path) -> tuple[int, str] | None:
  """Index and checksum of the last event, says the witness; None where it says nothing sound."""
  try:
    line = _witness_path(path).read_bytes()
    index, checksum, _ = line.decode().split(' ')
    return (int(index), checksum) if line == _testimony(int(index), checksum) else None
  except (OSError, ValueError):
    return None


def _open_witness(path: pathlib.Path) -> int | None:
  with contextlib.suppress(OSError):  # it can be done without
    return os.open(_witness_path(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
  return None


def _gone(path: pathlib.Path, first: int, last: int) -> Damaged:
  return Damaged(
    f'{path}: the events {first} to {last} were written and are gone; the file was cut, or an '
    f'older copy put in its place. {_advice(path, first)}'
  )


def _advice(path: pathlib.Path, sound: int) -> str:
  which = f'Events 0 to {sound - 1} are sound' if sound else 'No event is sound'
  return (
    f'{which}; put a good copy of the file in its place, or let `autoresearch repair '
    f'{path.parent}` set it aside and go on from event {sound}.'
  )


_FREE = 'Free some space; the events before are safe, and the same command goes on from there.'
_WRITABLE = 'Make the file and its folder readable and writable for this user.'
# By SQLite's codes: what says nothing of the file's content, and what to do about it.
_NO_DAMAGE = {
  sqlite3.SQLITE_FULL: _FREE,
  sqlite3.SQLITE_IOERR: 'The disk failed or is full; the same command goes on when it is mended.',
  sqlite3.SQLITE_READONLY: _WRITABLE,
  sqlite3.SQLITE_CANTOPEN: _WRITABLE,
  sqlite3.SQLITE_PERM: _WRITABLE,
  sqlite3.SQLITE_AUTH: _WRITABLE,
  sqlite3.SQLITE_BUSY: 'Another program uses it; close that one.',
  sqlite3.SQLITE_LOCKED: 'Another program uses it; close that one.',
  sqlite3.SQLITE_NOMEM: 'The machine has no memory left.',
  sqlite3.SQLITE_CONSTRAINT: '',
}


@contextlib.contextmanager
def _sentences(path: pathlib.Path) -> Iterator[None]:
  """Turns SQLite's errors into LedgerErrors that name the file."""
  try:
    yield
  except sqlite3.DatabaseError as error:
    what = f'{path} cannot be used as a ledger: {error}.'
    # Python's own errors, of a text that is none, have no code.
    code = getattr(error, 'sqlite_errorcode', sqlite3.SQLITE_CORRUPT) & 0xFF
    if code not in _NO_DAMAGE:
      command = f'autoresearch repair {path.parent}'
      raise Damaged(f'{what} `{command}` says what is sound, and goes on from there.') from error
    raise LedgerError(f'{what} {_NO_DAMAGE[code]}'.strip()) from error
