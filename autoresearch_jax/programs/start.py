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
from autoresearch_jax.programs.siblings import with_siblings
from autoresearch_jax.types import Program

PROGRAMS = pathlib.Path(__file__).resolve().parent


def starting_program(config: Config) -> Program:
  """Returns the unmodified program with the config's constants. Raises ConfigError."""
  program = read_program(config, _directory(config.program), 'config.program')
  return with_constants(program, config.constants)


def read_program(config: Config, directory: pathlib.Path, named_by: str) -> Program:
  """Reads the entry and the editable files of a program, and the files next to them that they use.

  Args:
    config: Names the files.
    directory: Their folder.
    named_by: The flag or field that named the folder, for error messages.

  Raises:
    ConfigError: A file is missing or cannot be read.
  """
  names = config.program_files
  try:
    return Program.read(directory, with_siblings(directory, names), config.entry)
  except (OSError, ValueError) as error:
    raise ConfigError(
      f'{named_by} is {str(directory)!r}, from which the files of config.entry and config.editable '
      f'({", ".join(names)}) cannot be read: {error}.'
    ) from None


def write_program(program: Program, directory: pathlib.Path) -> list[pathlib.Path]:
  """Writes a program into a new or empty folder and returns its files. Raises ConfigError."""
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
  """Returns the program with other values of ALL_CAPS constants.

  Raises:
    ConfigError: No file has a constant of that name, or the value is not a literal, or text where
      the program has a number.
  """
  literals = {name: _literal(name, value) for name, value in constants.items()}
  found: set[str] = set()
  for name, text in program.files if literals else ():
    if name.endswith('.py'):
      _require_python(name, text)
      program = program.with_text(set_values(text, literals), name)
      for constant in assignments(text):
        if constant.name in literals:
          found.add(constant.name)
          _require_number(name, constant.name, constant.value, constants[constant.name])
  missing = sorted(set(literals) - found)
  if missing:
    raise ConfigError(
      f'config.constants.{missing[0]} is not a constant of the program, which has: '
      f'{", ".join(sorted(constants_of(program))) or "none"}.'
    )
  return program


def constants_of(program: Program) -> dict[str, Any]:
  """Returns the values of the top-level ALL_CAPS constants; None for those without a literal."""
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


def _require_number(file: str, name: str, old: Any, new: Any) -> None:
  """Raises ConfigError for text in a number's place, such as 'nan' or '1e-3x' of a shell."""
  if isinstance(new, str) and isinstance(old, int | float) and not isinstance(old, bool):
    raise ConfigError(
      f'config.constants.{name} is the text {new!r}, but {file} has the number {old} there; give '
      'a finite number.'
    )


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


def is_packaged(program: str) -> bool:
  """Whether `config.program` names a program of this package."""
  directory = (PROGRAMS / program).resolve()
  return PROGRAMS in directory.parents and _is_folder(directory)


def _directory(program: str) -> pathlib.Path:
  directory = next(filter(_is_folder, (PROGRAMS / program, pathlib.Path(program))), None)
  if directory is None:
    has = sorted(str(p.parent.relative_to(PROGRAMS)) for p in PROGRAMS.rglob('model.py'))
    raise ConfigError(
      f'config.program is {program!r}, which is not a folder. Packaged programs: {", ".join(has)}.'
    )
  return directory


def _is_folder(path: pathlib.Path) -> bool:
  try:
    return path.is_dir()
  except OSError:  # a name that is too long, say
    return False
