"""The append-only event log of a run, in SQLite: the only source of truth.

The research loop appends; `history` folds the events into trials and states; the workspace and
the report derive everything else. An event is a row (index, kind, trial, time, payload,
checksum), and each checksum covers the one before it, so a changed or lost row is found by
whoever reads. Triggers refuse UPDATE and DELETE. Program texts are kept once, by digest, and so is
what was said to language models and agents, compressed by zlib.

Commits are durable when `append` returns: WAL with synchronous=FULL, since a trial costs minutes
and a commit a few milliseconds. This module decides nothing and repairs nothing.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Self, get_args

import msgspec

from autoresearch_jax.awake import steady
from autoresearch_jax.types import (
  Edit,
  Exchange,
  Lesson,
  Proposal,
  Result,
  Verdict,
  from_builtins,
  to_builtins,
)

SCHEMA_VERSION = 1
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


class LedgerError(RuntimeError):
  """The ledger cannot be read or does not hold together; the sentence says where."""


@dataclasses.dataclass(frozen=True)
class Started:
  """The run began; event 0, or the last one before the first proposal (a false start came before).

  dataset: fingerprint of the data that metrics refer to.
  config: a Config as plain data. tag: names the branch `autoresearch/<tag>`. versions: of
  packages that can change a result.
  """

  config: dict[str, Any]
  tag: str
  dataset: str = ''
  versions: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Resumed:
  """The same command was started again, after a stop or a kill."""

  versions: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Stopped:
  """A run ended in good order (a killed one leaves no such event)."""

  reason: str


@dataclasses.dataclass(frozen=True)
class Proposed:
  """The strategy asked for a trial. Exactly one Edited or Declined follows."""

  trial: int
  proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Edited:
  """The proposal has its program; from now on the trial exists and will get a result.

  ahead: it was prepared while others run, and waits for its Released.
  """

  trial: int
  edit: Edit
  ahead: bool = False


@dataclasses.dataclass(frozen=True)
class Released:
  """A trial that was prepared ahead begins, as the strategy wants it by now.

  proposal, edit: what is run; None where it is what was asked for and prepared.
  """

  trial: int
  proposal: Proposal | None = None
  edit: Edit | None = None


@dataclasses.dataclass(frozen=True)
class Consulted:
  """A language model or an agent was called for this trial, or has answered."""

  trial: int
  exchange: Exchange


@dataclasses.dataclass(frozen=True)
class Learned:
  """Lessons that a language model drew from the trials so far; they replace its earlier ones."""

  lessons: tuple[Lesson, ...]


@dataclasses.dataclass(frozen=True)
class Declined:
  """No program came of the proposal, which counts as never asked; its trial id is used again.

  failed: the proposer broke, as opposed to having nothing to propose.
  """

  trial: int
  reason: str
  failed: bool = False


@dataclasses.dataclass(frozen=True)
class Finished:
  """The executor returned the trial's result."""

  trial: int
  result: Result


@dataclasses.dataclass(frozen=True)
class Decided:
  """Acceptance judged the trial."""

  trial: int
  verdict: Verdict


Event = (
  Started
  | Resumed
  | Stopped
  | Proposed
  | Consulted
  | Edited
  | Declined
  | Released
  | Finished
  | Decided
  | Learned
)

CONSULTED = 'consulted'
SIDES = ('request', 'response')  # of an exchange
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Event)}


@dataclasses.dataclass(frozen=True)
class Record:
  """An event with its place in the ledger. time: Unix seconds."""

  index: int
  time: float
  event: Event


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

  @classmethod
  def open(cls, path: pathlib.Path, clock: Callable[[], float] = steady) -> Self:
    """Opens or creates the ledger for appending, and checks every event. Raises LedgerError."""
    with _sentences(path):
      connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
      connection.execute('PRAGMA journal_mode = WAL')
      connection.execute('PRAGMA synchronous = FULL')
      if not _version(connection):
        connection.executescript(f'BEGIN IMMEDIATE;{_SCHEMA}COMMIT;')
      ledger = cls(connection, path, clock)
      ledger._require_known_schema()
    for _ in ledger.records():
      pass
    return ledger

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Opens the ledger for reading alone, also while a run appends. Raises LedgerError."""
    if not path.is_file():
      raise LedgerError(f'There is no ledger at {path}; name the --workdir of a run.')
    with _sentences(path):
      connection = sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True)
      ledger = cls(connection, path, steady)
      ledger._require_known_schema()
    return ledger

  def close(self) -> None:
    self._connection.close()

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
    self._next, self._checksum = self._next + 1, checksum
    return record

  def records(self) -> Iterator[Record]:
    """All events in order, each checked against its checksum. Raises LedgerError at a bad one."""
    checksum, expected = '', 0
    for index, kind, trial, when, body, stored in self._rows():
      if index != expected:
        raise LedgerError(f'{self.path}: event {expected} is missing; the next one is {index}.')
      checksum = _chain(checksum, index, kind, trial, when, body)
      if checksum != stored:
        raise LedgerError(
          f'{self.path}: event {index} ({kind}, trial {trial}) is not what was written: its '
          f'checksum does not match. Events 0 to {index - 1} are sound; restore the file from a '
          f'copy, or start again with a new --workdir.'
        )
      yield self._record(index, kind, trial, when, body, {})
      expected = index + 1
    self._next, self._checksum = expected, checksum

  def _rows(self) -> list[tuple[int, str, int | None, float, str, str]]:
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
      row = self._connection.execute('SELECT text FROM texts WHERE digest = ?', [digest]).fetchone()
      text = _unpacked(row[0]) if row else None
      if text is None or _digest(text) != digest:
        raise LedgerError(
          f'{self.path}: the text {digest[:12]} of event {index} is lost or changed.'
        )
      if isinstance(row[0], bytes):
        return text  # what was said to models is read rarely, and would fill the memory
      self._texts[digest] = text
    return self._texts[digest]

  def _require_known_schema(self) -> None:
    found = _version(self._connection)
    if found != SCHEMA_VERSION:
      raise LedgerError(
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
  try:
    return zlib.decompress(stored).decode()
  except (zlib.error, UnicodeDecodeError):
    return None


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _chain(before: str, *columns: object) -> str:
  return hashlib.sha256(msgspec.json.encode([before, *columns])).hexdigest()


@contextlib.contextmanager
def _sentences(path: pathlib.Path) -> Iterator[None]:
  """Turns SQLite's errors into LedgerErrors that name the file."""
  try:
    yield
  except sqlite3.DatabaseError as error:
    raise LedgerError(f'{path} cannot be used as a ledger: {error}.') from error
