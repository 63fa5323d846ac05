"""The space of a program's constants, for strategies that propose constants themselves.

A constant is a literal that is assigned once, at the top level, to a name in ALL_CAPS. Numbers
make up the space; bools and strings belong to it when their `choices` are given, tuples never.
Python's own `ast` finds the literals, and a new value replaces exactly their bytes.

Where a range comes from, the first that there is:
- the option `space` of the strategy, a Range for each name;
- the constant's comment, such as `# in [-5, 5]` or `# in [1e-5, 0.1], log`;
- its value v (derived, a guess: `describe` shows it before a night is spent on it):

    int that is 16, 32, 64, ...               powers of two, v / 4 to 4 v
    other int above 0                         log, v / 4 to 4 v
    float above 0                             log, v / 10 to 10 v
    float in [0.1, 1], named a share (SHARES) linear, 0 to 1
    float in [0.75, 1), a decay or momentum   linear, ten times v's distance to 1, to a tenth of it
    zero                                      linear, 0 to 1
    below 0                                   linear, 2 v to -2 v

No expressions such as 2**19, no constants inside classes or functions: these stay as they are.
"""

import ast
import dataclasses
import functools
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import msgspec

Value = bool | int | float | str
SHARES = ('RATIO', 'FRAC', 'SHARE', 'PROB', 'DROPOUT', 'SMOOTHING')
LARGEST_INT, LARGEST, SMALLEST = 2**50, 1e290, 1e-290  # numbers beyond these are left alone
_NUMBER = r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?'
_STATED = re.compile(rf'#.*\bin \[({_NUMBER}), ({_NUMBER})\](, log)?')
_LINE_END = re.compile(rb'\r\n|\r|\n')


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """What one constant may be. Nothing set: the range that its comment states or its value implies.

  low, high: both included, given together. log: whether steps are factors. choices: a list of
  values instead of a range. powers: whether only powers of two, for sizes that a device likes. int:
  whether only whole numbers; by default as in the program.
  """

  low: float | None = None
  high: float | None = None
  log: bool = False
  choices: tuple[Value, ...] = ()
  powers: bool = False
  int: bool | None = None

  def __post_init__(self) -> None:
    if (self.low is None) != (self.high is None):
      raise ValueError('a range needs both low and high, or neither')
    ranged = self.low is not None or self.log or self.powers or self.int is not None
    if self.choices and ranged:
      raise ValueError('choices stand alone: leave out low, high, log, powers and int')
    if len(set(map(repr, self.choices))) < len(self.choices):
      raise ValueError(f'choices are {self.choices}; each may be there once')
    if self.low is not None and self.high is not None:
      _require_range(self.low, self.high, self.log)
      if self.powers and not (_is_power(self.low) and _is_power(self.high)):
        raise ValueError(f'low is {self.low:g} and high is {self.high:g}; with powers both must be')


@dataclasses.dataclass(frozen=True)
class Constant:
  """A literal in a file: its value, the bytes [start, end) it takes, the rest of its line."""

  name: str
  value: Any
  start: int
  end: int
  rest: str


@dataclasses.dataclass(frozen=True)
class Dimension:
  """One constant's range, or its choices. value: the program's own. origin: see the module."""

  name: str
  value: Value
  origin: Literal['given', 'stated', 'derived']
  low: int | float = 0
  high: int | float = 0
  log: bool = False
  choices: tuple[Value, ...] = ()
  powers: bool = False

  @property
  def integer(self) -> bool:
    return isinstance(self.low, int)

  def holds(self, value: Any) -> bool:
    """Whether the value lies in the range and is of its type."""
    if self.choices:
      return any(value == c and type(value) is type(c) for c in self.choices)
    if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
      return False
    return self.low <= value <= self.high and (not self.powers or _is_power(value))


def space_of(
  text: str, ranges: Mapping[str, Range], file: str = 'the file'
) -> tuple[Dimension, ...]:
  """The constants of `ranges`, or all numbers where it is empty, in the order of the file.

  file: its name, for the sentence. Raises ValueError for a name that cannot be searched over.
  """
  found = constants(text)
  numbers = [c.name for c in found if _is_number(c.value)]
  for name in ranges:
    _require_known(name, ranges[name], found, file)
  wanted = [c for c in found if c.name in (ranges or numbers)]
  if not wanted:
    raise ValueError(
      f'{file} has no constant to search over: a number assigned once, at the top level, to a '
      f'name in ALL_CAPS.'
    )
  return tuple(_dimension(c, ranges.get(c.name, Range())) for c in wanted)


def with_values(text: str, values: Mapping[str, Value]) -> str:
  """The text with these constants' literals rewritten and every other byte as it was.

  A literal that has the value already stays as it is written. Raises KeyError for a name that is
  no constant of the text.
  """
  data, known = text.encode(), {c.name: c for c in constants(text)}
  chosen = sorted((known[name] for name in values), key=lambda c: c.start, reverse=True)
  for constant in chosen:
    value = values[constant.name]
    if repr(constant.value) != repr(value):
      data = data[: constant.start] + repr(value).encode() + data[constant.end :]
  return data.decode()


def skeleton(text: str, names: Iterable[str]) -> str:
  """The text without these constants' literals: the same for texts that differ in them alone."""
  data, known = text.encode(), {c.name: c for c in constants(text)}
  for constant in sorted((known[name] for name in names), key=lambda c: c.start, reverse=True):
    data = data[: constant.start] + data[constant.end :]
  return data.decode()


