"""The reader of a program's constants: literals assigned to ALL_CAPS names outside functions.

Everything that reads or sets constants builds on it: samplers, knowledge, `config.constants`,
prompts and the proposer `mutate`. It uses Python's `ast`, so a new value replaces exactly the bytes
of the old literal, and a file that does not parse has no constants.
"""

import ast
import dataclasses
import functools
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

Value = bool | int | float | str
_LINE_END = re.compile(rb'\r\n|\r|\n')
# Before a statement of the top level that follows an empty line; also inside of some strings.
_PART = re.compile(r'(?<=\n\n)(?=[^\W\d]|@)')
MAX_TRIES = 50  # to complete parts; beyond it the text is read as a whole


@dataclasses.dataclass(frozen=True)
class Constant:
  """A plain assignment of a value to an ALL_CAPS name.

  Attributes:
    name: The name.
    value: The value if it is a literal, else None.
    start: Offset of the value's first byte in the UTF-8 text.
    end: Offset after its last byte.
    rest: The rest of its line, with any comment.
    code: The value's source.
    nested: Whether it stands inside an `if`, a loop or another block.
  """

  name: str
  value: Any
  start: int
  end: int
  rest: str
  code: str = ''
  nested: bool = False


class _Bindings(NamedTuple):
  """What a text binds outside functions and classes, in order.

  Attributes:
    plain: Plain assignments to ALL_CAPS names, also nested ones.
    top: (name, constant) of every ALL_CAPS name that a statement of the top level binds.
  """

  plain: tuple[Constant, ...] = ()
  top: tuple[Constant, ...] = ()


@functools.lru_cache(maxsize=64)
def assignments(text: str) -> tuple[Constant, ...]:
  """Returns all plain assignments to ALL_CAPS names outside functions and classes, in order.

  Unlike `constants` it includes repeated and nested ones, and values that are not literals.
  """
  return _bindings(text).plain


@functools.lru_cache(maxsize=64)
def constants(text: str) -> tuple[Constant, ...]:
  """Returns the literals that are bound once, at the top level, in the order of the file."""
  found: dict[str, list[Constant]] = {}
  for constant in _bindings(text).top:
    found.setdefault(constant.name, []).append(constant)
  once = [same[0] for same in found.values() if len(same) == 1]
  return tuple(c for c in once if c.value is not None)


def _bindings(text: str) -> _Bindings:
  """Reads a text part by part, since the programs of a run have most parts in common."""
  found: list[_Bindings] = []
  part, offset, tries = '', 0, 0
  for piece in _PART.split(text):
    part += piece
    if (read := _part(part)) is None:
      tries += 1  # a part may end inside a string, or before an `except`
      if tries > MAX_TRIES:
        break
      continue
    found.append(_Bindings(*(_moved(constants, offset) for constants in read)))
    part, offset = '', offset + len(part.encode())
  if part:
    return _part(text) or _Bindings()
  return _Bindings(*(tuple(itertools.chain(*parts)) for parts in zip(*found, strict=True)))


def _moved(constants: tuple[Constant, ...], offset: int) -> tuple[Constant, ...]:
  """Returns the constants of a part with their places in the whole text."""
  return tuple(
    c if c.value is None and not c.end else
    dataclasses.replace(c, start=c.start + offset, end=c.end + offset)
    for c in constants
  )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _part(text: str) -> _Bindings | None:
  """Returns what a text binds; None if it does not parse."""
  if (parsed := _parsed(text)) is None:
    return None
  data, starts, body = parsed
  plain = (
    dataclasses.replace(_constant(name, node, data, starts), nested=nested)
    for name, node, nested in _plain(body, nested=False)
  )
  top = tuple(
    _constant(name, node, data, starts) for statement in body for name, node in _assigned(statement)
  )
  return _Bindings(tuple(sorted(plain, key=lambda c: c.start)), top)


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr | None]]:
  """Returns (name, value) for each ALL_CAPS name that the statement binds.

  The value is None where it is not a plain assignment.
  """
  match statement:
    case ast.Assign(targets=[ast.Name(id=name)], value=value):
      found: list[tuple[str, ast.expr | None]] = [(name, value)]
    case ast.AnnAssign(target=ast.Name(id=name), value=value):
      found = [(name, value)]
    case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
      found = []
    case _:  # `A = B = 1`, `A += 1`, a loop: bound, but not to one literal
      names = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
      found = [(n.id, None) for n in names if isinstance(n.ctx, ast.Store)]
  return [(name, value) for name, value in found if name.isupper()]


