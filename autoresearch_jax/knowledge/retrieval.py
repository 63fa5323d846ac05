"""Full-text search over what was tried: SQLite's FTS5, in memory.

Words are stemmed. A query's words, but for empty ones, are joined by OR and each is quoted, so that
no operator of the query language is left in it. Relevance is bm25 (Robertson and Zaragoza, The
Probabilistic Relevance Framework, 2009, https://doi.org/10.1561/1500000019); what surprised and
what is recent counts for more: relevance · (1 + SURPRISE · s/(1 + s) + RECENCY · t), with s the
surprise in standard deviations and t the trial's id as a fraction of the latest one's.
"""

import re
import sqlite3
from collections.abc import Callable
from typing import Protocol

from autoresearch_jax.knowledge.changes import Change

SURPRISE, RECENCY = 0.5, 0.25
FIELDS = ('description', 'claim', 'tags', 'reason', 'constants')
WEIGHTS = (2.0, 1.0, 2.0, 0.5, 2.0)  # of a hit in each field
WORDS = 64  # of a query that are looked for
CANDIDATES = 50  # by relevance alone, among which surprise and recency choose
# Words that every sentence has: they are about nothing.
EMPTY = frozenset(
  'a about an and are as at be by does for from has have in is it not of on or so than that the '
  'this to was what which with'.split()
)
_WORD = re.compile(r'\w+')


class Found(Protocol):
  """What can be found: an Entry."""

  @property
  def trial(self) -> int: ...
  @property
  def description(self) -> str: ...
  @property
  def claim(self) -> str: ...
  @property
  def tags(self) -> tuple[str, ...]: ...
  @property
  def reason(self) -> str: ...
  @property
  def changes(self) -> tuple[Change, ...]: ...


class Index:
  """Entries by the words in them. Not safe to use from two threads at once: its owner locks."""

  def __init__(self) -> None:
    self._connection = sqlite3.connect(':memory:', isolation_level=None, check_same_thread=False)
    columns = ', '.join(FIELDS)
    self._connection.execute(
      f"CREATE VIRTUAL TABLE entries USING fts5({columns}, tokenize = 'porter unicode61')"
    )
    self._latest = 0

  def __del__(self) -> None:
    self._connection.close()

  def put(self, entry: Found) -> None:
    """Adds the entry, or replaces what was known of its trial."""
    constants = ' '.join(f'{name} {old} {new}' for name, old, new in entry.changes)
    texts = (entry.description, entry.claim, ' '.join(entry.tags), entry.reason, constants)
    self._connection.execute('DELETE FROM entries WHERE rowid = ?', [entry.trial])
    self._connection.execute(
      f'INSERT INTO entries (rowid, {", ".join(FIELDS)}) VALUES (?, ?, ?, ?, ?, ?)',
      [entry.trial, *map(_storable, texts)],
    )
    self._latest = max(self._latest, entry.trial)

  def find(self, query: str, limit: int, surprise: Callable[[int], float]) -> list[int]:
    """Trials that have a word of the query, the best first; see the module. Never raises."""
    words = dict.fromkeys(w for w in _WORD.findall(_storable(query).lower()) if w not in EMPTY)
    if not words or limit < 1:
      return []
    wanted = ' OR '.join(f'"{word}"' for word in list(words)[:WORDS])
    weights = ', '.join(map(str, WEIGHTS))
    rows = self._connection.execute(
      f'SELECT rowid, -bm25(entries, {weights}) AS relevance FROM entries WHERE entries MATCH ? '
      'ORDER BY relevance DESC, rowid DESC LIMIT ?',
      [wanted, max(limit, CANDIDATES)],
    ).fetchall()

    def worth(row: tuple[int, float]) -> float:
      trial, relevance = row
      surprised = surprise(trial)
      share = surprised / (1 + surprised) if surprised < float('inf') else 1.0
      return relevance * (1 + SURPRISE * share + RECENCY * trial / max(self._latest, 1))

    return [trial for trial, _ in sorted(rows, key=worth, reverse=True)[:limit]]


def _storable(text: str) -> str:
  """Without what SQLite cannot hold or would end a text at: lone surrogates, NUL."""
  return text.encode('utf-8', 'replace').decode().replace('\0', ' ')
