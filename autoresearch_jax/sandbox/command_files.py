"""Finds the files that a command needs to read: its program, interpreter and libraries.

Programs are installed in many ways (a virtual environment, npm, a single file), so this is a
heuristic. Whatever else a program needs is listed as `readable` in its `CommandSpec`.
"""

import os
import pathlib
import shutil
from collections.abc import Iterator

_PACKAGES = 'node_modules'
_MAX_SHEBANG_BYTES = 512


def find_program(name: str, search_path: str | None = None) -> str | None:
  """The absolute path of a program, or None when it is not found.

  Args:
    name: Name or path of the program.
    search_path: Folders to search, as in PATH; None for PATH itself.
  """
  found = shutil.which(name, path=search_path)
  return os.path.abspath(found) if found else None  # noqa: PTH100 - does not resolve links


def required_files(command: tuple[str, ...], search_path: str | None = None) -> tuple[str, ...]:
  """Paths that `command` consists of, sorted.

  Args:
    command: Program and arguments; arguments that are absolute paths of files count too.
    search_path: Folders to search for programs, as in PATH; None for PATH itself.
  """
  found = {word for word in command[1:] if pathlib.PurePath(word).is_absolute() and _is_file(word)}
  queue = [command[0], *found]
  while queue:
    program = find_program(queue.pop(), search_path)
    if program and program not in found.difference(command):
      found.add(program)
      found |= set(_installation(program))
      queue += _interpreter(program)
  return tuple(sorted(found))


def _installation(program: str) -> Iterator[str]:
  """The program and the folders of its libraries, for the path itself and for its link target."""
  for path in {pathlib.Path(program), pathlib.Path(program).resolve()}:
    yield str(path)
    parts = path.parts
    if _PACKAGES in parts:
      yield str(pathlib.Path(*parts[: parts.index(_PACKAGES) + 1]))
    prefix = path.parent.parent
    if path.parent.name == 'bin' and prefix not in _shared_prefixes():
      yield from (str(prefix / name) for name in ('bin', 'lib', 'lib64', 'pyvenv.cfg'))


def _shared_prefixes() -> set[pathlib.Path]:
  """Prefixes whose `bin` holds unrelated programs; their `lib` is not granted as a whole."""
  home = pathlib.Path.home()
  return {home, home / '.local', pathlib.Path('/')}


def _interpreter(program: str) -> list[str]:
  """The programs named in a script's shebang line."""
  try:
    with pathlib.Path(program).open('rb') as file:
      first = file.read(_MAX_SHEBANG_BYTES).split(b'\n')[0]
  except OSError:
    return []
  if not first.startswith(b'#!'):
    return []
  words = os.fsdecode(first[2:]).split()
  env = bool(words) and pathlib.PurePath(words[0]).name == 'env'
  rest = [word for word in words[1:] if not word.startswith('-') and '=' not in word]
  return words[:1] + rest[:1] if env else words[:1]


def _is_file(word: str) -> bool:
  try:
    return pathlib.Path(word).is_file()
  except OSError:
    return False
