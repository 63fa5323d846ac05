"""An index of findings that were verified on this machine, so that each is verified once.

A finding's id is the digest of its content, so the index serves all stores. It lies in the cache of
this library and may be deleted at any time.
"""

import contextlib
import gc
import pathlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

import msgspec

from autoresearch_jax.data import cache
from autoresearch_jax.findings.finding import Finding

T = TypeVar('T')
_FILE = 'findings-1.db'
_TABLE = 'CREATE TABLE IF NOT EXISTS findings (id TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID'
_DECODER = msgspec.json.Decoder(Finding)


class Index:
  """The index, in a file of its own. If that cannot be used, nothing is remembered.

  Args:
    path: The file; None for the one in the cache.
  """

  def __init__(self, path: pathlib.Path | None = None):
    self._path = path

  def get(self, ids: Collection[str]) -> dict[str, Finding]:
    """Returns those of the findings that are known, by id."""

    def read(connection: sqlite3.Connection) -> dict[str, Finding]:
      connection.execute('CREATE TEMP TABLE wanted (id TEXT PRIMARY KEY) WITHOUT ROWID')
      connection.executemany('INSERT OR IGNORE INTO wanted VALUES (?)', ((i,) for i in ids))
      rows = connection.execute('SELECT id, data FROM findings JOIN wanted USING (id)')
      with _without_collection():
        return {key: _decoded(key, data) for key, data in rows}

    return self._with_connection(read) or {}

  def put(self, findings: Iterable[tuple[Finding, bytes]]) -> None:
    """Adds findings that were verified, with the contents of their files."""

    def write(connection: sqlite3.Connection) -> None:
      rows = [(finding.id, data) for finding, data in findings]
      connection.executemany('INSERT OR IGNORE INTO findings VALUES (?, ?)', rows)
      connection.commit()

    self._with_connection(write)

  def _with_connection(self, body: Callable[[sqlite3.Connection], T]) -> T | None:
    """Returns what `body` does; None if the file cannot be used. A damaged one is removed."""
    path = self._path
    try:
      path = path or cache.directory() / _FILE
      path.parent.mkdir(parents=True, exist_ok=True)
      with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        connection.execute(_TABLE)
        return body(connection)
    except (OSError, sqlite3.OperationalError):
      return None
    except (sqlite3.DatabaseError, msgspec.MsgspecError, TypeError):
      with contextlib.suppress(OSError):
        if path is not None:
          path.unlink()
      return None


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
  """Keeps the garbage collector from scanning many new objects again and again."""
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()


def _decoded(key: str, data: bytes) -> Finding:
  finding = _DECODER.decode(data)
  finding.__dict__['id'] = key  # saves the digest, which was verified when it was added
  return finding
