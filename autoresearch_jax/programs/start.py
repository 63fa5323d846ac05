"""The starting program of a run: read as text, with the config's constants applied.

`autoresearch start` writes it into a folder, for a person or a coding agent to edit.

`config.program` names a folder of `autoresearch_jax/programs`, or is a path to one. The program
is never imported here; new values replace the bytes of the old ones.
"""

import ast
import pathlib
from typing import Any

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.programs.constants import assignments, set_values
from autoresearch_jax.types import Program

PROGRAMS = pathlib.Path(__file__).resolve().parent


def starting_program(config: Config) -> Program:
  """The unmodified program, constants applied. Raises ConfigError naming what does not fit."""
  program = read_program(config, _directory(config.program), 'config.program')
  return with_constants(program, config.constants)


def read_program(config: Config, directory: pathlib.Path, named_by: str) -> Program:
  """The files of `directory` that the config names: the entry and the editable ones.

  named_by: what the user set to this folder. Raises ConfigError when it does not give them.
  """
  names = tuple(sorted({config.entry, *config.editable}))
  try:
    return Program.read(directory, names, config.entry)
  except (OSError, ValueError) as error:
    raise ConfigError(
      f'{named_by} is {str(directory)!r}, which does not give the files {", ".join(names)} '
      f'that config.entry and config.editable name: {error}.'
    ) from None


def write_program(program: Program, directory: pathlib.Path) -> list[pathlib.Path]:
  """Writes the program's files into a new or empty folder; returns them. Raises ConfigError."""
  if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
    raise ConfigError(f'--out is {str(directory)!r}, which is not an empty folder; name a new one.')
  written = []
  for name, text in program.files:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8', newline='')
    written.append(path)
  return written


def with_constants(program: Program, constants: dict[str, Any]) -> Program:
  """The program with ALL_CAPS constants of its modules set to other literals.

  Raises ConfigError when no file has a constant of that name, or the value is no literal.
  """
  literals = {name: _literal(name, value) for name, value in constants.items()}
  found: set[str] = set()
  for name, text in program.files if literals else ():
    if name.endswith('.py'):
      _require_python(name, text)
      program = program.with_text(set_values(text, literals), name)
      found |= {constant.name for constant in assignments(text)} & literals.keys()
  missing = sorted(set(literals) - found)
  if missing:
    raise ConfigError(
      f'config.constants.{missing[0]} is no constant of the program; it has: '
      f'{", ".join(sorted(constants_of(program))) or "none"}.'
    )
  return program


def constants_of(program: Program) -> dict[str, Any]:
  """ALL_CAPS constants assigned at the top level of its modules; None where it is no literal."""
  found: dict[str, Any] = {}
  for name, text in program.files:
    if name.endswith('.py'):
      _require_python(name, text)
      found |= {constant.name: constant.value for constant in assignments(text)}
  return found


def _require_python(name: str, text: str) -> None:
  try:
    ast.parse(text)
  except SyntaxError as error:
    line = error.lineno
    raise ConfigError(f'{name}, line {line}: the starting program is not valid Python.') from None


def _literal(name: str, value: Any) -> str:
  text = repr(value)
  try:
    ast.literal_eval(text)
  except (ValueError, SyntaxError):
    raise ConfigError(
      f'config.constants.{name} is {text}; it must be a number, a string, a bool, None, or a '
      f'tuple, list or dict of these.'
    ) from None
  return text


def _directory(program: str) -> pathlib.Path:
  packaged = PROGRAMS / program
  directory = packaged if packaged.is_dir() else pathlib.Path(program)
  if not directory.is_dir():
    has = sorted(p.name for p in PROGRAMS.iterdir() if p.is_dir() and not p.name.startswith('_'))
    raise ConfigError(
      f'config.program is {program!r}; there is no such folder. Those in '
      f'autoresearch_jax/programs: {", ".join(has)}.'
    )
  return directory
