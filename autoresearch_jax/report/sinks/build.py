"""Makes the sinks of a config."""

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.report.sinks.base import Sink
from autoresearch_jax.report.sinks.hooks import HookError, Hooks
from autoresearch_jax.report.sinks.trackers import TRACKERS


def sinks_of(config: Config) -> list[Sink]:
  """Makes the sinks of a config. Raises ConfigError for one that cannot be used."""
  found: list[Sink] = []
  if config.hooks:
    hooks = Hooks(dict(config.hooks))
    try:
      hooks.require_readable()
    except HookError as error:
      raise ConfigError(f'config.hooks has {error}.') from error
    found.append(hooks)
  for name in config.trackers:
    try:
      found.append(TRACKERS.make(name, config.tracker_options.get(name, {})))
    except ValueError as error:
      raise ConfigError(str(error)) from error
  for name in config.tracker_options:
    if name not in config.trackers:
      raise ConfigError(
        f'config.tracker_options has {name!r}, which is not in config.trackers, {config.trackers}.'
      )
  return found
