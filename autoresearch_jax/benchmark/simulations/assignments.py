"""Programs that are a list of constants: `NAME = number`, one a line, names in ALL_CAPS.

Samplers of constants (tpe, cma_es) read and rewrite such programs as they do real ones. Reading
is a split of the text, since a benchmark reads half a million of them.
"""

import dataclasses
import math
from collections.abc import Sequence

from autoresearch_jax.benchmark.simulations import ENTRY
from autoresearch_jax.types import Program


class Unreadable(ValueError):
  """The text does not assign a number to each of the constants; the sentence says where."""


@dataclasses.dataclass(frozen=True)
class Assignments:
  """The form of an instance's programs. names: the constants, in order. whole: which are ints."""

  names: tuple[str, ...]
  whole: frozenset[str] = frozenset()

  def program(self, values: Sequence[float]) -> Program:
    return Program(((ENTRY, self.text(values)),), ENTRY)

  def text(self, values: Sequence[float]) -> str:
    """Whole constants are rounded; the others keep every digit and their point."""
    pairs = zip(self.names, values, strict=True)
    return ''.join(
      [f'{n} = {round(v)}\n' if n in self.whole else f'{n} = {float(v)!r}\n' for n, v in pairs]
    )

  def values(self, program: Program) -> list[float]:
    """The numbers in the order of `names`. Raises Unreadable."""
    text = program.files[0][1]
    words = text.split()
    if len(words) == 3 * len(self.names) and tuple(words[::3]) == self.names:
      try:
        numbers = list(map(float, words[2::3]))
      except ValueError:
        raise Unreadable(self._what_is_wrong(text)) from None
      finite = math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))
      if finite and set(words[1::3]) == {'='}:
        return numbers
    raise Unreadable(self._what_is_wrong(text))

  def _what_is_wrong(self, text: str) -> str:
    """The sentence for the first line that is not as it should be."""
    lines = text.splitlines()
    for number, name in enumerate(self.names, start=1):
      words = lines[number - 1].split() if number <= len(lines) else []
      if words[:2] != [name, '='] or len(words) != 3 or not _is_number(words[2]):
        found = ' '.join(words) or 'nothing'
        return f'{ENTRY}:{number} must be "{name} = number"; it is: {found}.'
    return f'{ENTRY}:{len(self.names) + 1} assigns a constant that the problem does not have.'


def _is_number(word: str) -> bool:
  try:
    return math.isfinite(float(word))
  except ValueError:
    return False
