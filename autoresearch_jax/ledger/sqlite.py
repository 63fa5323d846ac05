"""The ledger's SQLite database: its schema, transactions, and readable errors."""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator

from autoresearch_jax.ledger.events import Damaged, LedgerError
from autoresearch_jax.ledger.upgrade import SCHEMA_VERSION

MAX_VERSIONS = 1000  # a version of 0 or above this is damage
APPLICATION_ID = 0x41524A58  # 'ARJX', shown by the `file` command
_HEADER = b'SQLite format 3\0'
_ID_AT = 68  # of the application id in the header

SCHEMA = f"""
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

_FREE = 'Free some space; earlier events are safe, and the same command resumes from there.'
_WRITABLE = 'Make the file and its folder readable and writable for this user.'
# By SQLite's codes: errors that say nothing about the file's content, and what to do about them.
_NO_DAMAGE = {
  sqlite3.SQLITE_FULL: _FREE,
  sqlite3.SQLITE_IOERR: 'The disk failed or is full; the same command resumes once it works again.',
  sqlite3.SQLITE_READONLY: _WRITABLE,
  sqlite3.SQLITE_CANTOPEN: _WRITABLE,
  sqlite3.SQLITE_PERM: _WRITABLE,
  sqlite3.SQLITE_AUTH: _WRITABLE,
  sqlite3.SQLITE_BUSY: 'Another program uses it; close that one.',
  sqlite3.SQLITE_LOCKED: 'Another program uses it; close that one.',
  sqlite3.SQLITE_NOMEM: 'The machine has no memory left.',
  sqlite3.SQLITE_CONSTRAINT: '',
}


def prepare(connection: sqlite3.Connection) -> None:
  """Makes a connection durable, and creates the tables in a new file.

  Commits are on the disk when they return (WAL, synchronous=FULL): a trial costs minutes and a
  commit a few milliseconds.
  """
  connection.execute('PRAGMA journal_mode = WAL')
  connection.execute('PRAGMA synchronous = FULL')
  if not version(connection):
    connection.executescript(f'BEGIN IMMEDIATE;{SCHEMA}COMMIT;')


def version(connection: sqlite3.Connection) -> int:
  """Returns the schema version in the file's header; 0 for a new file."""
  return connection.execute('PRAGMA user_version').fetchone()[0]


def require_known_version(connection: sqlite3.Connection, path: pathlib.Path) -> None:
  """Raises LedgerError for a later version's schema, Damaged for an impossible number."""
  found = version(connection)
  if not 1 <= found <= SCHEMA_VERSION:
    kind = LedgerError if 0 < found < MAX_VERSIONS else Damaged
    raise kind(
      f'{path} has ledger schema {found}; this version of autoresearch_jax reads schemas 1 to '
      f'{SCHEMA_VERSION}. Use the version that wrote it.'
    )


def is_database(path: pathlib.Path, application_id: int) -> bool:
  """Returns whether a file is an SQLite database with this application id. Raises OSError."""
  if not path.is_file():
    return False
  with path.open('rb') as file:
    header = file.read(_ID_AT + 4)
  return header.startswith(_HEADER) and header[_ID_AT:] == application_id.to_bytes(4, 'big')


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
  """Makes the writes inside it atomic. For connections without an isolation level."""
  connection.execute('BEGIN IMMEDIATE')
  try:
    yield
    connection.execute('COMMIT')
  except BaseException:
    if connection.in_transaction:  # SQLite may have rolled back by itself: on a full disk it does
      connection.execute('ROLLBACK')
    raise


@contextlib.contextmanager
def explained(path: pathlib.Path) -> Iterator[None]:
  """Turns SQLite's errors into LedgerErrors that say which file and what to do."""
  try:
    yield
  except sqlite3.DatabaseError as error:
    what = f'{path} cannot be used as a ledger: {error}.'
    # Errors that Python raises itself, about text that is not UTF-8, have no code.
    code = getattr(error, 'sqlite_errorcode', sqlite3.SQLITE_CORRUPT) & 0xFF
    if code not in _NO_DAMAGE:
      command = f'autoresearch repair {path.parent}'
      raise Damaged(
        f'{what} `{command}` says which events are intact, and makes the run resumable from there.'
      ) from error
    raise LedgerError(f'{what} {_NO_DAMAGE[code]}'.strip()) from error
