"""Subcommands of `autoresearch`: their options, help texts, and the parsing of command lines.

Options are absl flags in a registry of the command's own, so importing the library defines no
flags. Invalid input results in a one-sentence message and exit code 2.
"""

import dataclasses
import difflib
import faulthandler
import importlib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from autoresearch_jax.cli.flags import (
  BAD_INPUT,
  PARSING_ERRORS,
  PARTS,
  define_config,
  explained,
  values_of,
)
from autoresearch_jax.config import ConfigError
from autoresearch_jax.messages import describe_os_error

FAILED, INTERRUPTED = 1, 130  # exit codes, beside 0 and BAD_INPUT
WORKDIR = 'WORKDIR'  # stands for a run's folder in help texts
MAX_WIDTH = 100  # columns of a help text
INDENT, COLUMN = 2, 28  # columns at which names and their explanations begin

Row = tuple[str, str]  # a name and its explanation
Section = tuple[str, list[Row]]  # a heading and its rows
Describe = Callable[[ConfigDict | None], list[Section]]
RUN_FIELDS = 'autoresearch_jax.cli.fields:run_fields'


class UsageError(ValueError):
  """An invalid command line; the message says what is wrong."""


class HelpRequested(Exception):
  """`--help` was given; the message is the help text."""


@dataclasses.dataclass(frozen=True)
class Option:
  """One option, `--name=VALUE`.

  Attributes:
    name: Without the dashes.
    text: What it does, a sentence.
    default: The default; it also determines the type, `str` for None.
    kind: The type, if `default` does not determine it.
    choices: The allowed values, if they are few.
    minimum: Lower bound of a number.
    maximum: Upper bound of a number.
    shown: The default as the help text shows it, if not `default`.
    value: The placeholder for the value in the help text.
  """

  name: str
  text: str
  default: Any = None
  kind: type | None = None
  choices: tuple[str, ...] = ()
  minimum: float | None = None
  maximum: float | None = None
  shown: str = ''
  value: str = ''

  @property
  def type(self) -> type:
    return self.kind or (str if self.default is None else type(self.default))

  @property
  def heading(self) -> str:
    if self.type is bool:
      return f'--{self.name}'
    return f'--{self.name}={self.value or self.name.rpartition("_")[2].upper()}'

  @property
  def explanation(self) -> str:
    choices = f' One of {", ".join(self.choices)}.' if self.choices else ''
    default = self.default
    if isinstance(default, tuple | list):
      default = ','.join(map(str, default))
    shown = self.shown or ('' if default in (None, '', False) else str(default))
    return self.text + choices + (f' [{shown}]' if shown else '')

  def define(self, values: flags.FlagValues) -> None:
    """Adds the option to `values` as an absl flag."""
    bounds: dict[str, Any] = {'lower_bound': self.minimum, 'upper_bound': self.maximum}
    how: dict[Any, Callable[..., Any]] = {
      bool: flags.DEFINE_bool, tuple: flags.DEFINE_list, list: flags.DEFINE_list,
      str: flags.DEFINE_string,
    }  # fmt: skip
    if self.choices:
      flags.DEFINE_enum(self.name, self.default, self.choices, self.text, flag_values=values)
    elif self.type is int:
      flags.DEFINE_integer(self.name, self.default, self.text, flag_values=values, **bounds)
    elif self.type is float:
      flags.DEFINE_float(self.name, self.default, self.text, flag_values=values, **bounds)
    else:
      default = list(self.default) if isinstance(self.default, tuple) else self.default
      how[self.type](self.name, default, self.text, flag_values=values)


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """A parsed command line.

  Attributes:
    options: Value of every option, by name.
    operand: The positional argument; '' if the command has none, the first one of several.
    config: The config named by --config, with overrides applied; None without --config.
    operands: All positional arguments.
    config_arguments: The arguments that name the config and set its fields, for another command.
  """

  options: Mapping[str, Any]
  operand: str = ''
  config: ConfigDict | None = None
  operands: tuple[str, ...] = ()
  config_arguments: tuple[str, ...] = ()

  def __getitem__(self, name: str) -> Any:
    return self.options[name]


def describe_error(error: Exception) -> str:
  """Returns the message of an error that ends a command; for OSErrors with a remedy."""
  return describe_os_error(error, '') if isinstance(error, OSError) else str(error)


