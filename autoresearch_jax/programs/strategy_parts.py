"""Exchanges parts of search strategies: functions of one file in the place of those of another.

The strategies of `programs/strategies` have the same skeleton, `init`, `ask` and `tell`, which
calls the parts. A part that is taken over brings along the functions, constants and imports that it
uses, and what nothing uses any more is removed, so that every constant of the file has an effect.
Used by `mutate`: as edits from the packaged strategies, and to merge two strategies of a run.
"""

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from autoresearch_jax.programs.structural_edits import Rewrite, SourceEdit

FOLDER = pathlib.Path(__file__).resolve().parent / 'strategies'
SKELETON = ('init', 'ask', 'tell')
PARTS = ('opening', 'choose', 'fidelity', 'guidance')
EFFECT = (0.0, 0.1)  # mean and standard deviation of the gain, as fractions of the metric


@dataclasses.dataclass(frozen=True)
class TopStatement:
  """A statement of a file's top level.

  Attributes:
    names: What it binds.
    uses: Names that it reads.
    first: Its first line, from 0.
    end: The line after its last one.
    code: Its lines.
    kind: `import`, `constant`, `function` or `other`.
  """

  names: tuple[str, ...]
  uses: frozenset[str]
  first: int
  end: int
  code: str
  kind: str


def part_edits(text: str) -> list[SourceEdit]:
  """Returns an edit for each part of a packaged strategy that differs from the file's.

  None for a file that is no such strategy.
  """
  if not is_strategy(text):
    return []
  found = []
  for donor, other in donors().items():
    differing = differing_parts(text, other)
    found += [_edit(text, donor, (part,)) for part in differing]
    if len(differing) > 1:
      found.append(_edit(text, donor, tuple(differing)))
  return found


def is_strategy(text: str) -> bool:
  """Whether a file has the skeleton and a part."""
  bound = set(_by_name(text))
  return bound.issuperset(SKELETON) and not bound.isdisjoint(PARTS)


@functools.cache
def donors() -> Mapping[str, str]:
  """Returns the texts of the packaged strategies by name."""
  paths = sorted(path for path in FOLDER.glob('*.py') if path.name != '__init__.py')
  return {path.stem: path.read_text(encoding='utf-8') for path in paths}


def differing_parts(text: str, other: str) -> list[str]:
  """Returns the parts that two strategies have both, and not with the same code."""
  mine, theirs = _by_name(text), _by_name(other)
  if not (is_strategy(text) and is_strategy(other)):
    return []
  return [
    part
    for part in PARTS
    if part in mine and part in theirs and _closure(mine, part) != _closure(theirs, part)
  ]


def with_part(text: str, donor: str, part: str) -> str | None:
  """Returns a strategy with a part of another one; None if one of them does not have it."""
  mine, theirs = _by_name(text), _by_name(donor)
  if part not in mine or part not in theirs:
    return None
  lines = text.splitlines(keepends=True)
  statements = _statements(text)
  missing = [theirs[name] for name in _used(theirs, part) if name not in mine]
  added = {kind: [s.code for s in missing if s.kind == kind] for kind in ('import', 'constant')}
  functions = [s.code for s in missing if s.kind not in added]
  old = mine[part]
  new_part = theirs[part].code + ''.join(f'\n\n{code}' for code in functions)
  changes = [(old.first, old.end, new_part)]
  last_import = max((s.end for s in statements if s.kind == 'import'), default=0)
  constants = [s.end for s in statements if s.kind == 'constant' and s.first < old.first]
  if added['import']:
    changes.append((last_import, last_import, ''.join(added['import'])))
  if added['constant']:
    place = max(constants, default=last_import)
    lead = '' if constants else '\n'
    changes.append((place, place, lead + ''.join(added['constant'])))
  for first, end, code in sorted(changes, key=lambda change: -change[0]):
    lines[first:end] = [code]
  return _without_unused(''.join(lines), {old.names[0], *_used(mine, part)})


