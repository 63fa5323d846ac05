"""Finds the files next to a program's entry that it imports, or reads as text.

A run names the entry and the editable files. What those import from the program's folder belongs to
the program too, but nobody changes it. Files are read as text and never imported here.
"""

import ast
import pathlib
from collections.abc import Iterator

MAX_DATA_BYTES = 2**20  # of a text file that is not Python
MAX_SOURCE_BYTES = 16 * 2**20  # of a Python file that is searched for imports


def with_siblings(directory: pathlib.Path, names: tuple[str, ...]) -> tuple[str, ...]:
  """The files of a program: those named, and what they import or read, directly or indirectly.

  Args:
    directory: Folder of the program.
    names: Relative paths of the files to start from, the entry among them.
  """
  found = dict.fromkeys(names)
  queue = [name for name in names if name.endswith('.py')]
  while queue:
    name = queue.pop()
    try:
      if (directory / name).stat().st_size > MAX_SOURCE_BYTES:
        continue
      tree = ast.parse((directory / name).read_text(encoding='utf-8'))
    except (OSError, ValueError, SyntaxError):  # the trial says what is wrong with it
      continue
    for other in (*_imported(directory, name, tree), *_read(directory, name, tree)):
      if other not in found:
        found[other] = None
        queue += [other] if other.endswith('.py') else []
  return tuple(sorted(found))


def _imported(directory: pathlib.Path, name: str, tree: ast.Module) -> Iterator[str]:
  """Files of the folder that a file imports."""
  own = pathlib.PurePosixPath(name).parent
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      targets = [(base, alias.name) for alias in node.names for base in _roots(own)]
    elif isinstance(node, ast.ImportFrom):
      package = node.module or ''
      bases = [_ancestor(own, node.level)] if node.level else _roots(own)
      modules = [package, *('.'.join(filter(None, (package, a.name))) for a in node.names)]
      targets = [(base, module) for base in bases if base is not None for module in modules]
    elif isinstance(node, ast.Call) and (module := _imported_by_name(node)):
      level = len(module) - len(module.lstrip('.'))
      bases = [_ancestor(own, level)] if level else _roots(own)
      targets = [(base, module.lstrip('.')) for base in bases if base is not None]
    else:
      continue
    for base, module in targets:
      yield from _files_of(directory, base, module)


def _roots(own: pathlib.PurePosixPath) -> list[pathlib.PurePosixPath]:
  """Where absolute imports look: the program's folder, and that of the importing file."""
  return [pathlib.PurePosixPath('.'), own]


def _ancestor(own: pathlib.PurePosixPath, level: int) -> pathlib.PurePosixPath | None:
  """The folder that a relative import starts from; None above the program's."""
  if level - 1 > len(own.parts):
    return None
  return own if level == 1 else own.parents[level - 2]


def _imported_by_name(call: ast.Call) -> str:
  """The module that `importlib.import_module('x')` or `__import__('x')` names; else ''."""
  function = call.func
  name = getattr(function, 'attr', getattr(function, 'id', ''))
  first = call.args[0] if call.args else None
  if name not in ('import_module', '__import__') or not isinstance(first, ast.Constant):
    return ''
  return first.value if isinstance(first.value, str) else ''


def _files_of(directory: pathlib.Path, base: pathlib.PurePosixPath, module: str) -> Iterator[str]:
  """The file of a module below a folder, and those of the packages that it is in."""
  path = base
  for part in module.split('.') if module else ():
    path = path / part
    for file in (path / '__init__.py', path.with_name(f'{part}.py')):
      if (directory / file).is_file():
        yield str(file)
  if not module and (directory / base / '__init__.py').is_file():
    yield str(base / '__init__.py')


def _read(directory: pathlib.Path, name: str, tree: ast.Module) -> Iterator[str]:
  """Text files of the folder whose names a file has as strings, and so probably opens."""
  own = pathlib.PurePosixPath(name).parent
  for node in ast.walk(tree):
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
      continue
    path = pathlib.PurePosixPath(node.value)
    if not path.suffix or path.is_absolute() or '..' in path.parts or len(node.value) > 200:
      continue
    for file in dict.fromkeys((own / path, path)):
      if _is_text(directory / file):
        yield str(file)


def _is_text(path: pathlib.Path) -> bool:
  try:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_DATA_BYTES:
      return False
    path.read_text(encoding='utf-8')
  except (OSError, ValueError):
    return False
  return True
