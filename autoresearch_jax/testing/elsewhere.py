"""What strategies answer in a fresh interpreter, where strings are hashed by another seed.

Called by the strategies' battery. A strategy goes there pickled. Its module is imported there by
its name, or, as pytest may have loaded it from a file that no path leads to, from that file.
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


class NotPortable(Exception):
  """The strategy cannot be taken to another process, for the reason given."""


class Parcel(msgspec.Struct):
  """content: a pickled strategy. module, file: where its class is defined."""

  content: bytes
  module: str
  file: str


def packed(strategy: Any) -> Parcel:
  """Raises NotPortable when the strategy does not pickle, such as a class inside a function."""
  cls = type(strategy)
  try:
    return Parcel(pickle.dumps(strategy), cls.__module__, inspect.getfile(cls))
  except (pickle.PicklingError, AttributeError, TypeError, OSError) as error:
    raise NotPortable(f'{cls.__qualname__} cannot be taken to another process: {error}.') from error


def unpacked(parcel: Parcel) -> Any:
  _module(parcel.module, parcel.file)
  return pickle.loads(parcel.content)


def answers(strategies: Sequence[Any], hash_seed: int) -> list[str]:
  """`strategies.digest` of each, from another process. Raises NotPortable, RuntimeError."""
  done = subprocess.run(
    [sys.executable, '-P', '-m', __name__],
    input=msgspec.json.encode([packed(strategy) for strategy in strategies]),
    env={**os.environ, 'PYTHONHASHSEED': str(hash_seed), 'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    check=False,
  )
  if done.returncode:
    raise RuntimeError(f'The other process failed:\n{done.stderr.decode()}')
  return done.stdout.decode().split()


def _module(name: str, file: str) -> ModuleType:
  """The module, imported by its name if that leads to the file, else from the file itself."""
  try:
    found = importlib.import_module(name)
    if pathlib.Path(str(found.__file__)).resolve() == pathlib.Path(file).resolve():
      return found
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


def main() -> None:
  """Reads parcels from standard input, and writes a digest a line."""
  digest = importlib.import_module('autoresearch_jax.testing.strategies').digest

  parcels = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Parcel])
  for parcel in parcels:
    print(digest(unpacked(parcel)))


if __name__ == '__main__':
  main()
