"""Copies of the ledger in a bucket.

A copy is a gzipped SQLite file `ledger/GENERATION-NUMBER-EVENTS-DIGEST.db.gz`. Its name has the
generation of the lease under which it was made, its number under that lease, the number of its
events, and the start of its SHA-256, by which a torn upload is recognised.
"""

import contextlib
import gzip
import hashlib
import pathlib
import sqlite3
from typing import Literal

import msgspec

from autoresearch_jax.data.bucket import Bucket
from autoresearch_jax.mirror.lease import MirrorError

FOLDER = 'ledger'
KEPT_COPIES = 3
SUFFIX = '.db.gz'
# What a local ledger is to a copy: absent, a part of it, equal to it or further, grown apart after
# common events, of another run, or damaged.
Relation = Literal['absent', 'behind', 'ahead', 'diverged', 'foreign', 'damaged']
_WRITE_VERSION_AT = 18  # in SQLite's header: 1 for a rollback journal, 2 for a write-ahead log


def count_events(path: pathlib.Path, condition: str = 'true') -> int:
  """Returns how many events of a ledger meet a condition in SQL; 0 if it cannot be read now."""
  with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path)) as connection:
    return connection.execute(f'SELECT count(*) FROM events WHERE {condition}').fetchone()[0]
  return 0


def last_event(path: pathlib.Path) -> tuple | None:
  """Returns (index, checksum) of a ledger's last event; None if it cannot be read now."""
  with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path)) as connection:
    return _ends(connection)[1]
  return None


def make(path: pathlib.Path) -> tuple[int, bytes]:
  """Copies a ledger while it is written to.

  Returns:
    The number of its events, and the gzipped database.
  """
  with (
    contextlib.closing(_connect(path)) as source,
    contextlib.closing(sqlite3.connect(':memory:')) as copy,
  ):
    source.backup(copy)
    events = copy.execute('SELECT count(*) FROM events').fetchone()[0]
    data = bytearray(copy.serialize())
  data[_WRITE_VERSION_AT : _WRITE_VERSION_AT + 2] = b'\1\1'  # a copy has no write-ahead log
  return events, gzip.compress(data, compresslevel=1)


def upload(bucket: Bucket, generation: int, number: int, events: int, data: bytes) -> None:
  """Writes a copy, and deletes all but the latest. Raises BucketError."""
  digest = hashlib.sha256(data).hexdigest()[:16]
  name = f'{generation:06d}-{number:08d}-{events:08d}-{digest}{SUFFIX}'
  bucket.write(f'{FOLDER}/{name}', data)
  for old in _names(bucket)[:-KEPT_COPIES]:
    bucket.delete(f'{FOLDER}/{old}')


def latest(bucket: Bucket) -> tuple[int, bytes] | None:
  """Returns the latest whole copy: the number of its events and the database; None without one.

  Raises:
    MirrorError: There are copies, and all of them are damaged.
    BucketError: The bucket fails.
  """
  names = _names(bucket)
  for name in reversed(names):
    data = bucket.read(f'{FOLDER}/{name}')
    *_, events, digest = name.removesuffix(SUFFIX).split('-')
    if data is not None and hashlib.sha256(data).hexdigest()[:16] == digest:
      return int(events), gzip.decompress(data)
  if names:
    raise MirrorError(
      f'All copies of the ledger in {bucket.url}/{FOLDER} are damaged. Restore one, or use another '
      'mirror.'
    )
  return None


def relation(path: pathlib.Path, copy: bytes) -> Relation:
  """Compares a local ledger with a copy, by the chained checksums of their events."""
  if not path.exists():
    return 'absent'
  with contextlib.closing(sqlite3.connect(':memory:')) as other:
    other.deserialize(copy)
    (first_there, last_there), lineage_there = _ends(other), _lineage(other)
    try:
      with contextlib.closing(_connect(path)) as mine:
        (first, last), lineage = _ends(mine), _lineage(mine)
        common = last_there and _row(mine, last_there[0])
    except sqlite3.Error:
      return 'damaged'
    if first is None or last is None:
      return 'absent'
    # A ledger is also further than those that it has replaced, on other hardware.
    if first_there is None or common == last_there or first_there[1] in lineage:
      return 'ahead'
    if _row(other, last[0]) == last:
      return 'behind'
    related = first == first_there or first[1] in lineage_there
    return 'diverged' if related else 'foreign'


def _names(bucket: Bucket) -> list[str]:
  return [name for name in bucket.names(FOLDER) if name.endswith(SUFFIX) and name.count('-') == 3]


def _connect(path: pathlib.Path) -> sqlite3.Connection:
  return sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True, isolation_level=None)


def _ends(connection: sqlite3.Connection) -> tuple[tuple | None, tuple | None]:
  """Returns (index, checksum) of the first and of the last event."""
  select = 'SELECT "index", checksum FROM events ORDER BY "index" {} LIMIT 1'
  return (
    connection.execute(select.format('ASC')).fetchone(),
    connection.execute(select.format('DESC')).fetchone(),
  )


def _lineage(connection: sqlite3.Connection) -> list[str]:
  """Returns the checksums of the first events of the ledgers that a ledger has replaced."""
  row = connection.execute('SELECT payload FROM events WHERE "index" = 0').fetchone()
  return msgspec.json.decode(row[0]).get('lineage', []) if row else []


def _row(connection: sqlite3.Connection, index: int) -> tuple | None:
  select = 'SELECT "index", checksum FROM events WHERE "index" = ?'
  return connection.execute(select, [index]).fetchone()
