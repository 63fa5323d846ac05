"""Checks the values of a config, and converts them to a `Config`."""

import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import ml_collections
import msgspec

from autoresearch_jax.config.fields import HOOK_EVENTS, Config, ConfigError
from autoresearch_jax.types import COSTS_TO_TARGET

T = TypeVar('T')


# Former names of fields, by path. Each is refused with a sentence that gives the present name.
RENAMED_FIELDS = {
  'config.early_stop': 'config.pruning',
  'config.knowledge.near': 'config.knowledge.duplicate_tolerance',
  'config.limits.loss': 'config.limits.max_loss',
  'config.search.ahead': 'config.search.prefetch',
  'config.search.duplicates': 'config.search.allow_duplicates',
}
MAX_COUNT = 10**9  # of trials, and of whatever else is counted
MAX_SECONDS = 1e9  # 30 years
MAX_BYTES = 2**60
# The valid range of every number of a config, by path: the lowest value, the highest one, and what
# one should know about the two.
RANGES: dict[str, tuple[float, float, str]] = {
  'budget.amount': (sys.float_info.min, 1e30, 'it must be above 0'),
  'search.max_trials': (0, MAX_COUNT, '0 means no limit'),
  'search.prefetch': (0, 1000, ''),
  'search.max_hours': (0, MAX_SECONDS / 3600, '0 means no limit'),
  'search.max_dollars': (0, 1e9, '0 means no limit'),
  'search.dollars_per_hour': (0, 1e9, ''),
  'search.patience': (0, MAX_COUNT, '0 means no limit'),
  'knowledge.duplicate_tolerance': (0, 1 - 2**-53, 'a relative difference is below 1'),
  'findings.share': (0, 0.9, 'a part of the trials stays free of the edits of others'),
  'findings.refresh_seconds': (1, MAX_SECONDS, ''),
  'limits.trace_seconds': (0.1, MAX_SECONDS, ''),
  'limits.trace_cpu_seconds': (1, MAX_SECONDS, ''),
  'limits.trace_bytes': (2**30, MAX_BYTES, 'importing jax alone takes 1 GiB'),
  'limits.artifact_bytes': (1, MAX_BYTES, ''),
  'limits.constant_bytes': (0, MAX_BYTES, ''),
  'limits.compile_seconds': (0.1, MAX_SECONDS, ''),
  'limits.step_seconds': (0.1, MAX_SECONDS, ''),
  'limits.predict_seconds': (0, MAX_SECONDS, ''),
  'limits.run_seconds': (0, MAX_SECONDS, '0 derives it from the budget'),
  'limits.device_bytes': (0, MAX_BYTES, '0 means what the device reports'),
  'limits.max_loss': (sys.float_info.min, sys.float_info.max, '1e300 is no limit in practice'),
  'final_seeds': (0, 10_000, '0 means no final evaluation'),
  'seed': (0, 2**63 - 1, ''),
  'canaries.share': (0, 0.5, '0 means no canaries'),
  'canaries.gain': (0.01, 1000, ''),
}


def from_config_dict(
  config: ml_collections.ConfigDict, overrides: Mapping[str, Any] | None = None
) -> Config:
  """Checks a ConfigDict and returns it as a Config.

  Args:
    config: For instance from `load`.
    overrides: Values for fields, by dotted path: `{'search.max_trials': 10}`.

  Raises:
    ConfigError: An unknown or renamed field, or a value that is not allowed.
  """
  values = config.to_dict()
  for path, value in (overrides or {}).items():
    _set(values, path, value)
  _require_recordable('config', values)
  findings = values.get('findings')
  if isinstance(findings, dict) and isinstance(store := findings.get('stores'), str):
    findings['stores'] = (store,) if store else ()  # one address, as it is typed on a command line
  return checked(converted(values, Config))


def checked(config: Config) -> Config:
  """Returns a config whose values are all valid and can be recorded. Raises ConfigError."""
  values = dataclasses.asdict(config)
  _require_recordable('config', values)
  config = converted(values, Config)
  for path, (lowest, highest, note) in RANGES.items():
    value: Any = config
    for part in path.split('.'):
      value = getattr(value, part)
    if not lowest <= value <= highest:
      advice = note if note.startswith('it must') else f'it must be at least {lowest:g}'
      also = '' if note in ('', advice) else f'; {note}'
      raise ConfigError(f'config.{path} is {value}; {advice} and at most {highest:g}{also}.')
  if config.budget.unit == 'seconds' and config.budget.amount > MAX_SECONDS:
    raise ConfigError(
      f'config.budget.amount is {config.budget.amount:g} seconds; it must be at most '
      f'{MAX_SECONDS:g}.'
    )
  if config.budget.target_loss is not None:
    _require_target(config)
  if not config.name.strip() or not config.name.isprintable() or '..' in config.name.split('/'):
    raise ConfigError(
      f'config.name is {config.name!r}; it names a folder and a branch, so it must be printable '
      'and not empty.'
    )
  if config.mirror and not re.match(r'[a-z][a-z0-9+.-]*://.', config.mirror):
    raise ConfigError(
      f'config.mirror is {config.mirror!r}; it must be a URL such as gs://BUCKET/FOLDER, '
      "s3://BUCKET/FOLDER or file:///FOLDER; '' for no mirror."
    )
  config.parsed_constraints()
  for event, hook in config.hooks.items():
    if event not in HOOK_EVENTS or not hook.strip():
      raise ConfigError(
        f'config.hooks has {event!r}: {hook!r}; each of {", ".join(HOOK_EVENTS)} may have a '
        'command or a URL.'
      )
  if not config.editable:
    raise ConfigError('config.editable is empty; name at least one file that an edit may change.')
  return config