@dataclasses.dataclass(frozen=True)
class Command:
  """A subcommand, as data.

  Attributes:
    name: As typed after `autoresearch`.
    summary: Description in one line.
    text: Description in paragraphs separated by empty lines.
    options: All options but --config and --help.
    operand: Placeholder for its positional argument, or for those that it needs; one in brackets
      may be left out. '' if it has none.
    more_operands: Whether further ones may follow.
    config: Description of --config; '' if the command has no config.
    example: A config for messages and help.
    parts: Parts of the config that a config file may omit.
    describe: Returns sections of the help text about the config's fields. Its argument is the
      config named on the command line, if any. Or 'module:function', imported for help texts only.
    examples: Command line -> description.
    exit_codes: Exit code -> meaning.
  """

  name: str
  summary: str
  text: str
  options: tuple[Option, ...] = ()
  operand: str = ''
  more_operands: bool = False
  config: str = ''
  example: str = 'digits'
  parts: Sequence[str] = PARTS
  describe: Describe | str | None = None
  examples: Mapping[str, str] = dataclasses.field(default_factory=dict)
  exit_codes: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def parse(self, arguments: Sequence[str]) -> CommandLine:
    """Reads the arguments after the command's name.

    Raises:
      HelpRequested: With the help text.
      UsageError: An option or argument does not fit.
      ConfigError: The config cannot be loaded.
    """
    wanted = [a for a in arguments if a in ('--help', '-h', '-help', '--helpfull', '--helpshort')]
    # The fields of a config are only known once it is loaded, so --config comes first.
    rest = _config_first([a for a in arguments if a not in wanted])
    if wanted:
      raise HelpRequested(self.help(self._config_of(rest)))
    values = flags.FlagValues()
    line = [f'autoresearch {self.name}', *rest]
    for option in self.options:
      option.define(values)
    flag = None
    if self.config:
      flag = define_config(self.config, values, line, self.parts)
    try:
      operands = values(line)[1:]
    except flags.UnrecognizedFlagError as error:
      raise UsageError(self._unknown(error.flagname)) from None
    except PARSING_ERRORS as error:
      raise explained(error) from None
    options = {option.name: values[option.name].value for option in self.options}
    config = flag.value if flag is not None else None
    return CommandLine(
      options, self._operand(operands), config, tuple(operands), _config_arguments(rest, values)
    )

  def required_config(self, line: CommandLine) -> ConfigDict:
    """Returns the config. Raises ConfigError if there is none."""
    return values_of(line.config, f'Name a config, for instance --config={self.example}.')

  def help(self, config: ConfigDict | None = None) -> str:
    """Returns the help text, wrapped for the terminal.

    Args:
      config: Its values are shown as those of the config's fields.
    """
    width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
    rows = [(option.heading, option.explanation) for option in self.options]
    usage = f'autoresearch {self.name}'
    if self.config:
      rows.insert(0, ('--config=NAME[:VARIANT]', self.config))
      rows.insert(1, ('--config.FIELD=VALUE', 'Sets a field of the config; the fields are below.'))
      usage += ' --config=NAME [--config.FIELD=VALUE ...]'
    rows.append(('--help', 'Shows this text.'))
    usage += ' [OPTIONS]' if self.options else ''
    usage += f' {self.operand}' if self.operand else ''
    parts = [f'Usage: {usage}', *(textwrap.fill(p, width) for p in paragraphs(self.text))]
    parts.append('Options:\n' + table(rows, width))
    for heading, fields in self._described(config):
      parts.append(f'{textwrap.fill(heading, width)}\n{table(fields, width)}')
    if self.examples:
      lines = [f'  {line}\n      {what}' for line, what in self.examples.items()]
      parts.append('Examples:\n' + '\n'.join(lines))
    if self.exit_codes:
      parts.append('Exit codes:\n' + table(self.exit_codes.items(), width, column=8))
    return '\n\n'.join(parts)

  def _described(self, config: ConfigDict | None) -> list[Section]:
    describe = self.describe
    if isinstance(describe, str):
      module, _, name = describe.partition(':')
      describe = getattr(importlib.import_module(module), name)
    return describe(config) if describe else []

  def _config_of(self, arguments: Sequence[str]) -> ConfigDict | None:
    """Returns the config that the help text describes; None if none can be loaded."""
    try:
      return self.parse(arguments).config
    except (UsageError, ConfigError):
      return None

  def _unknown(self, name: str) -> str:
    names = [option.name for option in self.options] + (['config'] if self.config else [])
    near = difflib.get_close_matches(name, names, n=1)
    if near:
      hint = f'did you mean --{near[0]}?'
    elif names:
      hint = f'the options are {", ".join(f"--{n}" for n in names)}.'
    else:
      hint = 'it has none.'
    return f'--{name} is not an option of `autoresearch {self.name}`; {hint}'

  def _operand(self, operands: Sequence[str]) -> str:
    names = self.operand.split()
    needed = len([name for name in names if not name.startswith('[')])
    if operands and (needed <= len(operands) <= len(names) or (names and self.more_operands)):
      return operands[0]
    if len(operands) < needed:
      missing = ' and the '.join(self.operand.split()[len(operands) :])
      raise UsageError(f'Name the {missing}: `autoresearch {self.name} {self.operand}`.')
    if not operands:
      return ''
    surplus = operands[-1]
    options = ', '.join(f'--{n}' for n in [*(['config'] if self.config else []),
                                           *(option.name for option in self.options)])  # fmt: skip
    hint = f'; did you mean --config={surplus}?' if self.config else '.'
    if self.operand:
      hint = f'; it takes one {self.operand.strip("[]")}.'
    elif options:
      hint += f' The options are {options}.'
    raise UsageError(f'`autoresearch {self.name}` does not take the argument {surplus!r}{hint}')

  def run(
    self,
    body: Callable[[CommandLine], int],
    arguments: Sequence[str],
    errors: tuple[type[Exception], ...] = (),
    interrupted: str = 'Stopped.',
    sentence: Callable[[Exception], str] = describe_error,
  ) -> int:
    """Reads the arguments and runs the command; returns its exit code.

    Args:
      body: The command itself.
      arguments: Those after the command's name.
      errors: Exceptions of `body` that are printed as a message, with exit code 2.
      interrupted: Message after Ctrl-C.
      sentence: Returns the message of an error.
    """
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
      faulthandler.enable()
    try:
      return body(self.parse(arguments))
    except HelpRequested as text:
      print(text)
      return 0
    except UsageError as error:
      print(f'{error} See `autoresearch {self.name} --help`.', file=sys.stderr)
      return BAD_INPUT
    except KeyboardInterrupt:
      print(interrupted, file=sys.stderr)
      return INTERRUPTED
    except BrokenPipeError:  # an OSError, which is no error of the command's
      raise
    except (ConfigError, *errors) as error:
      print(sentence(error), file=sys.stderr)
      return BAD_INPUT


