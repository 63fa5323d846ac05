"""The command line's door: flags and config files that do not fit become one sentence, exit 2."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from autoresearch_jax.config import Config, ConfigError, from_config_dict
from autoresearch_jax.messages import one_line

BAD_INPUT = 2
# Parts of a config whose fields a file need not list: options are checked by who has them. Those in
# a part's part, such as the proposer auto's, are left away again where nothing was set.
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
  """The flag --config=FILE, with --config.FIELD=VALUE for every field, listed in FILE or not.

  What is no field is refused by `config_of`, and an unknown option by the registry, which lists
  those that exist. arguments: the command line. [sys.argv] parts: a config's parts that its file
  need not have.
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
  flag_values['config'].parser = _Open(parts)
  return flag


class _Open(config_flags.ConfigFileFlagParser):
  """Loads a config so that the flags after it may add fields."""

  def __init__(self, parts: Sequence[str]):
    super().__init__('config', lock_config=False)
    self._parts = parts

  def parse(self, path: str) -> Any:
    config = super().parse(path)
    if type(config) is ConfigDict:  # else the file could not be loaded; `config_of` says why
      config.unlock()
      for part in self._parts:
        *above, name = part.split('.')
        place: Any = config[above[0]] if above else config
        if name not in place:
          place[name] = ConfigDict()
    return config


def run(main: Callable[[Sequence[str]], int]) -> None:
  """Parses the flags and exits with what `main` returns."""
  app.run(main, flags_parser=_parsed)


def config_of(flag: flags.FlagHolder | flags.Flag) -> Config:
  """The run that --config names. Raises ConfigError."""
  values = values_of(flag, 'Which run?', 'configs/digits.py')
  options: Any = values.get('proposer_options')
  for name in list(options) if isinstance(options, ConfigDict) else ():
    if isinstance(options[name], ConfigDict) and not options[name]:
      del options[name]
  return from_config_dict(values)


def values_of(flag: flags.FlagHolder | flags.Flag, question: str, example: str) -> ConfigDict:
  """What --config names, as it was written. Raises ConfigError, with a question if it is absent."""
  try:
    values = flag.value
    if values is None:
      raise ConfigError(f'{question} Name a config file, for instance --config={example}.')
    values.to_dict()  # of a file that could not be loaded, it says why
    return values
  except (OSError, ImportError) as error:  # ml_collections keeps a failure to load for now
    cause = _short(error).rpartition('Attempted ')[2]
    raise ConfigError(f'--config names a file that cannot be loaded: {cause}.') from None


def _parsed(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    problem = _last_cause(str(error))
  except (AttributeError, KeyError) as error:  # ml_collections's answers to a field not there
    problem = f'--config: there is no such field: {_short(error)}'
  except (LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
    problem = f'--config: {_short(error)}'
  print(problem, file=sys.stderr)
  sys.exit(BAD_INPUT)


def _last_cause(text: str) -> str:
  """Absl puts the traceback of a failing config file into its message; its last line says why."""
  if 'Traceback' not in text:
    return text
  kind, _, why = text.strip().splitlines()[-1].partition(': ')
  return f'--config: {why or kind}'


def _short(error: BaseException) -> str:
  """An exception's text on one line, without the quoting and escapes of nested ones."""
  text = str(error).replace('\\n', ' ').replace('\\', '').replace('\n', ' ')
  return one_line(text).strip('\'" ').rstrip('.')