def describe(space: Iterable[Dimension]) -> str:
  """A line a constant: its value, its range, and where the range comes from."""
  return '\n'.join(f'{d.name} = {d.value!r}: {extent(d)} ({d.origin})' for d in space)


@functools.lru_cache(maxsize=64)
def constants(text: str) -> tuple[Constant, ...]:
  """All constants whatever their type, in the order of the file; none where it does not parse."""
  try:
    with warnings.catch_warnings():  # of the program's own, such as an unknown escape
      warnings.simplefilter('ignore')
      body = ast.parse(text).body
  except (SyntaxError, ValueError, RecursionError):
    return ()
  data = text.encode()
  starts = [0, *(match.end() for match in _LINE_END.finditer(data))]
  starts[0] = (
    len(b'\xef\xbb\xbf') if text.startswith('\ufeff') else 0
  )  # ast counts no byte order mark
  found: dict[str, list[Constant]] = {}
  for statement in body:
    for name, node in _assigned(statement):
      found.setdefault(name, []).append(_constant(name, node, data, starts))
  once = [same[0] for same in found.values() if len(same) == 1]
  return tuple(c for c in once if c.value is not None)


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr | None]]:
  """(name, value) for each ALL_CAPS name the statement binds; no value where it is not plain."""
  match statement:
    case ast.Assign(targets=[ast.Name(id=name)], value=value):
      found: list[tuple[str, ast.expr | None]] = [(name, value)]
    case ast.AnnAssign(target=ast.Name(id=name), value=value):
      found = [(name, value)]
    case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
      found = []
    case _:  # `A = B = 1`, `A += 1`, a loop: bound, but to no literal of its own
      names = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
      found = [(n.id, None) for n in names if isinstance(n.ctx, ast.Store)]
  return [(name, value) for name, value in found if name.isupper()]


def _constant(name: str, node: ast.expr | None, data: bytes, starts: list[int]) -> Constant:
  """The literal at `node`; value None where there is none."""
  try:
    value = None if node is None else ast.literal_eval(node)
  except (ValueError, TypeError, SyntaxError, RecursionError):
    value = None
  if node is None or value is None:
    return Constant(name, None, 0, 0, '')
  start = starts[node.lineno - 1] + node.col_offset
  end = starts[cast(int, node.end_lineno) - 1] + cast(int, node.end_col_offset)
  rest = _LINE_END.split(data[end:], maxsplit=1)[0].decode()
  return Constant(name, value, start, end, rest)


def _dimension(constant: Constant, given: Range) -> Dimension:
  name, value = constant.name, constant.value
  if given.choices:
    return Dimension(name, value, 'given', choices=given.choices)
  if given.low is not None and given.high is not None:
    low, high, log, powers, origin = given.low, given.high, given.log, given.powers, 'given'
  else:
    low, high, log, powers, origin = _stated(constant) or (*derived(name, value), 'derived')
  if powers or (isinstance(value, int) if given.int is None else given.int):
    low, high = math.ceil(low), math.floor(high)
    _require_range(low, high, log)
    return Dimension(name, value, origin, low, high, log, powers=powers)
  return Dimension(name, value, origin, float(low), float(high), log)


def _stated(constant: Constant) -> tuple[float, float, bool, bool, Literal['stated']] | None:
  match = _STATED.search(constant.rest)
  if match is None:
    return None
  low, high, log = float(match[1]), float(match[2]), bool(match[3])
  try:
    _require_range(low, high, log)
  except ValueError as error:
    raise ValueError(f'The comment of {constant.name} states a range: {error}.') from None
  return low, high, log, False, 'stated'


def derived(name: str, value: int | float) -> tuple[float, float, bool, bool]:
  """(low, high, log, powers) by the table above."""
  if value < 0:
    return 2 * value, -2 * value, False, False
  share = isinstance(value, float) and any(word in name for word in SHARES)
  if value == 0 or (share and 0.1 <= value <= 1):
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
  return size <= LARGEST_INT if isinstance(value, int) else not size or SMALLEST <= size <= LARGEST


def _require_range(low: float, high: float, log: bool) -> None:
  if not (math.isfinite(low) and math.isfinite(high) and low <= high):
    raise ValueError(f'low is {low:g} and high is {high:g}; low must not be above high')
  if log and low <= 0:
    raise ValueError(f'low is {low:g}; with log it must be above 0')


def _require_known(name: str, given: Range, found: Iterable[Constant], file: str) -> None:
  values = {c.name: c.value for c in found}
  if name not in values:
    raise ValueError(
      f'Option space names {name}, which is no constant of {file}; it has: '
      f'{", ".join(sorted(values)) or "none"}.'
    )
  if not _is_number(values[name]) and not given.choices:
    raise ValueError(
      f'Option space names {name}, which is {values[name]!r} in {file}: only a number has a '
      f'range; give its choices.'
    )


def extent(dimension: Dimension) -> str:
  """The range or the choices in words."""
  if dimension.choices:
    return 'one of ' + ', '.join(map(repr, dimension.choices))
  words = f'{dimension.low:.6g} to {dimension.high:.6g}'
  if dimension.powers:
    return words + ', powers of two'
  return words + (', log' if dimension.log else '') + (', whole' if dimension.integer else '')