def merged(text: str, other: str, rng: np.random.Generator) -> Iterator[tuple[str, list[str]]]:
  """Yields a strategy with parts of another one, and their names, in random order."""
  differing = differing_parts(text, other)
  for number in rng.permutation(2 ** len(differing) - 1):
    taken = [part for i, part in enumerate(differing) if (int(number) + 1) >> i & 1]
    result = _with_parts(text, other, taken)
    if result is not None and result != text:
      yield result, taken


def _edit(text: str, donor: str, parts: tuple[str, ...]) -> SourceEdit:
  names = ' and '.join(parts)

  def make(rng: np.random.Generator) -> Rewrite | None:
    del rng
    new = _with_parts(text, donors()[donor], parts)
    return None if new is None else Rewrite(new, f'take {names} of the strategy {donor}')

  claim = f'The function {names} of {donor} suits these problems better.'
  return SourceEdit(f'{names} of {donor}', 'structure', 1.0, claim, parts, *EFFECT, make)


def _with_parts(text: str, donor: str, parts: Iterable[str]) -> str | None:
  result: str | None = text
  for part in parts:
    result = with_part(result, donor, part) if result is not None else None
  return result


@functools.lru_cache(maxsize=64)
def _statements(text: str) -> tuple[TopStatement, ...]:
  """Returns the statements of the top level; none if the file does not parse."""
  try:
    body = ast.parse(text).body
  except (SyntaxError, ValueError, RecursionError):
    return ()
  lines = text.splitlines(keepends=True)
  return tuple(_statement(node, lines) for node in body)


def _statement(node: ast.stmt, lines: list[str]) -> TopStatement:
  decorators = getattr(node, 'decorator_list', ())
  first = min(each.lineno for each in (node, *decorators)) - 1
  end = node.end_lineno or node.lineno
  match node:
    case ast.Import() | ast.ImportFrom():
      kind = 'import'
      names = tuple((a.asname or a.name).partition('.')[0] for a in node.names)
    case ast.FunctionDef() | ast.ClassDef():
      kind, names = 'function', (node.name,)
    case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
      kind, names = 'constant', (name,)
    case _:
      kind, names = 'other', ()
  read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  code = ''.join(lines[first:end])
  return TopStatement(names, frozenset(read), first, end, code, kind)


def _by_name(text: str) -> dict[str, TopStatement]:
  return {name: statement for statement in _statements(text) for name in statement.names}


def _used(statements: Mapping[str, TopStatement], name: str) -> list[str]:
  """Returns the top-level names that a statement needs, directly or not, itself left out."""
  found, queue = {name: None}, [name]
  while queue:
    for used in sorted(statements[queue.pop()].uses):
      if used in statements and used not in found:
        found[used] = None
        queue.append(used)
  return [each for each in found if each != name]


def _closure(statements: Mapping[str, TopStatement], name: str) -> list[str]:
  """Returns the normalised code of a statement and of all that it needs."""
  needed = (name, *sorted(_used(statements, name)))
  return [ast.unparse(ast.parse(statements[each].code)) for each in needed]


def _without_unused(text: str, candidates: Iterable[str]) -> str:
  """Removes those functions and constants that the skeleton does not use any more."""
  statements = _by_name(text)
  kept = set(SKELETON).union(*(_used(statements, n) for n in SKELETON if n in statements))
  kept |= {
    name for statement in _statements(text) if statement.kind == 'other' for name in statement.uses
  }
  unused = [
    statements[name]
    for name in set(candidates)
    if name in statements and name not in kept and statements[name].kind != 'import'
  ]
  lines = text.splitlines(keepends=True)
  for statement in sorted(unused, key=lambda each: -each.first):
    first = statement.first
    blank = 2 if statement.kind == 'function' else 0
    while blank and first and not lines[first - 1].strip():
      first, blank = first - 1, blank - 1
    del lines[first : statement.end]
  return ''.join(lines)
