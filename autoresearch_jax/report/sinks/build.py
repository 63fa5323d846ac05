"""Makes the sinks of a config."""

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.report.sinks.base import Sink
from autoresearch_jax.report.sinks.hooks import Hooks
from autoresearch_jax.report.sinks.trackers import TRACKERS


def sinks_of(config: Config) -> list[Sink]:
  """Makes the sinks of a config. Raises ConfigError for one that cannot be used."""
  found: list[Sink] = [Hooks(dict(config.hooks))] if config.hooks else []
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