def _constant(name: str, node: ast.expr | None, data: bytes, starts: list[int]) -> Constant:
  """Returns the literal at `node`; its value is None when it is not a literal."""
  try:
    value = None if node is None else ast.literal_eval(node)
  except (ValueError, TypeError, SyntaxError, RecursionError):
    value = None
  if node is None:
    return Constant(name, None, 0, 0, '')
  start = starts[node.lineno - 1] + node.col_offset
  end = starts[cast(int, node.end_lineno) - 1] + cast(int, node.end_col_offset)
  rest = _LINE_END.split(data[end:], maxsplit=1)[0].decode()
  return Constant(name, value, start, end, rest, data[start:end].decode())


def with_values(text: str, values: Mapping[str, Value]) -> str:
  """Returns the text with new values for some constants, and every other byte unchanged.

  A literal that already has the value is left as it is written.

  Raises:
    KeyError: A name is not a constant of the text.
  """
  data, known = text.encode(), {c.name: c for c in constants(text)}
  chosen = sorted((known[name] for name in values), key=lambda c: c.start, reverse=True)
  for constant in chosen:
    value = values[constant.name]
    if repr(constant.value) != repr(value):
      data = data[: constant.start] + repr(value).encode() + data[constant.end :]
  return data.decode()


def skeleton(text: str, names: Iterable[str]) -> str:
  """Returns the text without these constants' literals, the same for all their values."""
  data, known = text.encode(), {c.name: c for c in constants(text)}
  for constant in sorted((known[name] for name in names), key=lambda c: c.start, reverse=True):
    data = data[: constant.start] + data[constant.end :]
  return data.decode()


def set_values(text: str, codes: Mapping[str, str]) -> str:
  """Returns the text with new source for some constants' values, at every assignment."""
  data = text.encode()
  for found in reversed(assignments(text)):
    if found.name in codes:
      data = data[: found.start] + codes[found.name].encode() + data[found.end :]
  return data.decode()


def _parsed(text: str) -> tuple[bytes, list[int], Sequence[ast.stmt]] | None:
  """The text as bytes, the offsets of its lines, and its statements; None if it does not parse."""
  try:
    with warnings.catch_warnings():  # about the program, such as an unknown escape
      warnings.simplefilter('ignore')
      body = ast.parse(text).body
    data = text.encode()
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None
  starts = [0, *(match.end() for match in _LINE_END.finditer(data))]
  # ast counts no byte order mark.
  starts[0] = len(b'\xef\xbb\xbf') if text.startswith('\ufeff') else 0
  return data, starts, body


def _plain(body: Sequence[ast.stmt], nested: bool) -> Iterator[tuple[str, ast.expr, bool]]:
  """Yields (name, value, nested) of plain assignments; an `else` comes before an `except`."""
  for statement in body:
    match statement:
      case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
        yield name, value, nested
      case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name.isupper():
        yield name, value, nested
      case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
        continue
      case _:
        for block in _blocks(statement):
          yield from _plain(block, nested=True)


def _blocks(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
  """The blocks of a compound statement, such as those of an `if` and its `else`."""
  for node in (statement, *getattr(statement, 'handlers', ()), *getattr(statement, 'cases', ())):
    for part in ('body', 'orelse', 'finalbody'):
      if isinstance(block := getattr(node, part, None), list):
        yield block
