"""How a run begins, or goes on: the same config, the same data, and every state folded again."""

import dataclasses
import importlib.metadata
import platform
from typing import Any

import msgspec

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import Event, LedgerError, Resumed, Started
from autoresearch_jax.ledger.git_repo import tag_of
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.research.decisions import States, replay
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import from_builtins, to_builtins

PACKAGES = ('autoresearch_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')  # can change a result


def begin(
  ledger: Ledger, config: Config, strategy: Strategy, acceptance: AcceptanceRule, dataset: str = ''
) -> tuple[History, States]:
  """Opens a session in the ledger and returns where the run stands.

  dataset: fingerprint of the data. Raises ConfigError when the ledger belongs to another config
  or other data, LedgerError when it cannot be replayed, PartError when a part raises in replay.
  """
  history = History.of(ledger.records())
  event: Event = Started(_plain(config), tag_of(config.name), dataset, versions())
  if history.started is not None and history.turn:  # else nothing was tried with what it says
    _require_same_run(ledger, history.started, config, dataset)
    event = Resumed(versions())
    replay(ledger.records(), strategy, acceptance)  # before the session leaves a trace
  ledger.append(event)
  return replay(ledger.records(), strategy, acceptance)


def versions() -> dict[str, str]:
  """Of Python and of the packages that can change a result; none of them is imported."""
  found = {'python': platform.python_version()}
  for package in PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def _require_same_run(ledger: Ledger, started: Started, config: Config, dataset: str) -> None:
  changed = differences(_recorded(ledger, started), config)
  advice = (
    'Only config.search.max_trials and config.final_seeds may change within a run: put the old '
    'value back, or name another --workdir.'
  )
  if changed:
    raise ConfigError(f'{ledger.path.parent} holds a run with another config. {changed}. {advice}')
  if started.dataset != dataset:
    raise ConfigError(
      f'{ledger.path.parent} holds a run on other data (fingerprint {started.dataset[:12]}, now '
      f'{dataset[:12]}), so its scores do not compare with new ones. Name another --workdir.'
    )


def _recorded(ledger: Ledger, started: Started) -> Config:
  try:
    return from_builtins(started.config, Config)
  except msgspec.ValidationError as error:
    raise LedgerError(
      f'{ledger.path} was begun with a config that this version cannot read: {error}. Use the '
      f'version that wrote it, or name another --workdir.'
    ) from None


def differences(recorded: Config, now: Config) -> str:
  """Fields that differ, but for those that end a run: `config.seed is 1 here and was 0; ...`."""
  before, after = (_flat('config', _plain(_without_end(c))) for c in (recorded, now))
  return '; '.join(
    f'{path} is {after.get(path, "absent")!r} here and was {before.get(path, "absent")!r}'
    for path in sorted({*before, *after})
    if before.get(path) != after.get(path)
  )


def _without_end(config: Config) -> Config:
  search = dataclasses.replace(config.search, max_trials=0)
  return dataclasses.replace(config, search=search, final_seeds=0)


def _plain(config: Config) -> dict[str, Any]:
  """All fields; msgspec alone leaves out defaults of what it has made itself from plain data."""
  return to_builtins(dataclasses.asdict(config))


def _flat(path: str, value: Any) -> dict[str, Any]:
  if isinstance(value, dict):
    return {p: v for key in value for p, v in _flat(f'{path}.{key}', value[key]).items()}
  return {path: value}
