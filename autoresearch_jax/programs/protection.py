"""Names of a program that no edit may change: its constants, functions, classes and methods."""

import ast
import difflib
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autoresearch_jax.types import Program

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SCOPES = ('FunctionDef(', 'AsyncFunctionDef(', 'ClassDef(')  # beginnings of their dumps


def names(program: Program, files: Iterable[str]) -> tuple[str, ...]:
  """Returns what can be protected: ALL_CAPS constants, functions, classes and methods."""
  found: dict[str, None] = {}
  for file, text in program.files:
    if file in files and file.endswith('.py'):
      for name, code in (_definitions(text) or {}).items():
        if name.isupper() or any(one.startswith(SCOPES) for one in code):
          found[name] = None
  return tuple(found)


def unknown(name: str, program: Program, files: Iterable[str]) -> str:
  """Returns why a name cannot be protected, a sentence; '' if it can be."""
  known = names(program, tuple(files))
  if name in known:
    return ''
  near = difflib.get_close_matches(name, known, n=1)
  hint = f'did you mean {near[0]}?' if near else f'it has {", ".join(known) or "none"}.'
  return f'The program has no constant, function or class {name!r:.100}; {hint}'


def changed(protected: Iterable[str], before: Program, after: Program) -> str:
  """Returns the first protected name that two programs define differently; '' if there is none.

  Layout and comments do not count. A file that does not parse cannot be trained, and is not looked
  at.
  """
  old, new = dict(before.files), dict(after.files)
  for file in sorted({*old, *new}):
    if old.get(file) == new.get(file) or not file.endswith('.py'):
      continue
    sides = [_definitions(files.get(file, '')) for files in (old, new)]
    if sides[0] is None or sides[1] is None:
      continue
    for name in protected:
      if sides[0].get(name) != sides[1].get(name):
        return name
  return ''


@functools.lru_cache(maxsize=64)
def _definitions(text: str) -> Mapping[str, tuple[str, ...]] | None:
  """Returns name -> syntax trees of statements that bind it; None if it does not parse."""
  try:
    with warnings.catch_warnings():  # about the program, such as an unknown escape
      warnings.simplefilter('ignore')
      tree = ast.parse(text)
    found: dict[str, list[str]] = {}
    for name, code in _bindings(tree.body, ''):
      found.setdefault(name, []).append(code)
    for node in ast.walk(tree):
      for name in node.names if isinstance(node, ast.Global) else ():
        found.setdefault(name, []).append('global')
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None
  return {name: tuple(code) for name, code in found.items()}


def _bindings(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
  """Yields (name, syntax tree) of what statements bind; methods have dotted names."""
  for statement in body:
    if isinstance(statement, Scope):
      yield prefix + statement.name, ast.dump(statement)
      if isinstance(statement, ast.ClassDef):
        yield from _bindings(statement.body, f'{prefix}{statement.name}.')
      continue
    blocks = [list(block) for block in _blocks(statement)]
    inside = {id(node) for block in blocks for stmt in block for node in ast.walk(stmt)}
    for node in ast.walk(statement):
      if id(node) not in inside and (name := _bound(node)):
        yield prefix + name, ast.dump(statement)
    for block in blocks:
      yield from _bindings(block, prefix)


def _bound(node: ast.AST) -> str:
  """Returns the name that a node binds; '' if it binds none."""
  match node:
    case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
      return name
    case ast.alias(name=name, asname=asname):
      return asname or name.split('.')[0]
  return ''


def _blocks(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
  """Yields the blocks of a compound statement, such as those of an `if` and its `else`."""
  for node in (statement, *getattr(statement, 'handlers', ()), *getattr(statement, 'cases', ())):
    for part in ('body', 'orelse', 'finalbody'):
      if isinstance(block := getattr(node, part, None), list):
        yield block
