"""How an edit changed the constants of a program, and in which direction.

A constant is a literal assigned to an ALL_CAPS name. Proposers tag their hypotheses freely; what is
here is read from the programs themselves.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from autoresearch_jax.programs.constants import constants, skeleton
from autoresearch_jax.types import Program

MAX_NUMBER = 1e300  # integers above it do not fit into a float
_COMMENT = re.compile('#.*')


class ConstantChange(NamedTuple):
  """A constant that differs between two programs.

  Attributes:
    name: Name of the constant.
    old: Its value before; None if it did not exist.
    new: Its value after; None if it is gone.
  """

  name: str
  old: Any
  new: Any


def constant_values(program: Program) -> dict[str, Any]:
  """Returns the program's constants by name, in the order of its files.

  Files that do not parse contribute none, nor do values that Python cannot print in decimal.
  """
  found = (c for _, text in program.files for c in constants(text))
  return {c.name: c.value for c in found if _is_printable(c.value)}


def structure_digest(program: Program) -> str:
  """Returns a hash of everything but constants' values, comments and blank lines.

  Two programs with equal digests differ in constants only. Comments are recognised by `#` alone, so
  a change after a `#` inside a string goes unnoticed.
  """
  digest = hashlib.sha256()
  for name, text in program.files:
    names = [c.name for c in constants(text)]
    bare = skeleton(text, names) if names else text
    lines = (_COMMENT.sub('', line).rstrip() for line in bare.splitlines())
    digest.update('\n'.join([name, *filter(None, lines), '']).encode('utf-8', 'replace'))
  return digest.hexdigest()


def constant_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ConstantChange, ...]:
  """Returns the constants that differ, in the order of the new program, removed ones last.

  If the new program has no constants at all, it is broken or unrelated, and the result is empty.
  """
  if not new:
    return ()
  names = (*new, *(name for name in old if name not in new))
  pairs = (ConstantChange(name, old.get(name), new.get(name)) for name in names)
  return tuple(pair for pair in pairs if repr(pair.old) != repr(pair.new))


def direction(old: Any, new: Any) -> str:
  """Returns 'up' or 'down' for numbers, 'on' or 'off' for bools, '' if there is no direction.

  A tuple has a direction if all elements that changed share one. Strings have none, nor do
  constants that are new or gone.
  """
  if isinstance(old, bool) and isinstance(new, bool):
    return 'on' if new else 'off'
  if is_number(old) and is_number(new):
    return '' if old == new else 'up' if new > old else 'down'
  if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if repr(a) != repr(b)]
    directions = {direction(a, b) for a, b in pairs}
    return directions.pop() if len(directions) == 1 else ''
  return ''


def change_key(change: ConstantChange) -> str:
  """Returns the key that `mutate` gives such a move, as in 'DEPTH up'; '' without a direction."""
  moved = direction(change.old, change.new)
  return f'{change.name} {moved}' if moved else ''


def _is_printable(value: Any) -> bool:
  try:
    repr(value)
  except (ValueError, RecursionError):  # thousands of digits, written in hexadecimal
    return False
  return True


def is_number(value: Any) -> TypeGuard[int | float]:
  """Returns whether the value is a number that fits into a float."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return isinstance(value, float) or abs(value) < MAX_NUMBER
