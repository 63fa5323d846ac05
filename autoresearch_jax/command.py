"""The command line's door: flags and config files that do not fit become one sentence, exit 2."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from autoresearch_jax.config import Config, ConfigError, from_config_dict
from autoresearch_jax.wording import one_line

BAD_INPUT = 2


def run(main: Callable[[Sequence[str]], int]) -> None:
  """Parses the flags and exits with what `main` returns."""
  app.run(main, flags_parser=_parsed)


def config_of(flag: flags.FlagHolder) -> Config:
  """The run that --config names. Raises ConfigError."""
  try:
    values = flag.value
    if values is None:
      raise ConfigError('Which run? Name a config file, for instance --config=configs/digits.py.')
    return from_config_dict(values)
  except (OSError, ImportError) as error:  # ml_collections keeps a failure to load for now
    cause = _short(error).rpartition('Attempted ')[2]
    raise ConfigError(f'--config names a file that cannot be loaded: {cause}.') from None


def _parsed(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    problem = _last_cause(str(error))
  except AttributeError as error:  # ml_collections's answer to a field that is not there
    problem = f'--config: there is no such field: {_short(error)}'
  except (KeyError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
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
