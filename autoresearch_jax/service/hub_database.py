"""The database of a hub of findings: SQLite, append-only, with a quota for each source.

Nothing in it is ever executed, and the hub believes nothing: it checks forms, signatures and
digests, so that nobody can store under another name, change what is there, or fill the disk.
"""

import dataclasses
import hashlib
import pathlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from autoresearch_jax.findings.claims import WorkClaim, encode_claim
from autoresearch_jax.findings.encoding import MAX_BLOB_BYTES, decode
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.programs import programs_of, sha256
from autoresearch_jax.ledger.sqlite import transaction

FILE = 'hub.db'
APPLICATION_ID = 0x41524A48
DAY = 24 * 3600.0
_APPEND_ONLY = """
CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
  BEGIN SELECT RAISE(ABORT, 'The hub is append-only.'); END;
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
  BEGIN SELECT RAISE(ABORT, 'The hub is append-only.'); END;
"""
_SCHEMA = f"""
CREATE TABLE hub (id TEXT NOT NULL);
CREATE TABLE tokens (name TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
CREATE TABLE findings (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  problem TEXT NOT NULL,
  metric TEXT NOT NULL,
  source TEXT NOT NULL,
  token TEXT NOT NULL,
  time REAL NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX findings_by_source ON findings (source, time);
CREATE INDEX findings_by_token ON findings (token, time);
CREATE TABLE blobs (
  digest TEXT PRIMARY KEY, token TEXT NOT NULL, time REAL NOT NULL, data BLOB NOT NULL
);
CREATE INDEX blobs_by_token ON blobs (token, time);
CREATE TABLE claims (
  fingerprint TEXT, source TEXT, token TEXT NOT NULL, expires INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (fingerprint, source)
);
{''.join(_APPEND_ONLY.format(table=table) for table in ('findings', 'blobs'))}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
"""


@dataclasses.dataclass(frozen=True)
class HubQuotas:
  """What one source may add.

  Attributes:
    findings: Findings a day, of a token and of a key.
    megabytes: Contents a day of a token, in MiB.
    claims: Claims that hold at once, of a token and of a key.
  """

  findings: int = 2000
  megabytes: int = 256
  claims: int = 256


class QuotaExceeded(FindingError):
  """A source has added what it may for now."""


class MissingContents(FindingError):
  """A finding refers to contents that the hub does not have yet.

  Attributes:
    digests: Their SHA-256.
  """

  def __init__(self, digests: list[str]):
    super().__init__(f'{len(digests)} contents are missing; send them first.')
    self.digests = digests