def paragraphs(text: str) -> list[str]:
  """Returns the paragraphs of a text, each on one line."""
  return [' '.join(part.split()) for part in textwrap.dedent(text).strip().split('\n\n')]


def table(rows: Iterable[Row], width: int, indent: int = INDENT, column: int = COLUMN) -> str:
  """Formats rows with names on the left and wrapped explanations on the right."""
  lines = []
  for name, text in rows:
    wrapped = textwrap.wrap(text, width - column) or ['']
    if len(name) + indent + 2 > column:
      lines.append(' ' * indent + name)
    else:
      lines.append((' ' * indent + name).ljust(column) + wrapped.pop(0))
    lines += [' ' * column + line for line in wrapped]
  return '\n'.join(line.rstrip() for line in lines)


def _config_arguments(arguments: Sequence[str], values: flags.FlagValues) -> tuple[str, ...]:
  """Returns --config, --config.FIELD and --noconfig.FIELD with their values.

  Args:
    arguments: The arguments of the command.
    values: The flags that were read from them.
  """
  found: list[str] = []
  waiting = iter(arguments)
  for argument in waiting:
    name, equals, _ = argument.lstrip('-').partition('=')
    if argument.startswith('-') and re.match(r'config$|(no)?config\.', name):
      found.append(argument)
      if not equals and name in values and not values[name].boolean:
        found.append(next(waiting))
  return tuple(found)


def _config_first(arguments: Sequence[str]) -> list[str]:
  """Moves --config=NAME to the front."""
  front: list[str] = []
  rest: list[str] = []
  waiting = iter(arguments)
  for argument in waiting:
    bare = argument.lstrip('-')
    if argument.startswith('-') and bare.startswith('config='):
      front.append(argument)
    elif argument.startswith('-') and bare == 'config':
      front += [argument, *([value] if (value := next(waiting, None)) is not None else [])]
    else:
      rest.append(argument)
  return front + rest
