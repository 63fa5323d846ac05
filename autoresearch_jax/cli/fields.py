"""Help texts about the fields of a config, from the dataclasses and their docstrings."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from ml_collections import ConfigDict

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark.config import BenchmarkConfig
from autoresearch_jax.cli.command import Row, Section
from autoresearch_jax.config import Config
from autoresearch_jax.executors import COLLABORATORS, EXECUTORS
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.registry import Registry
from autoresearch_jax.search import STRATEGIES

_ENTRY = re.compile(r'^ {2}(\w+): (.*)$')  # in the `Attributes:` section of a docstring
# Fields that name a component -> the field with its options, and its registry.
PARTS: dict[str, tuple[str, Registry]] = {
  'search.strategy': ('search.options', STRATEGIES),
  'proposer': ('proposer_options', PROPOSERS),
  'acceptance': ('acceptance_options', ACCEPTANCE),
  'problem': ('data', PROBLEMS),
  'executor': ('executor_options', EXECUTORS),
}


def attributes(kind: type) -> dict[str, str]:
  """Returns the descriptions in the `Attributes:` sections of a class and of what it inherits."""
  found: dict[str, str] = {}
  for part in reversed(kind.__mro__):
    found |= _own_attributes(part)
  return found


def _own_attributes(kind: type) -> dict[str, str]:
  found: dict[str, str] = {}
  name, within = '', False
  for line in inspect.cleandoc(vars(kind).get('__doc__') or '').splitlines():
    if line == 'Attributes:':
      within = True
    elif within and line and not line.startswith('  '):
      within = False
    elif within and (entry := _ENTRY.match(line)):
      name, found[entry[1]] = entry[1], entry[2]
    elif within and name and line.strip():
      found[name] += f' {line.strip()}'
  return found


def rows(kind: type, config: ConfigDict | None, prefix: str = '') -> Iterator[Row]:
  """Yields a row for each field of the dataclass `kind` and of nested dataclasses.

  Args:
    kind: Such as `Config`.
    config: The values to show; None for the defaults of `kind`.
    prefix: The path of `kind` in the config.
  """
  texts = attributes(kind)
  for field in dataclasses.fields(kind):
    path, text = f'{prefix}{field.name}', texts.get(field.name, '')
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
      yield from rows(field.type, config, f'{path}.')
      continue
    if get_origin(field.type) is dict:  # a mapping: options, or labelled rows
      yield f'{path}.NAME', text
      continue
    yield path, f'{text} [{shown}]' if (shown := _shown(path, field, config)) else text


def run_fields(config: ConfigDict | None) -> list[Section]:
  """Returns the fields of a run's config, and the options of the components that it names."""
  if config is None:
    heading = (
      'Fields of the config, with the default [in brackets] of those that a config may omit. '
      'Together with --config=NAME, --help shows the values of that config, and the options of its '
      'strategy, proposer, acceptance rule, problem and executor.'
    )
    return [(heading, list(rows(Config, None)))]
  sections = [('Fields of the config, with their values:', list(rows(Config, config)))]
  return sections + [section for path in PARTS if (section := _options(path, config))]


def benchmark_fields(config: ConfigDict | None) -> list[Section]:
  """Returns the fields of a benchmark's config."""
  return [('Fields of the config:', list(rows(BenchmarkConfig, config)))]


def _options(path: str, config: ConfigDict) -> Section | None:
  """Returns the options of the component that the config names at `path`; None if it has none."""
  field, registry = PARTS[path]
  name, values = _value(path, config), _value(field, config)
  try:
    kind = registry.get(str(name))
  except ValueError:  # the run itself reports it
    return None
  texts, options = attributes(kind), []
  for option in dataclasses.fields(kind):
    if not option.init or option.name in COLLABORATORS:
      continue
    default = values.get(option.name) if isinstance(values, ConfigDict) else None
    shown = _text(default) if default is not None else _default(option)
    text = texts.get(option.name, '')
    options.append((f'{field}.{option.name}', f'{text} [{shown}]' if shown else text))
  return (f'Options of the {registry.kind} {name!r}:', options) if options else None


def _shown(path: str, field: dataclasses.Field, config: ConfigDict | None) -> str:
  value = _value(path, config)
  return _default(field) if value is None else _text(value)


def _value(path: str, config: ConfigDict | None) -> Any:
  value: Any = config
  for part in path.split('.'):
    value = value.get(part) if isinstance(value, Mapping | ConfigDict) else None
  return value


def _default(field: dataclasses.Field) -> str:
  return '' if field.default is dataclasses.MISSING else _text(field.default)


def _text(value: Any) -> str:
  if isinstance(value, ConfigDict):
    value = value.to_dict()
  return str(value) if isinstance(value, str) else repr(value)
