"""Unified diffs of programs."""

import difflib
import re
from collections.abc import Iterator, Sequence

from autoresearch_jax.types import Program

CONTEXT = 3  # lines around a change
_HUNK = re.compile(r'@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@')


def program_diff(before: Program, after: Program) -> str:
  """Returns the unified diff of all files; '' if they are equal."""
  old, new = dict(before.files), dict(after.files)
  lines: list[str] = []
  for name in sorted(old | new):
    if old.get(name) != new.get(name):
      lines += _file_diff(name, old.get(name, '').splitlines(), new.get(name, '').splitlines())
  return '\n'.join(lines)


def _file_diff(name: str, old: list[str], new: list[str]) -> Iterator[str]:
  """Yields the lines of a unified diff. Common lines at both ends are not searched."""
  start = _common(old, new)
  end = _common(old[:start:-1], new[:start:-1])
  start, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
  olds, news = (lines[start : len(lines) - end] for lines in (old, new))
  for line in difflib.unified_diff(olds, news, name, name, lineterm=''):
    if found := _HUNK.fullmatch(line):
      first, count, second, size = found.groups(default='')
      line = f'@@ -{int(first) + start}{count} +{int(second) + start}{size} @@'
    yield line


def _common(old: Sequence[str], new: Sequence[str]) -> int:
  """Returns the number of equal lines at the beginning."""
  pairs = enumerate(zip(old, new, strict=False))
  return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))
