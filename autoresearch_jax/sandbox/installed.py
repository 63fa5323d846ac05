"""Which files a command consists of: its program, the interpreter of that, and their libraries.

Programs of a user are installed in many ways (a virtual environment, npm, a single file), so what
is found here is a good guess: what else a program needs is named as `readable`.
"""

import os
import pathlib
import shutil
from collections.abc import Iterator

_PACKAGES = 'node_modules'
_LONGEST_SHEBANG = 512


def find(word: str, search: str | None = None) -> str | None:
  """The absolute path of a program, by `search` (a PATH, else the environment's); None: nowhere."""
  found = shutil.which(word, path=search)
  return os.path.abspath(found) if found else None  # noqa: PTH100 - links stay as they are


def files(command: tuple[str, ...], search: str | None = None) -> tuple[str, ...]:
  """Paths of what `command` consists of; its further words count where they name a file."""
  found = {word for word in command[1:] if pathlib.PurePath(word).is_absolute() and _is_file(word)}
  waiting = [command[0], *found]
  while waiting:
    program = find(waiting.pop(), search)
    if program and program not in found.difference(command):
      found.add(program)
      found |= set(_beside(program))
      waiting += _interpreter(program)
  return tuple(sorted(found))


def _beside(program: str) -> Iterator[str]:
  """Where the libraries of a program lie, by where it is and by where a link to it leads."""
  for path in {pathlib.Path(program), pathlib.Path(program).resolve()}:
    yield str(path)
    parts = path.parts
    if _PACKAGES in parts:
      yield str(pathlib.Path(*parts[: parts.index(_PACKAGES) + 1]))
    prefix = path.parent.parent
    if path.parent.name == 'bin' and prefix not in _not_prefixes():
      yield from (str(prefix / name) for name in ('bin', 'lib', 'lib64', 'pyvenv.cfg'))


def _not_prefixes() -> set[pathlib.Path]:
  """Folders with programs of all sorts, each with its data elsewhere."""
  home = pathlib.Path.home()
  return {home, home / '.local', pathlib.Path('/')}


def _interpreter(program: str) -> list[str]:
  """The programs that a script's first line names."""
  try:
    with pathlib.Path(program).open('rb') as file:
      first = file.read(_LONGEST_SHEBANG).split(b'\n')[0]
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
