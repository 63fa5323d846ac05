"""The flags --config=NAME[:VARIANT] and --config.FIELD=VALUE, based on ml_collections.

Invalid values raise ConfigError.
"""

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from autoresearch_jax import config as configs
from autoresearch_jax.config import Config, ConfigError, from_config_dict
from autoresearch_jax.messages import one_line

BAD_INPUT = 2  # exit code
# Raised by absl and ml_collections for an invalid command line.
PARSING_ERRORS = (
  flags.Error, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
# Parts of a config that a config file may omit; the registries check their fields. Nested ones,
# such as those of the proposer `auto`, are removed again if nothing was set.
PARTS = (
  'budget',
  'constants',
  'constraints',
  'data',
  'search',
  'search.options',
  'proposer_options',
  'proposer_options.gemini',
  'proposer_options.mutate',
  'proposer_options.openai',
  'acceptance_options',
  'executor_options',
  'limits',
  'knowledge',
  'canaries',
  'hooks',
  'tracker_options',
  'findings',
)


def define_config(
  help_text: str,
  flag_values: flags.FlagValues = flags.FLAGS,
  arguments: list[str] | None = None,
  parts: Sequence[str] = PARTS,
) -> flags.FlagHolder:
  """Defines --config=NAME and --config.FIELD=VALUE, also for fields that the config file omits.

  `config_of` rejects unknown fields, and the registries unknown options.

  Args:
    help_text: Description of the config.
    flag_values: The registry in which to define the flag.
    arguments: The command line; None for sys.argv.
    parts: Parts of the config that a config file may omit.
  """
  flag = config_flags.DEFINE_config_file(
    'config',
    None,
    help_text,
    flag_values=flag_values,
    lock_config=False,
    sys_argv=arguments,
    accept_new_attributes=True,
  )
  flag_values['config'].parser = _ConfigParser(parts)
  return flag


class _ConfigParser(flags.ArgumentParser):
  """Loads a config by name or path, and allows later flags to add fields."""

  def __init__(self, parts: Sequence[str]):
    super().__init__()
    self._parts = parts

  def parse(self, argument: Any) -> Any:
    config = configs.load(argument)
    config.unlock()
    for part in self._parts:
      *above, name = part.split('.')
      place: Any = config[above[0]] if above else config
      if name not in place:
        place[name] = ConfigDict()
    return config

  def flag_type(self) -> str:
    return 'config'


def run(main: Callable[[Sequence[str]], int]) -> None:
  """Parses absl's global flags, and exits with the code that `main` returns. For scripts."""
  app.run(main, flags_parser=_parsed)


def config_of(values: Any, example: str = 'digits') -> Config:
  """Returns the run's config that --config names.

  Args:
    values: The ConfigDict, or a flag that holds it.
    example: A config to suggest if none was given.

  Raises:
    ConfigError: There is none, or it is invalid.
  """
  values = values_of(values, f'Name a config, for instance --config={example}.')
  options: Any = values.get('proposer_options')
  for name in list(options) if isinstance(options, ConfigDict) else ():
    if isinstance(options[name], ConfigDict) and not options[name]:
      del options[name]
  return from_config_dict(values)


def require_same(values: Any, config: Config, directory: pathlib.Path) -> None:
  """Raises ConfigError for a config on the command line that is not that of the run in a folder."""
  if values is None:
    return
  given = config_of(values)
  for name in ('problem', 'program', 'metric', 'platform', 'budget', 'constants', 'data'):
    if getattr(given, name) != getattr(config, name):
      raise ConfigError(
        f'The run in {directory} has another config.{name}: {getattr(config, name)!r:.100} instead '
        f'of {getattr(given, name)!r:.100}. Leave --config out, or use another --workdir.'
      )


def values_of(values: Any, question: str) -> ConfigDict:
  """Returns a flag's ConfigDict. Raises ConfigError with the message `question` if it is None."""
  if isinstance(values, flags.Flag | flags.FlagHolder):
    values = values.value
  if values is None:
    raise ConfigError(question)
  return values


def explained(error: BaseException) -> ConfigError:
  """Turns an exception of absl or ml_collections into a ConfigError with a readable message."""
  cause: BaseException | None = error
  while cause is not None and not isinstance(cause, ConfigError):
    cause = cause.__context__
  if cause is not None:
    return ConfigError(f'--config: {cause}')
  if isinstance(error, flags.Error):
    return ConfigError(str(error))
  if isinstance(error, AttributeError | KeyError):  # ml_collections' errors for a missing field
    return ConfigError(f'--config: there is no such field: {_short(error)}')
  return ConfigError(f'--config: {_short(error)}')


def _parsed(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except PARSING_ERRORS as error:
    print(explained(error), file=sys.stderr)
    sys.exit(BAD_INPUT)


def _short(error: BaseException) -> str:
  """Returns an exception's text on one line, without the quotes and escapes of nested ones."""
  text = str(error).replace('\\n', ' ').replace('\\', '').replace('\n', ' ')
  return one_line(text).strip('\'" ').rstrip('.')
