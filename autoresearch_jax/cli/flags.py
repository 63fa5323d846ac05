"""The option --config=NAME[:VARIANT], with --config.FIELD=VALUE for every field of a config.

Underneath are ml_collections' config_flags. What does not fit becomes a ConfigError.
"""

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
# What reading a command line may raise.
PARSING_ERRORS = (
  flags.Error, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
# Parts of a config whose fields a file need not list: the registries check them. The nested ones,
# such as those of the proposer `auto`, are removed again where nothing was set.
PARTS = (
  'constants',
  'data',
  'search',
  'search.options',
  'proposer_options',
  'proposer_options.gemini',
  'proposer_options.mutate',
  'acceptance_options',
  'executor_options',
  'limits',
  'knowledge',
)


def define_config(
  help_text: str,
  flag_values: flags.FlagValues = flags.FLAGS,
  arguments: list[str] | None = None,
  parts: Sequence[str] = PARTS,
) -> flags.FlagHolder:
  """Defines --config=NAME, and --config.FIELD=VALUE for fields, listed in the file or not.

  Unknown fields are refused by `config_of`, and unknown options by the registries.

  Args:
    help_text: What the config is for.
    flag_values: Where the flag is defined.
    arguments: The command line; None: sys.argv.
    parts: Parts of the config that its file need not list.
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
  """Loads a config by name or path, such that the flags after it may add fields."""

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
  """Parses absl's global flags and exits with what `main` returns. For scripts."""
  app.run(main, flags_parser=_parsed)


def config_of(values: Any, example: str = 'digits') -> Config:
  """The run that --config names.

  Args:
    values: The ConfigDict, or a flag that holds it.
    example: A config to name in the message where none was given.

  Raises:
    ConfigError: None was given, or it does not fit.
  """
  values = values_of(values, f'Which run? Name a config, for instance --config={example}.')
  options: Any = values.get('proposer_options')
  for name in list(options) if isinstance(options, ConfigDict) else ():
    if isinstance(options[name], ConfigDict) and not options[name]:
      del options[name]
  return from_config_dict(values)


def values_of(values: Any, question: str) -> ConfigDict:
  """The ConfigDict, of itself or of a flag. Raises ConfigError with `question` where it is None."""
  if isinstance(values, flags.Flag | flags.FlagHolder):
    values = values.value
  if values is None:
    raise ConfigError(question)
  return values


def explained(error: BaseException) -> ConfigError:
  """What absl or ml_collections raised while it read the command line, as a sentence."""
  cause: BaseException | None = error
  while cause is not None and not isinstance(cause, ConfigError):
    cause = cause.__context__
  if cause is not None:
    return ConfigError(f'--config: {cause}')
  if isinstance(error, flags.Error):
    return ConfigError(str(error))
  if isinstance(error, AttributeError | KeyError):  # ml_collections' answers to a missing field
    return ConfigError(f'--config: there is no such field: {_short(error)}')
  return ConfigError(f'--config: {_short(error)}')


def _parsed(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except PARSING_ERRORS as error:
    print(explained(error), file=sys.stderr)
    sys.exit(BAD_INPUT)


def _short(error: BaseException) -> str:
  """An exception's text on one line, without the quoting and escapes of nested ones."""
  text = str(error).replace('\\n', ' ').replace('\\', '').replace('\n', ' ')
  return one_line(text).strip('\'" ').rstrip('.')
