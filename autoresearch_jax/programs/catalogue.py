"""The structural edits that `mutate` may try: the general ones, and those of each program's folder.

A program's folder lists its edits in `edits.py`, as `EDITS`. Every listed edit matches names and
expressions of one program and offers nothing to others, so all packaged ones apply everywhere: a
copy of a packaged program in a folder of the user's keeps them.
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
  """The general edits, then those of the packaged programs in the order of their names."""
  folders = sorted(path.parent for path in PROGRAMS.glob(f'*/{FILE}'))
  return (*general_edits.EDITS, *(edit for folder in folders for edit in listed(folder)))


def own(program: str) -> Catalogue:
  """The edits of `config.program` where that is a path; a packaged program's are in `packaged`."""
  is_packaged = (PROGRAMS / program).is_dir() and not pathlib.Path(program).is_absolute()
  return () if is_packaged else listed(pathlib.Path(program))


@functools.cache
def listed(folder: pathlib.Path) -> Catalogue:
  """The edits that a program's folder lists; none where it has no `edits.py`.

  The file is the author's of the program, and runs here: it is no candidate's.

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
