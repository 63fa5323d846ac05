"""A strategy that a file defines with the functions `init`, `ask` and `tell`.

The files of `programs/strategies`, and what a search over strategies finds (the problem `meta`),
are such files. Here the file runs in this process, without a sandbox: name only files that you
trust.
"""

import dataclasses
import functools
import importlib.util
import pathlib
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.types import Objective, Proposal, Trial

PACKAGED = pathlib.Path(__file__).resolve().parents[1] / 'programs' / 'strategies'


@dataclasses.dataclass(frozen=True)
class FileState:
  """The state of the file's functions.

  Attributes:
    json: Its text.
  """

  json: str


@STRATEGIES.register('from_file')
@dataclasses.dataclass(frozen=True)
class FromFile(Strategy):
  """Calls the functions of a file.

  Attributes:
    path: The file: an absolute path, one relative to the current folder, or the name of a packaged
      one, such as `tree.py`.
  """

  path: str = 'greedy.py'

  def __post_init__(self) -> None:
    _module(self.path)

  def init(self, objective: Objective) -> FileState:
    return _encoded(_module(self.path).init(objective))

  def ask(self, state: FileState, rng: np.random.Generator) -> tuple[Proposal, FileState]:
    proposal, new = _module(self.path).ask(msgspec.json.decode(state.json), rng)
    return proposal, _encoded(new)

  def tell(self, state: FileState, trial: Trial) -> FileState:
    return _encoded(_module(self.path).tell(msgspec.json.decode(state.json), trial))


def _encoded(state: Any) -> FileState:
  return FileState(msgspec.json.encode(state).decode())


@functools.cache
def _module(path: str) -> ModuleType:
  """Runs a file. Raises ValueError if there is none, or if it is not a strategy."""
  file = next((p for p in (pathlib.Path(path), PACKAGED / path) if p.is_file()), None)
  if file is None:
    known = ', '.join(sorted(p.name for p in PACKAGED.glob('[!_]*.py')))
    raise ValueError(
      f'path of from_file is {path!r}, and there is no such file; name an existing one, or one of '
      f'{known}.'
    )
  spec = importlib.util.spec_from_file_location(f'_strategy_{file.stem}', file)
  if spec is None or spec.loader is None:
    raise ValueError(f'path of from_file is {path!r}; name a file that ends in .py.')
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:  # whatever the file does
    raise ValueError(
      f'path of from_file is {path!r}, which cannot be imported ({type(error).__name__}: {error}); '
      'repair it.'
    ) from error
  if missing := [n for n in ('init', 'ask', 'tell') if not callable(getattr(module, n, None))]:
    raise ValueError(
      f'path of from_file is {path!r}, which has no function {missing[0]}; define init, ask and '
      'tell.'
    )
  return module
