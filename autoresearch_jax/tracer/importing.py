"""Imports the entry file of a program, and the files next to it, absolutely or relatively.

The program's folder is a package, so that `from .layers import dense` works. `import layers` gives
the same module: files of the program come before installed modules of the same name.
"""

import importlib
import importlib.abc
import importlib.machinery
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGE = '_program'  # name of the package that the program's folder is


def import_entry(directory: pathlib.Path, entry: str) -> ModuleType:
  """Runs the entry file of a program as a module that can import the files next to it.

  Args:
    directory: Folder with the program's files.
    entry: Name of the entry file.
  """
  package = ModuleType(PACKAGE)
  package.__path__ = [str(directory)]
  for name, module in list(sys.modules.items()):  # of another program in the same process
    if getattr(module, '__name__', '').partition('.')[0] == PACKAGE:
      del sys.modules[name]
  sys.modules[PACKAGE] = package
  sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _SiblingFinder)]
  parts = pathlib.PurePosixPath(entry).with_suffix('').parts
  roots = {str(directory): PACKAGE}
  roots.setdefault(str((directory / entry).parent), '.'.join((PACKAGE, *parts[:-1])))
  sys.meta_path.insert(0, _SiblingFinder(roots))
  importlib.invalidate_caches()
  return importlib.import_module('.'.join((PACKAGE, *parts)))


class _SiblingFinder(importlib.abc.MetaPathFinder):
  """Finds absolute imports of the program's files.

  Args:
    roots: Folders that are searched -> the package that the folder is.
  """

  def __init__(self, roots: dict[str, str]):
    self._roots = roots

  def find_spec(
    self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
  ) -> importlib.machinery.ModuleSpec | None:
    top = fullname.partition('.')[0]
    for folder, package in self._roots.items():
      file = pathlib.Path(folder, f'{top}.py')
      if top != PACKAGE and (file.is_file() or any(file.with_suffix('').glob('*.py'))):
        return importlib.machinery.ModuleSpec(fullname, _Alias(f'{package}.{fullname}'))
    return None


class _Alias(importlib.abc.Loader):
  """Loads a module by importing it under another name."""

  def __init__(self, name: str):
    self._name = name
    self._spec: Any = None

  def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
    module = importlib.import_module(self._name)
    self._spec = module.__spec__
    return module

  def exec_module(self, module: ModuleType) -> None:
    module.__spec__ = self._spec  # which Python has replaced by the alias'
