"""The search space over a program's constants.

A constant is a literal that is assigned once, at the top level, to a name in ALL_CAPS. The search
space consists of the numbers; booleans and strings join it when their `choices` are given, tuples
never do. Python's own `ast` finds the literals, and a new value replaces exactly their bytes.

A constant's range comes from the first of these that exists:

- the strategy's option `space`, a Range per name;
- the constant's comment, such as `# in [-5, 5]` or `# in [1e-5, 0.1], log`;
- its value v, by this heuristic (`describe` prints the result before a run):

    int that is 16, 32, 64, ...                   powers of two, v / 4 to 4 v
    other int above 0                             log, v / 4 to 4 v
    float above 0                                 log, v / 10 to 10 v
    float in [0.1, 1], named as a fraction        linear, 0 to 1 (see FRACTION_WORDS)
    float in [0.75, 1), such as a decay           linear, 10 times to a tenth of its distance to 1
    zero                                          linear, 0 to 1
    below 0                                       linear, 2 v to -2 v

Expressions such as 2**19, and constants inside classes or functions, are left alone.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from autoresearch_jax.programs.constants import Constant, Value, constants

FRACTION_WORDS = ('RATIO', 'FRAC', 'SHARE', 'PROB', 'DROPOUT', 'SMOOTHING')
MAX_INT, MAX_FLOAT, MIN_FLOAT = 2**50, 1e290, 1e-290  # numbers beyond these are left alone
_NUMBER = r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?'
_COMMENT_RANGE = re.compile(rf'#.*\bin \[({_NUMBER}), ({_NUMBER})\](, log)?')


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """The values that one constant may take. By default from its comment, or derived from its value.

  Attributes:
    low: Lower bound, included; given together with `high`.
    high: Upper bound, included.
    log: Whether to sample on a log scale.
    choices: A list of values instead of a range.
    powers: Whether to use powers of two only, for sizes that suit the hardware.
    int: Whether to use integers only; by default as in the program.
  """

  low: float | None = None
  high: float | None = None
  log: bool = False
  choices: tuple[Value, ...] = ()
  powers: bool = False
  int: bool | None = None

  def __post_init__(self) -> None:
    if (self.low is None) != (self.high is None):
      raise ValueError('low and high must be given together')
    ranged = self.low is not None or self.log or self.powers or self.int is not None
    if self.choices and ranged:
      raise ValueError('choices cannot be combined with low, high, log, powers or int')
    if len(set(map(repr, self.choices))) < len(self.choices):
      raise ValueError(f'choices are {self.choices}; they must be distinct')
    if self.low is not None and self.high is not None:
      _require_range(self.low, self.high, self.log)
      if self.powers and not (_is_power(self.low) and _is_power(self.high)):
        raise ValueError(
          f'low is {self.low:g} and high is {self.high:g}; with powers, both must be powers of two'
        )


@dataclasses.dataclass(frozen=True)
class Dimension:
  """A constant of the search space, with its range or choices.

  Attributes:
    name: The constant's name.
    value: Its value in the program.
    origin: Where the range comes from: the option `space`, the comment, or the value.
    low: Lower bound, included.
    high: Upper bound, included.
    log: Whether it is sampled on a log scale.
    choices: Its choices; empty for a range.
    powers: Whether it takes powers of two only.
  """

  name: str
  value: Value
  origin: Literal['option', 'comment', 'derived']
  low: int | float = 0
  high: int | float = 0
  log: bool = False
  choices: tuple[Value, ...] = ()
  powers: bool = False

  @property
  def integer(self) -> bool:
    return isinstance(self.low, int)

  def contains(self, value: Any) -> bool:
    """Returns whether a value lies in the range and has its type."""
    if self.choices:
      return any(value == c and type(value) is type(c) for c in self.choices)
    if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
      return False
    return self.low <= value <= self.high and (not self.powers or _is_power(value))


def space_of(
  text: str, ranges: Mapping[str, Range], file: str = 'the file'
) -> tuple[Dimension, ...]:
  """Returns the search space of a file, in the order of the file.

  Args:
    text: The file.
    ranges: A Range per constant to search over; empty for all numbers.
    file: The file's name, for messages.

  Raises:
    ValueError: A name cannot be searched over, or there is none.
  """
  found = constants(text)
  numbers = [c.name for c in found if _is_number(c.value)]
  for name in ranges:
    _require_known(name, ranges[name], found, file)
  wanted = [c for c in found if c.name in (ranges or numbers)]
  if not wanted:
    raise ValueError(
      f'{file} has no constant to search over: a number that is assigned once, at the top level, '
      f'to a name in ALL_CAPS.'
    )
  return tuple(_dimension(c, ranges.get(c.name, Range())) for c in wanted)


def describe(space: Iterable[Dimension]) -> str:
  """Returns one line per constant: its value, its range, and where the range comes from."""
  return '\n'.join(f'{d.name} = {d.value!r}: {describe_range(d)} ({d.origin})' for d in space)


def _dimension(constant: Constant, option: Range) -> Dimension:
  name, value = constant.name, constant.value
  if option.choices:
    return Dimension(name, value, 'option', choices=option.choices)
  if option.low is not None and option.high is not None:
    low, high, log, powers = option.low, option.high, option.log, option.powers
    origin = 'option'
  else:
    low, high, log, powers, origin = _from_comment(constant) or (*derived(name, value), 'derived')
  if powers or (isinstance(value, int) if option.int is None else option.int):
    low, high = math.ceil(low), math.floor(high)
    _require_range(low, high, log)
    return Dimension(name, value, origin, low, high, log, powers=powers)
  return Dimension(name, value, origin, float(low), float(high), log)


def _from_comment(
  constant: Constant,
) -> tuple[float, float, bool, bool, Literal['comment']] | None:
  match = _COMMENT_RANGE.search(constant.rest)
  if match is None:
    return None
  low, high, log = float(match[1]), float(match[2]), bool(match[3])
  try:
    _require_range(low, high, log)
  except ValueError as error:
    raise ValueError(f'The range in the comment of {constant.name}: {error}.') from None
  return low, high, log, False, 'comment'


def derived(name: str, value: int | float) -> tuple[float, float, bool, bool]:
  """Returns (low, high, log, powers) by the heuristic in the module's docstring."""
  if value < 0:
    return 2 * value, -2 * value, False, False
  is_fraction = isinstance(value, float) and any(word in name for word in FRACTION_WORDS)
  if value == 0 or (is_fraction and 0.1 <= value <= 1):
    return 0, 1, False, False
  if isinstance(value, int):
    powers = value >= 16 and _is_power(value)
    return max(1, value // 4), 4 * value, not powers, powers
  if 0.75 <= value < 1:
    return max(0.0, 1 - 10 * (1 - value)), 1 - (1 - value) / 10, False, False
  return value / 10, value * 10, True, False


def _is_power(value: float) -> bool:
  return value >= 1 and int(value) == value and int(value).bit_count() == 1


def _is_number(value: Any) -> bool:
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  size = abs(value)
  return size <= MAX_INT if isinstance(value, int) else not size or MIN_FLOAT <= size <= MAX_FLOAT


def _require_range(low: float, high: float, log: bool) -> None:
  if not (math.isfinite(low) and math.isfinite(high) and low <= high):
    raise ValueError(f'low is {low:g} and high is {high:g}; low must not exceed high')
  if log and low <= 0:
    raise ValueError(f'low is {low:g}; with log it must be greater than 0')


def _require_known(name: str, option: Range, found: Iterable[Constant], file: str) -> None:
  values = {c.name: c.value for c in found}
  if name not in values:
    raise ValueError(
      f'Option space names {name}, which is not a constant of {file}; it has: '
      f'{", ".join(sorted(values)) or "none"}.'
    )
  if not _is_number(values[name]) and not option.choices:
    raise ValueError(
      f'Option space names {name}, which is {values[name]!r} in {file}: only numbers have a range; '
      f'give its choices.'
    )


def describe_range(dimension: Dimension) -> str:
  """Returns the range or the choices in words.

  They are part of Centaur's proposals, and a replay compares proposals: the wording must not
  change.
  """
  if dimension.choices:
    return 'one of ' + ', '.join(map(repr, dimension.choices))
  words = f'{dimension.low:.6g} to {dimension.high:.6g}'
  if dimension.powers:
    return words + ', powers of two'
  return words + (', log' if dimension.log else '') + (', whole' if dimension.integer else '')
