"""Upgrades events that earlier versions stored, on reading.

Schema 1 predates the renaming: its configs have `early_stop` and `locked_tokens`, its events
`Confirmed`. Schema 2 has the present names. Schema 3 counts budgets in seconds by a calibrated
clock unless the config says otherwise; runs of before counted by the wall clock. A step turns the
kind and payload of an event of one schema into those of the next. It is a pure function of plain
data, and is never changed once ledgers of the next schema exist.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from autoresearch_jax.ledger import schema_1
from autoresearch_jax.ledger.events import LedgerError

SCHEMA_VERSION = 3

Payload = dict[str, Any]
Step = Callable[[str, Payload], tuple[str, Payload]]


def upgrade(kind: str, payload: Payload, schema: int) -> tuple[str, Payload]:
  """Returns the kind and the payload of an event in the present schema.

  Args:
    kind: Name of the event in lower case, as it is stored.
    payload: Its fields as plain data, with digests instead of long texts. Not modified.
    schema: The schema of both.

  Raises:
    LedgerError: This version does not know the schema.
  """
  if not 1 <= schema <= SCHEMA_VERSION:
    raise LedgerError(
      f'An event has ledger schema {schema}; this version of autoresearch_jax reads schemas 1 to '
      f'{SCHEMA_VERSION}. Use the version that wrote it.'
    )
  for step in STEPS[schema - 1 :]:
    kind, payload = step(kind, copy.deepcopy(payload))
  return kind, payload


def _from_1(kind: str, payload: Payload) -> tuple[str, Payload]:
  if kind == 'started':
    payload['config'] = upgrade_config(payload['config'])
  elif kind == 'edited' and 'ahead' in payload:
    payload['prefetched'] = payload.pop('ahead')
  elif kind == 'confirmed':
    kind = 'finalscored'
    for measurement in payload['result'].get('measurements', ()):
      metrics = measurement['metrics']
      measurement['metrics'] = {schema_1.metric(name): metrics[name] for name in metrics}
  return kind, payload


def _from_2(kind: str, payload: Payload) -> tuple[str, Payload]:
  if kind == 'started':
    payload['config'].setdefault('budget', {})['clock'] = 'wall'
  return kind, payload


STEPS: tuple[Step, ...] = (_from_1, _from_2)


def upgrade_config(config: Payload) -> Payload:
  """Returns a schema 1 config with the present names of its fields and its components' options."""
  made = copy.deepcopy(config)
  for path, name in schema_1.FIELDS.items():
    *parts, former = path.split('.')
    place: Any = made
    for part in parts:
      place = place.get(part, {})
    if former in place:
      place[name] = place.pop(former)
  for kind, (name_path, options_path) in schema_1.PARTS.items():
    name, options = _at(made, name_path), _at(made, options_path)
    if isinstance(options, dict):
      upgraded = _upgrade_options(kind, name, options)
      options.clear()
      options.update(upgraded)
  return made


def _upgrade_options(kind: str, name: Any, options: Mapping[str, Any]) -> Payload:
  """Returns the options of a component, and of the components it wraps, with present names."""
  names = schema_1.OPTIONS.get(kind, {}).get(name, {})
  values = schema_1.VALUES.get((kind, name), {})
  made: Payload = {
    names.get(option, option): values.get((option, value), value) if _plain(value) else value
    for option, value in options.items()
  }
  if (kind, name) in schema_1.WRAPPERS:
    inner = made.get('inner', schema_1.WRAPPERS[kind, name])
    if isinstance(made.get('inner_options'), dict):
      made['inner_options'] = _upgrade_options(kind, inner, made['inner_options'])
  for option in schema_1.NESTED.get((kind, name), ()):
    if isinstance(made.get(option), dict):
      made[option] = _upgrade_options(kind, option, made[option])
  return made


def _plain(value: Any) -> bool:
  return isinstance(value, str | int | float | bool)


def _at(config: Payload, path: str) -> Any:
  place: Any = config
  for part in path.split('.'):
    place = place.get(part) if isinstance(place, dict) else None
  return place
