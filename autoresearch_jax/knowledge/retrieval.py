"""Full-text search over earlier hypotheses, by SQLite's FTS5 in memory.

Words are stemmed. The words of a query, stop words aside, are each quoted and joined by OR, so that
no operator of the query language survives. Relevance is BM25 (Robertson and Zaragoza, The
Probabilistic Relevance Framework, 2009, https://doi.org/10.1561/1500000019). Surprising and recent
results rank higher: relevance · (1 + SURPRISE_WEIGHT · s/(1 + s) + RECENCY_WEIGHT · t), with the
surprise s in standard deviations and the trial's id t as a fraction of the latest id.
"""

import re
import sqlite3
from collections.abc import Callable

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome

SURPRISE_WEIGHT, RECENCY_WEIGHT = 0.5, 0.25
# Column -> weight of a match in it.
COLUMNS = {'description': 2.0, 'claim': 1.0, 'tags': 2.0, 'reason': 0.5, 'constants': 2.0}
MAX_WORDS = 64  # of a query
MIN_CANDIDATES = 50  # taken by relevance alone and then ranked by surprise and recency, too
STOP_WORDS = frozenset(
  'a about an and are as at be by does for from has have in is it not of on or so than that the '
  'this to was what which with'.split()
)
_WORD = re.compile(r'\w+')


class HypothesisIndex:
  """A full-text index of hypotheses by trial. Not thread-safe: the owner must lock."""

  def __init__(self) -> None:
    self._connection = sqlite3.connect(':memory:', isolation_level=None, check_same_thread=False)
    columns = ', '.join(COLUMNS)
    self._connection.execute(
      f"CREATE VIRTUAL TABLE entries USING fts5({columns}, tokenize = 'porter unicode61')"
    )
    self._latest = 0

  def __del__(self) -> None:
    self._connection.close()

  def put(self, hypothesis: HypothesisOutcome) -> None:
    """Adds a hypothesis, or replaces the one of the same trial."""
    constants = ' '.join(f'{name} {old} {new}' for name, old, new in hypothesis.changes)
    texts = (
      hypothesis.description,
      hypothesis.claim,
      ' '.join(hypothesis.tags),
      hypothesis.reason,
      constants,
    )
    self._connection.execute('DELETE FROM entries WHERE rowid = ?', [hypothesis.trial])
    self._connection.execute(
      f'INSERT INTO entries (rowid, {", ".join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?)',
      [hypothesis.trial, *map(_storable, texts)],
    )
    self._latest = max(self._latest, hypothesis.trial)

  def search(self, query: str, limit: int, surprise: Callable[[int], float]) -> list[int]:
    """Returns trials that share a word with the query, best first. Never raises.

    Args:
      query: Free text.
      limit: Maximum number of trials.
      surprise: Returns the surprise of a trial, in standard deviations.
    """
    words = dict.fromkeys(w for w in _WORD.findall(_storable(query).lower()) if w not in STOP_WORDS)
    if not words or limit < 1:
      return []
    expression = ' OR '.join(f'"{word}"' for word in list(words)[:MAX_WORDS])
    weights = ', '.join(map(str, COLUMNS.values()))
    rows = self._connection.execute(
      f'SELECT rowid, -bm25(entries, {weights}) AS relevance FROM entries WHERE entries MATCH ? '
      'ORDER BY relevance DESC, rowid DESC LIMIT ?',
      [expression, max(limit, MIN_CANDIDATES)],
    ).fetchall()

    def rank(row: tuple[int, float]) -> float:
      trial, relevance = row
      s = surprise(trial)
      share = s / (1 + s) if s < float('inf') else 1.0
      recency = trial / max(self._latest, 1)
      return relevance * (1 + SURPRISE_WEIGHT * share + RECENCY_WEIGHT * recency)

    return [trial for trial, _ in sorted(rows, key=rank, reverse=True)[:limit]]


def _storable(text: str) -> str:
  """Replaces what SQLite cannot store (lone surrogates) or would cut a text at (NUL)."""
  return text.encode('utf-8', 'replace').decode().replace('\0', ' ')
