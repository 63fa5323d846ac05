"""Digests of source code: results of changed code are not compared with those of the old code.

The digest of a class covers its module and those of its base classes; for a class of this library,
all files of the module's folder (search/, acceptance/, ...), since these share much. A wrapper's
includes the classes that it wraps. Not covered: other modules that a third party's module imports,
installed packages (results record their versions), and code that was typed at a prompt.
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

from autoresearch_jax import types
from autoresearch_jax.benchmark import regret
from autoresearch_jax.benchmark.runners import simulate
from autoresearch_jax.ledger import canaries as planted
from autoresearch_jax.ledger import ends, history, imports, results
from autoresearch_jax.registry import Registry
from autoresearch_jax.research import (
  actions,
  canaries,
  context,
  controller,
  decisions,
  edits,
  pruning,
  result_queue,
  tried,
)

LIBRARY = __name__.partition('.')[0]
# They decide what happens in a simulated run, whatever the strategy, rule and problem.
RUN_MODULES = (
  simulate,
  regret,
  controller,
  decisions,
  actions,
  context,
  edits,
  pruning,
  result_queue,
  tried,
  canaries,
  planted,
  ends,
  history,
  imports,
  results,
  types,
  *(module for _, module in sorted(vars(types).items()) if isinstance(module, ModuleType)),
)


def classes(registry: Registry, name: str, options: Mapping[str, Any]) -> list[type]:
  """Returns the named class and, for a wrapper, those that it wraps, the outermost first."""
  found = [registry.get(name)]
  while inner := wrapped(registry, name, options):
    name, options = inner, options.get('inner_options', {})
    found.append(registry.get(name))
  return found


def wrapped(registry: Registry, name: str, options: Mapping[str, Any]) -> str | None:
  """Returns the name of the class that a wrapper wraps; None for a class that is no wrapper."""
  fields = {f.name: f.default for f in dataclasses.fields(registry.get(name))}
  inner = options.get('inner', fields.get('inner'))
  return inner if 'inner' in fields and isinstance(inner, str) else None


def digest(kinds: Iterable[type]) -> str:
  """Returns a digest of the code of these classes."""
  return _of(*(_code(kind) for kind in kinds))


@functools.cache
def run_digest() -> str:
  """Returns a digest of the code that every simulated run goes through."""
  return _of(*(_source(module) for module in RUN_MODULES))


@functools.cache
def _code(kind: type) -> str:
  bases = [base for base in kind.__mro__ if base.__module__ not in sys.stdlib_module_names]
  modules = {base.__module__: sys.modules.get(base.__module__) for base in bases}
  return _of(*(_module(module) for module in modules.values() if module is not None))


def _module(module: ModuleType) -> str:
  path = getattr(module, '__file__', None)
  if path and module.__name__.startswith(f'{LIBRARY}.'):
    return _folder(pathlib.Path(path).parent)
  return _source(module)


@functools.cache
def _folder(folder: pathlib.Path) -> str:
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
