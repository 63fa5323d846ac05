"""A registry for each extension point: a name, the class behind it, and its options.

    STRATEGIES = Registry('strategy')

    @STRATEGIES.register('greedy')
    @dataclasses.dataclass(frozen=True)
    class Greedy: ...

What is registered is a frozen dataclass whose fields are its options. A registry that is given
its room (the package it serves) imports the room's modules when a name is first looked up, so
one file with one `register` line is all an extension needs. Other packages add theirs through
the entry-point group `autoresearch_jax.<kind>`, for instance `autoresearch_jax.strategy`,
without a line changed here.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import pathlib
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar('T', bound=type)


class Registry:
  """Named classes of one kind. Duplicate names raise; unknown ones list those that exist."""

  def __init__(self, kind: str, room: str = ''):
    self.kind = kind
    self.room = room
    self._classes: dict[str, type] = {}

  def register(self, name: str) -> Callable[[T], T]:
    def add(cls: T) -> T:
      if name in self._classes:
        raise ValueError(f'There already is a {self.kind} named {name!r}.')
      self._classes[name] = cls
      return cls

    return add

  def names(self) -> list[str]:
    self._import_room()
    return sorted({*self._classes, *(point.name for point in self._entry_points())})

  def get(self, name: str) -> type:
    for module in (name, ''):
      if name not in self._classes:
        self._import_room(module)
    if name in self._classes:
      return self._classes[name]
    for point in self._entry_points():
      if point.name == name:
        return self._loaded(point)
    raise ValueError(f'There is no {self.kind} {name!r}; there are: {", ".join(self.names())}.')

  def make(self, name: str, options: Mapping[str, Any] | None = None, **given: Any) -> Any:
    """Builds the named one from checked `options` and from collaborators, `given` as they are."""
    cls = self.get(name)
    options = dict(options or {})
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in given}
    unknown = sorted(set(options) - set(fields))
    if unknown:
      has = ', '.join(sorted(fields)) or 'none'
      raise ValueError(f'The {self.kind} {name!r} has no option {unknown[0]!r}; it has: {has}.')
    for key, value in options.items():
      try:
        options[key] = _converted(value, fields[key].type)
      except msgspec.ValidationError as error:
        raise ValueError(f'Option {key!r} of the {self.kind} {name!r}: {error}.') from None
    return cls(**options, **given)

  def _import_room(self, name: str = '') -> None:
    """Imports the room's module called `name`, or all of them when none has that name.

    Importing one alone keeps the others' libraries out of the process.
    """
    if not self.room:
      return
    modules = sorted(_modules(self.room))
    named = [module for module in modules if name in module.split('.')] if name else []
    for module in named or modules:
      importlib.import_module(f'{self.room}.{module}')

  def _loaded(self, point: importlib.metadata.EntryPoint) -> type:
    try:
      return point.load()
    except (ImportError, AttributeError) as error:
      raise ValueError(
        f'The {self.kind} {point.name!r} of another package cannot be loaded from {point.value}: '
        f'{error}.'
      ) from error

  def _entry_points(self) -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=f'autoresearch_jax.{self.kind}')


@functools.cache
def _modules(package: str) -> tuple[str, ...]:
  """Dotted names of the modules below a package, packages inside it included; imports none."""
  root = pathlib.Path(*importlib.import_module(package).__path__)
  files = (file.relative_to(root).with_suffix('') for file in root.rglob('*.py'))
  return tuple('.'.join(file.parts) for file in files if file.name not in ('__init__', '__main__'))


def _converted(value: Any, kind: Any) -> Any:
  """A word where a list of words is wanted is a list of one, as command lines have it.

  Raises msgspec.ValidationError.
  """
  try:
    return msgspec.convert(value, kind, strict=True)
  except msgspec.ValidationError:
    if not isinstance(value, str) or typing.get_args(kind) != (str, ...):
      raise
  return msgspec.convert((value,), kind, strict=True)
