"""The code behind a registered name, as a digest: a run of other code is another run.

A class stands for the source of its module, and of those of its bases; one of this library for all
files of its room (search/, acceptance/, ...), whose modules share much. A wrapper stands for what
it wraps too. Not looked at: other modules that a third party's module imports, the packages below
(results hold their versions), and code without a file, typed at a prompt.
"""

import dataclasses
import functools
import hashlib
import inspect
import pathlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from autoresearch_jax.benchmark import regret
from autoresearch_jax.benchmark.runners import simulate
from autoresearch_jax.ledger import history
from autoresearch_jax.registry import Registry

LIBRARY = __name__.partition('.')[0]


def classes(registry: Registry, name: str, options: Mapping[str, Any]) -> list[type]:
  """The named class and, for a wrapper, those inside it, the outermost first."""
  found = [registry.get(name)]
  while inner := wrapped(registry, name, options):
    name, options = inner, options.get('inner_options', {})
    found.append(registry.get(name))
  return found


def wrapped(registry: Registry, name: str, options: Mapping[str, Any]) -> str | None:
  """The name inside a wrapper; None for what wraps none."""
  fields = {f.name: f.default for f in dataclasses.fields(registry.get(name))}
  inner = options.get('inner', fields.get('inner'))
  return inner if 'inner' in fields and isinstance(inner, str) else None


def digest(kinds: Iterable[type]) -> str:
  """Of the code of these classes."""
  return _of(*(_code(kind) for kind in kinds))


@functools.cache
def rules() -> str:
  """Digest of how a run is played and counted."""
  return _of(*(_source(module) for module in (simulate, regret, history)))


@functools.cache
def _code(kind: type) -> str:
  bases = [base for base in kind.__mro__ if base.__module__ not in sys.stdlib_module_names]
  modules = {base.__module__: sys.modules.get(base.__module__) for base in bases}
  return _of(*(_module(module) for module in modules.values() if module is not None))


def _module(module: ModuleType) -> str:
  path = getattr(module, '__file__', None)
  if path and module.__name__.startswith(f'{LIBRARY}.'):
    return _room(pathlib.Path(path).parent)
  return _source(module)


@functools.cache
def _room(folder: pathlib.Path) -> str:
  files = sorted(p for p in folder.rglob('*') if p.is_file() and p.parent.name != '__pycache__')
  return _of(*(part for p in files for part in (p.relative_to(folder).as_posix(), p.read_bytes())))


def _source(module: ModuleType) -> str:
  try:
    return inspect.getsource(module)
  except (OSError, TypeError):  # typed at a prompt, or compiled
    return ''


def _of(*parts: str | bytes) -> str:
  made = hashlib.sha256()
  for part in parts:
    data = part.encode() if isinstance(part, str) else part
    made.update(f'{len(data)} '.encode() + data)
  return made.hexdigest()
