"""Takes objects to a fresh interpreter, where strings hash differently.

Used by the contract tests. An object is pickled; there, its module is imported by name or, when
pytest loaded it from a file that is not on the import path, from that file.
"""

import importlib
import importlib.util
import inspect
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import msgspec


class NotPicklable(Exception):
  """The object cannot be taken to another process, for the reason given."""


class PickledObject(msgspec.Struct):
  """An object on its way to another process.

  Attributes:
    content: The pickled object.
    module: Name of the module that defines its class.
    file: That module's file.
  """

  content: bytes
  module: str
  file: str


def run_module(module: str, objects: Sequence[Any], hash_seed: int) -> list[str]:
  """Runs `python -m module` with the objects on standard input, for `read_objects` to read.

  Args:
    module: Dotted name.
    objects: What it works on.
    hash_seed: PYTHONHASHSEED of the other process.

  Returns:
    The words that it printed.

  Raises:
    NotPicklable: An object does not pickle, such as one of a class inside a function.
    RuntimeError: The process failed.
  """
  done = subprocess.run(
    [sys.executable, '-P', '-m', module],
    input=msgspec.json.encode([_pickle(item) for item in objects]),
    env={**os.environ, 'PYTHONHASHSEED': str(hash_seed), 'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    check=False,
  )
  if done.returncode:
    raise RuntimeError(f'The other process failed:\n{done.stderr.decode()}')
  return done.stdout.decode().split()


def read_objects() -> list[Any]:
  """Returns the objects that `run_module` passed to this process."""
  pickled = msgspec.json.decode(sys.stdin.buffer.read(), type=list[PickledObject])
  return [_unpickle(item) for item in pickled]


def _pickle(item: Any) -> PickledObject:
  cls = type(item)
  try:
    return PickledObject(pickle.dumps(item), cls.__module__, inspect.getfile(cls))
  except (pickle.PicklingError, AttributeError, TypeError, OSError) as error:
    raise NotPicklable(f'{cls.__qualname__} cannot be pickled: {error}.') from error


def _unpickle(pickled: PickledObject) -> Any:
  _import(pickled.module, pickled.file)
  return pickle.loads(pickled.content)


def _import(name: str, file: str) -> ModuleType:
  """Imports a module by name if that leads to the file, otherwise from the file itself."""
  try:
    module = importlib.import_module(name)
    if pathlib.Path(str(module.__file__)).resolve() == pathlib.Path(file).resolve():
      return module
  except ImportError:
    pass
  spec = importlib.util.spec_from_file_location(name, file)
  assert spec is not None and spec.loader is not None
  parents = name.split('.')[:-1]
  for depth in range(1, len(parents) + 1):  # pickle imports them too
    parent = '.'.join(parents[:depth])
    sys.modules.setdefault(parent, ModuleType(parent))
  sys.modules[name] = module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
