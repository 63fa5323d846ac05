"""Programs that are, or nearly are, what was tried: found from their text, before any trace.

Two programs are exactly the same when their files have the same syntax trees: comments, layout and
the way a number is written do not count, nor do docstrings, which change nothing in a program that
is traced. Two are nearly the same when only floats differ, and each by less than `near` of the
larger: a learning rate of 3.01e-4 after 3e-4 tells nothing new, a depth of 9 after 8 may.

Files that do not parse, or are no Python, are compared as text. The fingerprint of a traced program
sees more (names and order do not count for it), and costs seconds.
"""

import ast
import functools
import hashlib
import warnings
from collections.abc import Iterator

import numpy as np

from autoresearch_jax.knowledge.memory import Entry
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Decision, Program

BASELINE = 0
SHOWN = 3  # constants that a sentence names
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Twins:
  """Remembers programs by trial. near: relative difference below which numbers count as equal."""

  def __init__(self, near: float = 0.02):
    self.near = near
    self._exact: dict[tuple[str, tuple[float, ...]], int] = {}
    self._alike: dict[str, _Alike] = {}

  def add(self, trial: int, program: Program) -> None:
    """Remembers the program; one that is known already stays under the trial that had it first."""
    shape, floats = _shape(program)
    if self._exact.setdefault((shape, floats), trial) == trial and floats:
      self._alike.setdefault(shape, _Alike(len(floats))).add(trial, floats)

  def find(self, program: Program) -> tuple[int, bool] | None:
    """(trial, whether the two are exactly the same program, comments and layout aside), or None.

    Of several that are nearly the same, the one whose numbers are the nearest.
    """
    shape, floats = _shape(program)
    exact = self._exact.get((shape, floats))
    if exact is not None:
      return exact, True
    alike = self._alike.get(shape)
    nearest = alike.nearest(floats, self.near) if alike else None
    return None if nearest is None else (nearest, False)


def sentence(trial: int, exact: bool, entry: Entry | None = None) -> str:
  """Why a twin of `trial` should not be tried, for whoever proposed it. entry: what came of it."""
  same = 'The same program as' if exact else 'Nearly the same as'
  if entry is None:
    named = 'the unmodified program' if trial == BASELINE else f'trial {trial}'
    return f'{same} {named}; try something else.'
  what = ', '.join(f'{name} {one_line(repr(new), 30)}' for name, _, new in entry.changes[:SHOWN])
  what += ', …' if len(entry.changes) > SHOWN else ''
  reason = one_line(entry.reason, 200).rstrip('.; ')
  return (
    f'{same} trial {trial} ({what or one_line(entry.description, 80)}), which {_became(entry)}'
    f'{": " if reason else ""}{reason}; try something else.'
  )


def _became(entry: Entry) -> str:
  if entry.kept or entry.decision is Decision.KEEP:
    return 'was kept'
  if entry.decision is None:
    return 'has no verdict yet'
  if entry.decision is Decision.DISCARD:
    return 'was discarded'
  return f'came to no score ({entry.status})'


class _Alike:
  """Programs that differ in their floats alone: a row each, compared all at once."""

  def __init__(self, floats: int):
    self._rows = np.empty((8, floats))
    self._trials: list[int] = []

  def add(self, trial: int, floats: tuple[float, ...]) -> None:
    if len(self._trials) == len(self._rows):
      self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
    self._rows[len(self._trials)] = floats
    self._trials.append(trial)

  def nearest(self, floats: tuple[float, ...], near: float) -> int | None:
    """The trial whose largest relative difference is the smallest, if that is within `near`.

    Of shares and decay rates, what is left to 1 counts too: 0.999 is far from 0.9975.
    """
    rows, new = self._rows[: len(self._trials)], np.array(floats)
    larger = np.maximum(np.abs(rows), np.abs(new))
    shares = (rows > 0) & (rows < 1) & (new > 0) & (new < 1)
    larger = np.where(shares, np.minimum(larger, 1 - np.minimum(rows, new)), larger)
    with np.errstate(invalid='ignore', over='ignore'):  # 1e999 is inf, and equal to itself
      off = np.where(rows == new, 0.0, np.abs(rows - new) / np.where(larger == 0, 1.0, larger))
    worst = np.nan_to_num(off, nan=np.inf).max(axis=1)
    best = int(worst.argmin())
    return self._trials[best] if worst[best] <= near else None


@functools.lru_cache(maxsize=8)  # asked of the same program by who writes it and who runs it
def _shape(program: Program) -> tuple[str, tuple[float, ...]]:
  """A digest of the program without its floats, and these in the order in which they come."""
  digest, floats = hashlib.sha256(program.entry.encode()), list[float]()
  for name, text in program.files:
    seen = _seen(text) if name.endswith('.py') else None
    bare, own = seen or (text, [])
    floats += own
    digest.update(f'\0{name}\0{seen is None}\0{bare}'.encode('utf-8', 'surrogatepass'))
  return digest.hexdigest(), tuple(floats)


def _seen(text: str) -> tuple[str, list[float]] | None:
  """The syntax tree without docstrings and floats, as text, and the floats; None without a tree."""
  try:
    with warnings.catch_warnings():  # of the program's own, such as an unknown escape
      warnings.simplefilter('ignore')
      tree = ast.parse(text)
    _drop_docstrings(tree)
    floats = list(_without_floats(tree))
    return ast.dump(tree), floats
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None


def _drop_docstrings(tree: ast.Module) -> None:
  for node in ast.walk(tree):
    if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
      node.body = node.body[1:] or [ast.Pass()]


def _without_floats(tree: ast.Module) -> Iterator[float]:
  """Takes the floats out of the tree and gives them, one by one."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant):
      node.kind = None  # u'' is ''
      if isinstance(node.value, float):
        yield node.value
        node.value = 0.0
