"""What an edit did to a program's constants, and which way: literals in ALL_CAPS, as in `search`.

Proposers tag their hypotheses as they like; this is what can be read from the programs themselves.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from autoresearch_jax.search.samplers.space import constants, skeleton
from autoresearch_jax.types import Program

Change = tuple[str, Any, Any]  # name, old value, new value; None where it was not there

LARGEST = 1e300
_COMMENT = re.compile('#.*')


def values(program: Program) -> dict[str, Any]:
  """The program's constants by name, in the order of its files; none of a file that is broken.

  Nor those that Python refuses to write in decimals.
  """
  found = (c for _, text in program.files for c in constants(text))
  return {c.name: c.value for c in found if _is_writable(c.value)}


def rest(program: Program) -> str:
  """A digest of all but the constants' values, comments and blank lines.

  Comments are found by their sign alone: what follows one within a string is overlooked.
  """
  digest = hashlib.sha256()
  for name, text in program.files:
    names = [c.name for c in constants(text)]
    bare = skeleton(text, names) if names else text
    lines = (_COMMENT.sub('', line).rstrip() for line in bare.splitlines())
    digest.update('\n'.join([name, *filter(None, lines), '']).encode('utf-8', 'replace'))
  return digest.hexdigest()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
  """The constants that differ, in the order of the new program; those that are gone come last.

  None at all where all of them are gone: the new program is broken or is another one altogether.
  """
  if not new:
    return ()
  names = (*new, *(name for name in old if name not in new))
  pairs = ((name, old.get(name), new.get(name)) for name in names)
  return tuple(pair for pair in pairs if repr(pair[1]) != repr(pair[2]))


def direction(old: Any, new: Any) -> str:
  """'up' or 'down' for numbers and for tuples whose elements move one way, 'on' or 'off' for
  bools; '' where there is no direction (a string, a constant that is new or gone).
  """
  if isinstance(old, bool) and isinstance(new, bool):
    return 'on' if new else 'off'
  if is_number(old) and is_number(new):
    return '' if old == new else 'up' if new > old else 'down'
  if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if repr(a) != repr(b)]
    ways = {direction(a, b) for a, b in pairs}
    return ways.pop() if len(ways) == 1 else ''
  return ''


def key(change: Change) -> str:
  """'DEPTH up', as the keys of the moves of `mutate`; '' where there is no direction."""
  name, old, new = change
  way = direction(old, new)
  return f'{name} {way}' if way else ''


def _is_writable(value: Any) -> bool:
  try:
    repr(value)
  except (ValueError, RecursionError):  # thousands of digits, written in hexadecimal
    return False
  return True


def is_number(value: Any) -> TypeGuard[int | float]:
  """Whether it is a number that a float can hold."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return isinstance(value, float) or abs(value) < LARGEST