def _require_target(config: Config) -> None:
  """Raises ConfigError for a target that the rest of the config contradicts."""
  if config.metric not in COSTS_TO_TARGET:
    raise ConfigError(
      f'config.metric is {config.metric!r}, but with config.budget.target_loss training ends at '
      f'that loss, and what counts is what it took. Set config.metric to one of: '
      f'{", ".join(COSTS_TO_TARGET)}.'
    )
  if config.pruning:
    raise ConfigError(
      'config.pruning compares programs at equal parts of the budget, which one that reaches '
      'config.budget.target_loss early does not train; set config.pruning=False.'
    )


def _require_recordable(path: str, value: Any) -> None:
  """Raises ConfigError unless a value reads back from JSON as it was, tuples as lists."""
  if value is None or isinstance(value, bool | int):
    return
  if isinstance(value, float):
    if not math.isfinite(value):
      raise ConfigError(f'{path} is {value}; it must be a finite number.')
  elif isinstance(value, str):
    try:
      value.encode()
    except UnicodeEncodeError:
      raise ConfigError(f'{path} is {value!a}, not UTF-8 text; remove what is not.') from None
  elif isinstance(value, list | tuple):
    for index, item in enumerate(value):
      _require_recordable(f'{path}[{index}]', item)
  elif isinstance(value, dict):
    for key, item in value.items():
      if not isinstance(key, str | int | float) or isinstance(key, bool):
        raise ConfigError(f'{path} has the key {key!r}; keys must be strings or numbers.')
      _require_recordable(f'{path}.{key}', key)
      _require_recordable(f'{path}.{key}', item)
  else:
    raise ConfigError(
      f'{path} is {value!r:.100}, a {type(value).__name__}; it must be a number, a string, a bool, '
      'None, or a tuple, list or dict of these.'
    )


def _set(values: dict[str, Any], path: str, value: Any) -> None:
  *parts, name = path.split('.')
  for part in parts:
    values = values.setdefault(part, {})
    if not isinstance(values, dict):
      raise ConfigError(
        f'config.{path} cannot be set, since config.{part} has no fields; set that.'
      )
  values[name] = value


def converted(values: dict[str, Any], kind: type[T]) -> T:
  """Converts a config's values to the dataclass `kind`.

  Raises:
    ConfigError: An unknown or renamed field, or a value of another type.
  """
  _refuse_unknown(values, kind, 'config')
  try:
    return msgspec.convert(values, kind, strict=True)
  except msgspec.ValidationError as error:
    raise ConfigError(f'{error}'.replace('`$', '`config') + '.') from None


def _refuse_unknown(values: dict[str, Any], kind: type, path: str) -> None:
  """Raises ConfigError for the first field that `kind` lacks, or a value that is no choice.

  msgspec would ignore the former, and does not list the choices.
  """
  fields = {f.name: f.type for f in dataclasses.fields(kind)}
  for name, value in values.items():
    if name not in fields:
      if present := RENAMED_FIELDS.get(f'{path}.{name}'):
        raise ConfigError(f'{path}.{name} is now called {present}.')
      near = difflib.get_close_matches(name, fields, n=1)
      hint = f'; did you mean {path}.{near[0]}?' if near else f'; it has: {", ".join(fields)}.'
      raise ConfigError(f'{path}.{name} is not a field of the config{hint}')
    field, below = fields[name], f'{path}.{name}'
    if get_origin(field) is Literal and value not in get_args(field):
      choices = ', '.join(repr(choice) for choice in get_args(field))
      raise ConfigError(f'{below} is {value!r}; it must be one of {choices}.')
    if isinstance(field, type) and dataclasses.is_dataclass(field) and isinstance(value, dict):
      _refuse_unknown(value, field, below)
    row = (*get_args(field), None, None)[1]  # of a mapping from labels to rows
    if isinstance(row, type) and dataclasses.is_dataclass(row) and isinstance(value, dict):
      for label, part in value.items():
        if isinstance(part, dict):
          _refuse_unknown(part, row, f'{below}.{label}')
