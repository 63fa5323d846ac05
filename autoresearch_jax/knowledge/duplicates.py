"""Finds duplicates of earlier programs from their text, before any trace.

An exact duplicate has the same syntax trees: comments, layout, docstrings and the way a number is
written do not count. A near duplicate differs in floats only, each by less than a tolerance
relative to the larger of the two: after a learning rate of 3e-4, one of 3.01e-4 teaches nothing
new, while a depth of 9 after 8 may.

Files that do not parse, or are not Python, are compared as text. Semantic duplicates (renamed or
reordered code that computes the same) are found later, by the fingerprint of the traced program,
which costs seconds.
"""

import ast
import functools
import hashlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Decision, Program

BASELINE = 0  # id of the trial of the unmodified program
MAX_NAMED = 3  # constants that a sentence names
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Duplicate(NamedTuple):
  """An earlier program that another one duplicates.

  Attributes:
    trial: Id of the earlier trial.
    exact: Whether the two are the same program; otherwise they differ slightly in floats.
  """

  trial: int
  exact: bool


class DuplicateIndex:
  """Programs of earlier trials, to look up whether a new one duplicates any.

  Attributes:
    tolerance: Relative difference up to which floats count as equal.
  """

  def __init__(self, tolerance: float = 0.02):
    self.tolerance = tolerance
    self._exact: dict[tuple[str, tuple[float, ...]], int] = {}
    self._by_structure: dict[str, _FloatTable] = {}

  def add(self, trial: int, program: Program) -> None:
    """Adds a program. One that is known already stays under its first trial."""
    structure, floats = _split_floats(program)
    if self._exact.setdefault((structure, floats), trial) == trial and floats:
      self._by_structure.setdefault(structure, _FloatTable(len(floats))).add(trial, floats)

  def find(self, program: Program) -> Duplicate | None:
    """Returns the trial that the program duplicates: an exact one, else the nearest; or None."""
    structure, floats = _split_floats(program)
    exact = self._exact.get((structure, floats))
    if exact is not None:
      return Duplicate(exact, exact=True)
    table = self._by_structure.get(structure)
    nearest = table.nearest(floats, self.tolerance) if table else None
    return None if nearest is None else Duplicate(nearest, exact=False)


def explain(duplicate: Duplicate, outcome: HypothesisOutcome | None = None) -> str:
  """Returns why the program should not be tried, as a sentence for its author.

  Args:
    duplicate: What `DuplicateIndex.find` returned.
    outcome: What came of the earlier trial; None if it is not known.
  """
  same = 'The same program as' if duplicate.exact else 'Nearly the same as'
  if outcome is None:
    baseline = duplicate.trial == BASELINE
    name = 'the unmodified program' if baseline else f'trial {duplicate.trial}'
    return f'{same} {name}; try something else.'
  values = [f'{name} {one_line(repr(new), 30)}' for name, _, new in outcome.changes[:MAX_NAMED]]
  what = ', '.join(values) + (', …' if len(outcome.changes) > MAX_NAMED else '')
  reason = one_line(outcome.reason, 200).rstrip('.; ')
  return (
    f'{same} trial {duplicate.trial} ({what or one_line(outcome.description, 80)}), which '
    f'{_fate(outcome)}{": " if reason else ""}{reason}; try something else.'
  )


def _fate(outcome: HypothesisOutcome) -> str:
  if outcome.kept or outcome.decision is Decision.KEEP:
    return 'was kept'
  if outcome.decision is None:
    return 'has no verdict yet'
  if outcome.decision is Decision.DISCARD:
    return 'was discarded'
  return f'got no score ({outcome.status})'


class _FloatTable:
  """Programs that differ in their floats only: one row of floats a program, [trials, floats]."""

  def __init__(self, num_floats: int):
    self._rows = np.empty((8, num_floats))
    self._trials: list[int] = []

  def add(self, trial: int, floats: tuple[float, ...]) -> None:
    if len(self._trials) == len(self._rows):
      self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
    self._rows[len(self._trials)] = floats
    self._trials.append(trial)

  def nearest(self, floats: tuple[float, ...], tolerance: float) -> int | None:
    """Returns the trial with the smallest maximum relative difference, if within the tolerance.

    For fractions and decay rates, the distance to 1 counts too: 0.999 is far from 0.9975.
    """
    rows, new = self._rows[: len(self._trials)], np.array(floats)
    scale = np.maximum(np.abs(rows), np.abs(new))
    fractions = (rows > 0) & (rows < 1) & (new > 0) & (new < 1)
    scale = np.where(fractions, np.minimum(scale, 1 - np.minimum(rows, new)), scale)
    with np.errstate(invalid='ignore', over='ignore'):  # 1e999 is inf, and equal to itself
      error = np.where(rows == new, 0.0, np.abs(rows - new) / np.where(scale == 0, 1.0, scale))
    worst = np.nan_to_num(error, nan=np.inf).max(axis=1)
    best = int(worst.argmin())
    return self._trials[best] if worst[best] <= tolerance else None


@functools.lru_cache(maxsize=8)  # the proposer and the run ask about the same program
def _split_floats(program: Program) -> tuple[str, tuple[float, ...]]:
  """Returns a digest of the program without its floats, and the floats in order."""
  digest, floats = hashlib.sha256(program.entry.encode()), list[float]()
  for name, text in program.files:
    parsed = _parse(text) if name.endswith('.py') else None
    structure, values = parsed or (text, [])
    floats += values
    digest.update(f'\0{name}\0{parsed is None}\0{structure}'.encode('utf-8', 'surrogatepass'))
  return digest.hexdigest(), tuple(floats)


def _parse(text: str) -> tuple[str, list[float]] | None:
  """Returns the syntax tree without docstrings and floats, and the floats; None if it is broken."""
  try:
    with warnings.catch_warnings():  # the program's own, such as an unknown escape sequence
      warnings.simplefilter('ignore')
      tree = ast.parse(text)
    _drop_docstrings(tree)
    floats = list(_extract_floats(tree))
    return ast.dump(tree), floats
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None


def _drop_docstrings(tree: ast.Module) -> None:
  for node in ast.walk(tree):
    if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
      node.body = node.body[1:] or [ast.Pass()]


def _extract_floats(tree: ast.Module) -> Iterator[float]:
  """Yields the floats of the tree and puts 0.0 in their places."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant):
      node.kind = None  # u'' is ''
      if isinstance(node.value, float):
        yield node.value
        node.value = 0.0
