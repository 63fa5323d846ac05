"""Unified diffs of programs."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Literal

from autoresearch_jax.types import Program

CONTEXT = 3  # lines around a change

# As of difflib: kind, lines of the old text, lines of the new one.
Opcode = tuple[Literal['replace', 'delete', 'insert', 'equal'], int, int, int, int]


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
  old, new = (lines[start : len(lines) - end] for lines in (old, new))
  substituted = _is_substitution(old, new)
  matcher = _Substituted(old, new) if substituted else difflib.SequenceMatcher(None, old, new)
  groups = list(matcher.get_grouped_opcodes(CONTEXT))
  if groups:
    yield f'--- {name}'
    yield f'+++ {name}'
  for group in groups:
    (_, i1, _, j1, _), (_, _, i2, _, j2) = group[0], group[-1]
    yield f'@@ -{_range(start + i1, i2 - i1)} +{_range(start + j1, j2 - j1)} @@'
    for tag, i1, i2, j1, j2 in group:
      if tag == 'equal':
        yield from (f' {line}' for line in old[i1:i2])
      else:
        yield from (f'-{line}' for line in old[i1:i2])
        yield from (f'+{line}' for line in new[j1:j2])


def _range(first: int, count: int) -> str:
  """Returns a range of lines as hunks have it: '7,3', '7' for a single line."""
  return f'{first + 1}' if count == 1 else f'{first + 1 if count else first},{count}'


def _is_substitution(old: Sequence[str], new: Sequence[str]) -> bool:
  """Whether lines were changed in place and none was moved, as by edits of constants."""
  if len(old) != len(new):
    return False
  changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
  return not {a for a, _ in changed} & {b for _, b in changed}


class _Substituted(difflib.SequenceMatcher[str]):
  """Compares texts line by line. `SequenceMatcher` takes ten times as long and finds the same."""

  def __init__(self, old: Sequence[str], new: Sequence[str]):
    super().__init__(None, [], [])
    self._same = [a == b for a, b in zip(old, new, strict=True)]

  def get_opcodes(self) -> list[Opcode]:
    same = self._same
    first = [i for i in range(len(same)) if not i or same[i] != same[i - 1]]
    pairs = zip(first, [*first[1:], len(same)], strict=True)
    return [('equal' if same[i] else 'replace', i, j, i, j) for i, j in pairs]


def _common(old: Sequence[str], new: Sequence[str]) -> int:
  """Returns the number of equal lines at the beginning."""
  pairs = enumerate(zip(old, new, strict=False))
  return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))
