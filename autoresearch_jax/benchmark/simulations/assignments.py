"""Programs that are a list of constants: one `NAME = number` per line, names in ALL_CAPS.

Samplers of constants (tpe, cma_es) read and rewrite these programs as they do real ones. Parsing
is a plain split of the text, since a benchmark parses half a million programs.
"""

import dataclasses
import math
from collections.abc import Sequence

from autoresearch_jax.benchmark.simulations.base import ENTRY
from autoresearch_jax.types import Program


class AssignmentError(ValueError):
  """The text does not assign a number to each constant; the message says on which line."""


@dataclasses.dataclass(frozen=True)
class Assignments:
  """The format of an instance's programs.

  Attributes:
    names: The constants, in order.
    integers: The constants that are integers.
  """

  names: tuple[str, ...]
  integers: frozenset[str] = frozenset()

  def program(self, values: Sequence[float]) -> Program:
    """Returns the program that assigns `values`, in the order of `names`."""
    return Program(((ENTRY, self.text(values)),), ENTRY)

  def text(self, values: Sequence[float]) -> str:
    """Returns the program's text. Integers are rounded; floats keep all their digits."""
    pairs = zip(self.names, values, strict=True)
    return ''.join(
      [f'{n} = {round(v)}\n' if n in self.integers else f'{n} = {float(v)!r}\n' for n, v in pairs]
    )

  def values(self, program: Program) -> list[float]:
    """Parses a program.

    Returns:
      The numbers, in the order of `names`.

    Raises:
      AssignmentError: The program has another format.
    """
    text = program.files[0][1]
    words = text.split()
    if len(words) == 3 * len(self.names) and tuple(words[::3]) == self.names:
      try:
        numbers = list(map(float, words[2::3]))
      except ValueError:
        raise AssignmentError(self._first_error(text)) from None
      finite = math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))
      if finite and set(words[1::3]) == {'='}:
        return numbers
    raise AssignmentError(self._first_error(text))

  def _first_error(self, text: str) -> str:
    lines = text.splitlines()
    for number, name in enumerate(self.names, start=1):
      words = lines[number - 1].split() if number <= len(lines) else []
      if words[:2] != [name, '='] or len(words) != 3 or not _is_finite_number(words[2]):
        found = ' '.join(words) or 'nothing'
        return f'{ENTRY}:{number} must be "{name} = number"; it is: {found}.'
    return f'{ENTRY}:{len(self.names) + 1} assigns a constant that the problem does not have.'


def _is_finite_number(word: str) -> bool:
  try:
    return math.isfinite(float(word))
  except ValueError:
    return False
