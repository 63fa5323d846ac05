"""Collects the structural edits for `mutate`: general ones, and those of each program's folder.

A program's folder lists its edits in `edits.py`, as `EDITS`. Edits only match the names and
expressions of their program, so all packaged edits are tried on every program. A user's copy of a
packaged program therefore keeps its edits.
"""

import functools
import importlib.util
import pathlib

from autoresearch_jax.programs import general_edits
from autoresearch_jax.programs.structural_edits import Alternatives, Toggle

Catalogue = tuple[Alternatives | Toggle, ...]
PROGRAMS = pathlib.Path(__file__).resolve().parent
FILE = 'edits.py'


@functools.cache
def packaged() -> Catalogue:
  """Returns the general edits, then those of the packaged programs by name."""
  return (*general_edits.EDITS, *of_programs())


@functools.cache
def of_programs() -> Catalogue:
  """Returns the edits of the packaged programs by name."""
  folders = sorted(path.parent for path in PROGRAMS.rglob(FILE))
  return tuple(edit for folder in folders for edit in listed(folder))


def own(program: str) -> Catalogue:
  """Returns the edits of `config.program` if that is a path; `packaged` has all others."""
  is_packaged = (PROGRAMS / program).is_dir() and not pathlib.Path(program).is_absolute()
  return () if is_packaged else listed(pathlib.Path(program))


@functools.cache
def listed(folder: pathlib.Path) -> Catalogue:
  """Returns the edits that a program's folder lists; none without an `edits.py`.

  The file is executed without a sandbox: it belongs to the program's author, not to a candidate.

  Raises:
    ValueError: The file defines no `EDITS`.
  """
  path = folder / FILE
  if not path.is_file():
    return ()
  spec = importlib.util.spec_from_file_location(f'_structural_edits_{folder.name}', path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  edits = getattr(module, 'EDITS', None)
  if not isinstance(edits, tuple) or not all(isinstance(e, Alternatives | Toggle) for e in edits):
    raise ValueError(f'{path} must define EDITS, a tuple of structural edits.')
  return edits
