"""Rebases an edit onto another program by a line-based three-way merge.

The changes of two programs to a common base are combined where they touch different lines (diff3:
Khanna, Kunal and Pierce, 2007, https://www.cis.upenn.edu/~bcpierce/papers/diff3-short.pdf). Two
things differ from version control, since programs list their constants on adjacent lines: changes
of neighbouring lines do not conflict, and replacing n lines by n lines counts as one change per
line. The result is not checked beyond parsing, so it must be traced.
"""

import ast
import collections
import dataclasses
import difflib
import itertools
from collections.abc import Iterator
from typing import TypeVar

from autoresearch_jax.programs.patches import Patch, apply_patch
from autoresearch_jax.types import Program

T = TypeVar('T')
MAX_PAIRS = 500_000  # of equal lines in two texts of strangers; comparing them takes seconds


@dataclasses.dataclass(frozen=True, order=True)
class _Change:
  """Lines [start, stop) of the base become `lines`; an insertion when start == stop."""

  start: int
  stop: int
  lines: tuple[str, ...]

  def conflicts(self, later: '_Change') -> bool:
    """Whether `later`, which sorts after this one, touches the same lines or the same gap."""
    return later.start < self.stop or self.start == self.stop == later.start == later.stop


def rebased(edited: Program, base: Program, onto: Program) -> Program | None:
  """Applies the changes from `base` to `edited` onto the program `onto`.

  Returns:
    The merged program; `onto` itself if it has all changes already. None if both changed the same
    lines differently, one removed a file that the other changed, or a merged Python file does not
    parse.
  """
  ours, common, theirs = dict(edited.files), dict(base.files), dict(onto.files)
  files = []
  for name in sorted({*ours, *common, *theirs}):
    sides = ours.get(name), common.get(name), theirs.get(name)
    agreed, text = _merge_file(*sides)
    if not agreed or not _is_valid(name, text, sides):
      return None
    if text is not None:
      files.append((name, text))
  agreed, entry = _merge_value(edited.entry, base.entry, onto.entry)
  if not agreed or entry not in dict(files):
    return None
  return Program(tuple(files), entry)


def patched(patch: Patch, program: Program, start: Program) -> Program | None:
  """Applies a patch to a program, or else to the start, from where it is merged; None if neither.

  Args:
    patch: The patch.
    program: The program to edit.
    start: The unmodified program of the run, which the patch may have been written for.
  """
  if (made := apply_patch(patch, program)) is not None:
    return made
  edited = apply_patch(patch, start)
  return None if edited is None else rebased(edited, start, program)


def is_comparable(one: Program, other: Program) -> bool:
  """Returns whether line-based differences of two programs are found within seconds.

  The time grows with the number of pairs of equal lines, which the author of a program can choose.
  """
  texts = dict(other.files)
  for name, text in one.files:
    if text != texts.get(name, text):
      counts = [collections.Counter(side.split('\n')) for side in (text, texts[name])]
      if sum(count * counts[1][line] for line, count in counts[0].items()) > MAX_PAIRS:
        return False
  return True


def _merge_value(ours: T, base: T, theirs: T) -> tuple[bool, T]:
  """Merges a value. Returns (whether the sides agree, the value)."""
  return ours == base or theirs in (base, ours), theirs if ours == base else ours


def _merge_file(ours: str | None, base: str | None, theirs: str | None) -> tuple[bool, str | None]:
  """Merges a file. Returns (whether the sides agree, its text or None if it was removed)."""
  agreed, text = _merge_value(ours, base, theirs)
  if agreed:
    return True, text
  if ours is None or base is None or theirs is None:
    return False, None
  lines = base.split('\n')
  changes = sorted({*_changes(lines, ours.split('\n')), *_changes(lines, theirs.split('\n'))})
  if any(first.conflicts(second) for first, second in itertools.pairwise(changes)):
    return False, None
  return True, '\n'.join(_applied(changes, lines))


def _changes(base: list[str], changed: list[str]) -> Iterator[_Change]:
  matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
  for tag, start, stop, first, last in matcher.get_opcodes():
    if tag == 'equal':
      continue
    if stop - start == last - first:
      for offset in range(stop - start):
        yield _Change(start + offset, start + offset + 1, (changed[first + offset],))
    else:
      yield _Change(start, stop, tuple(changed[first:last]))


def _applied(changes: list[_Change], base: list[str]) -> Iterator[str]:
  """Yields the lines of the base after sorted changes that do not conflict."""
  done = 0
  for change in changes:
    yield from base[done : change.start]
    yield from change.lines
    done = change.stop
  yield from base[done:]


def _is_valid(name: str, text: str | None, sides: tuple[str | None, ...]) -> bool:
  """Whether a merged Python file parses.

  Unmerged files, which equal one of the sides, are not checked, nor are other kinds of files.
  """
  if text is None or text in sides or not name.endswith('.py'):
    return True
  try:
    ast.parse(text)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return False
  return True