class HubDatabase:
  """The findings, contents, claims and tokens of a hub. Safe to use from several threads.

  Args:
    folder: Folder of the file, made if missing.
    quotas: What one source may add.
    clock: Returns Unix seconds.

  Attributes:
    id: Identifies the database.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    quotas: HubQuotas = HubQuotas(),
    clock: Callable[[], float] = time.time,
  ):
    folder.mkdir(parents=True, exist_ok=True)
    self._quotas, self._clock, self._lock = quotas, clock, threading.RLock()
    try:
      self._connection = sqlite3.connect(
        folder / FILE, isolation_level=None, check_same_thread=False, timeout=10
      )
      self._connection.execute('PRAGMA journal_mode = WAL')
      if not self._one('PRAGMA user_version'):
        self._connection.executescript(f'BEGIN IMMEDIATE;{_SCHEMA}COMMIT;')
        self._connection.execute('INSERT INTO hub VALUES (?)', [secrets.token_hex(16)])
      self.id = str(self._one('SELECT id FROM hub'))
    except sqlite3.DatabaseError as error:
      raise FindingError(
        f'{folder / FILE} cannot be used as the database of a hub: {error}. Use another folder.'
      ) from None

  def close(self) -> None:
    self._connection.close()

  def add_token(self, name: str) -> str:
    """Makes a token and returns it; only its digest is stored. Raises FindingError."""
    token = secrets.token_urlsafe(32)
    try:
      with self._lock:
        self._connection.execute('INSERT INTO tokens VALUES (?, ?)', [name, _digest(token)])
    except sqlite3.IntegrityError:
      raise FindingError(
        f'There is a token {name!r}; revoke it first, or use another name.'
      ) from None
    return token

  def revoke_token(self, name: str) -> None:
    """Makes a token void. Raises FindingError if there is none of that name."""
    with self._lock:
      if not self._connection.execute('DELETE FROM tokens WHERE name = ?', [name]).rowcount:
        names = ', '.join(self.token_names()) or 'none'
        raise FindingError(f'There is no token {name!r}; there are: {names}.')

  def token_names(self) -> list[str]:
    """Returns the names of the tokens."""
    with self._lock:
      return [row[0] for row in self._connection.execute('SELECT name FROM tokens ORDER BY name')]

  def token_name(self, token: str) -> str:
    """Returns the name of a token; '' if it is none."""
    return str(self._one('SELECT name FROM tokens WHERE digest = ?', _digest(token)) or '')

  def add_finding(self, data: bytes, token: str) -> bool:
    """Adds a finding. Returns False if it is there already.

    Raises:
      MissingContents: It refers to contents that are not there yet.
      QuotaExceeded: Its source or the token has added too many.
      FindingError: It is not valid.
    """
    now = self._clock()
    finding = decode(data, now)
    with self._lock, transaction(self._connection):
      if self._one('SELECT 1 FROM findings WHERE id = ?', finding.id):
        return False
      for column, value in (('source', finding.source), ('token', token)):
        count = f'SELECT COUNT(*) FROM findings WHERE {column} = ? AND time > ?'
        if self._one(count, value, now - DAY) >= self._quotas.findings:
          raise QuotaExceeded(
            f'This {"key" if column == "source" else "token"} has added {self._quotas.findings} '
            'findings within a day, its quota. Share the rest tomorrow.'
          )
      if missing := [d for d in sorted(finding.blobs) if not self._has_blob(d)]:
        raise MissingContents(missing)
      programs_of(finding, self.blob)
      self._insert(finding, data, token, now)
    return True

  def _insert(self, finding: Finding, data: bytes, token: str, now: float) -> None:
    setting = finding.setting
    row = (finding.id, setting.problem, setting.metric, finding.source, token, now, data)
    self._connection.execute(
      'INSERT INTO findings (id, problem, metric, source, token, time, data) '
      'VALUES (?, ?, ?, ?, ?, ?, ?)',
      row,
    )

  def findings(
    self, after: int, limit: int, problem: str = '', metric: str = ''
  ) -> tuple[list[bytes], int]:
    """Returns the files of findings in the order of their arrival, and the position after them.

    Args:
      after: Position after which they begin; 0 for the first.
      limit: Maximum number.
      problem: Only of this problem; '' for all.
      metric: Only of this metric; '' for all.
    """
    query = "SELECT position, data FROM findings WHERE position > ? AND ? IN ('', problem) "
    query += "AND ? IN ('', metric) ORDER BY position LIMIT ?"
    with self._lock:
      rows = self._connection.execute(query, [after, problem, metric, limit]).fetchall()
    return [data for _, data in rows], rows[-1][0] if rows else after

  def add_blob(self, digest: str, data: bytes, token: str) -> bool:
    """Adds a content. Returns False if it is there already. Raises FindingError, QuotaExceeded."""
    if len(data) > MAX_BLOB_BYTES or sha256(data) != digest:
      raise FindingError('The content is too large, or has another digest.')
    now, limit = self._clock(), self._quotas.megabytes * 2**20
    with self._lock, transaction(self._connection):
      if self._has_blob(digest):
        return False
      added = 'SELECT COALESCE(SUM(LENGTH(data)), 0) FROM blobs WHERE token = ? AND time > ?'
      if self._one(added, token, now - DAY) + len(data) > limit:
        raise QuotaExceeded(
          f'This token has added {self._quotas.megabytes} MiB within a day, its quota. Share the '
          'rest tomorrow.'
        )
      self._connection.execute('INSERT INTO blobs VALUES (?, ?, ?, ?)', [digest, token, now, data])
    return True

  def blob(self, digest: str) -> bytes | None:
    """Returns a content by its SHA-256; None if it is not there."""
    return self._one('SELECT data FROM blobs WHERE digest = ?', digest)

  def add_claim(self, claim: WorkClaim, token: str) -> None:
    """Adds a verified claim, which replaces the source's earlier one. Raises QuotaExceeded."""
    now = self._clock()
    with self._lock, transaction(self._connection):
      self._connection.execute('DELETE FROM claims WHERE expires <= ?', [now])
      for column, value in (('source', claim.source), ('token', token)):
        count = (
          f'SELECT COUNT(*) FROM claims WHERE {column} = ? AND (fingerprint, source) != (?, ?)'
        )
        if self._one(count, value, claim.fingerprint, claim.source) >= self._quotas.claims:
          raise QuotaExceeded(
            f'This {"key" if column == "source" else "token"} has {self._quotas.claims} claims, '
            'its quota. They expire within a day.'
          )
      row = (claim.fingerprint, claim.source, token, claim.expires, encode_claim(claim))
      self._connection.execute('INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)', row)

  def claims(self) -> list[bytes]:
    """Returns the files of the claims that hold now."""
    with self._lock:
      query = 'SELECT data FROM claims WHERE expires > ? ORDER BY fingerprint, source'
      return [row[0] for row in self._connection.execute(query, [self._clock()])]

  def count(self) -> int:
    """Returns the number of findings."""
    return int(self._one('SELECT COUNT(*) FROM findings'))

  def _has_blob(self, digest: str) -> bool:
    return self._one('SELECT 1 FROM blobs WHERE digest = ?', digest) is not None

  def _one(self, query: str, *values: object) -> Any:
    with self._lock:
      row = self._connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _digest(token: str) -> str:
  return hashlib.sha256(token.encode()).hexdigest()
