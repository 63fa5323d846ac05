"""A registry for each extension point: a name, the class behind it, and its options.

  STRATEGIES = Registry('strategy', 'autoresearch_jax.search')

  @STRATEGIES.register('greedy')
  @dataclasses.dataclass(frozen=True)
  class Greedy(Strategy):
    ...

A registered class is a dataclass, and its fields are its options. The modules of the registry's
package are imported when a name is first looked up, so adding an implementation takes one file
with one `register` line. Other distributions add theirs through the entry-point group
`autoresearch_jax.<kind>`, for instance `autoresearch_jax.strategy`, without a change here.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import math
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from autoresearch_jax.registry.renamed import RENAMED_OPTIONS

T = TypeVar('T', bound=type)

MAX_INT = 2**62  # so that sums of two fit into 64 bits


class Registry:
  """Classes of one kind by name. A name is taken once; an unknown one lists those that exist."""

  def __init__(self, kind: str, package: str = ''):
    """Makes an empty registry.

    Args:
      kind: What is registered, as messages call it: 'strategy', 'proposer', ...
      package: Dotted name of the package whose modules hold the implementations; '' for none.
    """
    self.kind = kind
    self.package = package
    self._classes: dict[str, type] = {}
    self._renamed_options: dict[str, Mapping[str, str]] = {}
    self._renamed: dict[str, str] = {}

  def register(
    self,
    name: str,
    *,
    renamed_options: Mapping[str, str] | None = None,
    formerly: tuple[str, ...] = (),
  ) -> Callable[[T], T]:
    """Registers the decorated class.

    Args:
      name: What users write to get it.
      renamed_options: Former option name -> present name, for parts of other distributions; those
        of this library are in `renamed.py`. A former name is refused with the present one.
      formerly: Former names of the class, refused in the same way.

    Raises:
      ValueError: The name is taken.
    """

    def add(cls: T) -> T:
      if name in self._classes:
        raise ValueError(f'There already is a {self.kind} named {name!r}.')
      self._classes[name] = cls
      self._renamed_options[name] = renamed_options or {}
      self._renamed.update(dict.fromkeys(formerly, name))
      return cls

    return add

  def names(self) -> list[str]:
    """Returns all names, entry points of other distributions included."""
    self._import_package()
    return sorted({*self._classes, *(point.name for point in self._entry_points())})

  def names_of(self, cls: type) -> list[str]:
    """Returns the names under which a class is registered in this process."""
    return [name for name, found in self._classes.items() if found is cls]

  def get(self, name: str) -> type:
    """Returns the class registered under a name.

    Raises:
      ValueError: There is none; the message lists those that exist.
    """
    for module in (name, ''):
      if name not in self._classes:
        self._import_package(module)
    if name in self._classes:
      return self._classes[name]
    for point in self._entry_points():
      if point.name == name:
        return self._loaded(point)
    if name in self._renamed:
      raise ValueError(f'The {self.kind} {name!r} is now called {self._renamed[name]!r}.')
    raise ValueError(f'There is no {self.kind} {name!r}; there are: {", ".join(self.names())}.')

  def make(self, name: str, options: Mapping[str, Any] | None = None, **collaborators: Any) -> Any:
    """Makes an instance of the class registered under a name.

    Args:
      name: The registered name.
      options: Values of its fields, from a config or a command line; their types are checked.
      **collaborators: Further fields, which are passed on unchecked.

    Raises:
      ValueError: An unknown name, an unknown or renamed option, or a value of another type.
    """
    cls = self.get(name)
    return cls(**self.checked_options(name, options, *collaborators), **collaborators)

  def checked_options(
    self, name: str, options: Mapping[str, Any] | None, *collaborators: str
  ) -> dict[str, Any]:
    """Returns options converted to the types of the fields. For the arguments see `make`.

    Raises:
      ValueError: As `make` does.
    """
    options = dict(options or {})
    fields = {
      f.name: f
      for f in dataclasses.fields(self.get(name))
      if f.init and f.name not in collaborators
    }
    self._require_known(name, options, fields)
    for key, value in options.items():
      try:
        options[key] = _converted(value, fields[key].type)
      except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f'Option {key!r} of the {self.kind} {name!r}: {error}.') from None
      _require_moderate(f'Option {key!r} of the {self.kind} {name!r}', options[key])
    return options

  def _require_known(
    self, name: str, options: Mapping[str, Any], fields: Mapping[str, object]
  ) -> None:
    unknown = sorted(set(options) - set(fields))
    if not unknown:
      return
    ours = RENAMED_OPTIONS.get(self.kind, {}).get(name, {})
    former = {**ours, **self._renamed_options.get(name, {})}
    if present := former.get(unknown[0]):
      raise ValueError(
        f'The option {unknown[0]!r} of the {self.kind} {name!r} is now called {present!r}.'
      )
    has = ', '.join(sorted(fields)) or 'none'
    raise ValueError(f'The {self.kind} {name!r} has no option {unknown[0]!r}; it has: {has}.')

  def _import_package(self, name: str = '') -> None:
    """Imports the package's module of that name, or all modules when there is no such module.

    Importing one module keeps the other implementations' dependencies out of the process.
    """
    if not self.package:
      return
    modules = sorted(_modules(self.package))
    named = [module for module in modules if name in module.split('.')] if name else []
    for module in named or modules:
      importlib.import_module(f'{self.package}.{module}')

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
def installed_versions(packages: Iterable[str]) -> dict[str, str]:
  """Returns the versions of those packages that are installed, without importing them."""
  found: dict[str, str] = {}
  for package in packages:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


def _modules(package: str) -> tuple[str, ...]:
  """Dotted names of all modules below a package, relative to it; none of them is imported."""
  root = pathlib.Path(*importlib.import_module(package).__path__)
  files = (file.relative_to(root).with_suffix('') for file in root.rglob('*.py'))
  return tuple('.'.join(file.parts) for file in files if file.name not in ('__init__', '__main__'))


def _require_moderate(what: str, value: Any) -> None:
  """Raises ValueError for numbers that are not finite or that exceed 64 bits."""
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f'{what} is {value}; it must be a finite number.')
  if isinstance(value, int) and abs(value) > MAX_INT:
    raise ValueError(f'{what} is {value:.3g}; it must be at most {MAX_INT:.3g}.')
  if isinstance(value, tuple | list):
    for item in value:
      _require_moderate(what, item)


def _converted(value: Any, kind: Any) -> Any:
  """Converts an option's value to the type of its field.

  A single string where a tuple of strings is expected becomes a tuple of one, since that is how
  command lines give it.

  Raises:
    msgspec.ValidationError: The value has another type.
  """
  try:
    return msgspec.convert(value, kind, strict=True)
  except msgspec.ValidationError:
    if not isinstance(value, str) or typing.get_args(kind) != (str, ...):
      raise
  return msgspec.convert((value,), kind, strict=True)
