"""Finds the file of a config by name or path, and loads it."""

import difflib
import importlib.util
import pathlib
import sys
import traceback

import ml_collections

from autoresearch_jax.config.fields import ConfigError


def shipped() -> dict[str, pathlib.Path]:
  """The configs that come with the library: name -> file."""
  package = pathlib.Path(__file__).resolve().parents[1]
  folders = (package / 'configs', package.parent / 'configs')  # installed; in a source checkout
  found = next((folder for folder in folders if folder.is_dir()), None)
  files = found.glob('[!_]*.py') if found else ()
  return {file.stem: file for file in sorted(files)}


def find(name: str) -> tuple[pathlib.Path, str | None]:
  """The file and the variant that a config's name stands for.

  Args:
    name: `NAME` or `NAME:VARIANT`, where NAME is a shipped config (`digits`) or the path of a
      Python file. `configs/digits.py` means the shipped one where there is no such path.

  Raises:
    ConfigError: There is no such config; the message lists the shipped ones.
  """
  base, colon, variant = name.partition(':')
  configs, path = shipped(), pathlib.Path(base)
  try:
    is_file = path.is_file()
  except OSError:  # a name that is too long, say
    is_file = False
  if is_file:
    found = path
  else:
    ours = path.suffix in ('', '.py') and str(path.parent) in ('.', 'configs')
    found = configs.get(path.stem) if ours else None
  if found is None:
    near = difflib.get_close_matches(path.stem, configs, n=1)
    hint = f'Did you mean {near[0]}? ' if near else ''
    raise ConfigError(
      f'There is no config {base!r:.200}. {hint}Shipped configs: {", ".join(configs)}; or give the '
      'path of a Python file.'
    )
  return found, variant if colon else None


def load(name: str) -> ml_collections.ConfigDict:
  """The ConfigDict of a shipped config or of a file, as `get_config` returns it.

  Args:
    name: As in `find`, for instance `digits:seconds` or `my_config.py`.

  Raises:
    ConfigError: There is no such config or variant, or its file fails.
  """
  path, variant = find(name)
  spec = importlib.util.spec_from_file_location(f'_config_{path.stem}', path)
  try:
    if spec is None or spec.loader is None:
      raise ConfigError('It is not a Python file; its name must end in .py.')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in a config look their module up
    spec.loader.exec_module(module)
    made = module.get_config() if variant is None else module.get_config(variant)
  except (Exception, SystemExit) as error:
    raise ConfigError(_failure(error, path)) from error
  if not isinstance(made, ml_collections.ConfigDict):
    raise ConfigError(f'{path}: get_config must return a ConfigDict, not {type(made).__name__}.')
  return made


def _failure(error: BaseException, path: pathlib.Path) -> str:
  """What went wrong in a config file, and at which of its lines."""
  what = f'{type(error).__name__}: {error}'
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
           if frame.filename == str(path)]  # fmt: skip
  where = f'{path}, line {lines[-1]}' if lines else f'{path}'
  if isinstance(error, SyntaxError):
    what = f'{type(error).__name__}: {error.msg}'
    where = f'{error.filename}, line {error.lineno}' if error.lineno else where
  elif isinstance(error, ValueError):  # a variant that does not exist, say: the file's own sentence
    return f'{str(error).rstrip(".")} ({where}).'
  return f'The config {path} cannot be loaded. {where}: {what.rstrip(".")}.'
