"""Checks of options that many strategies share; the messages name the option and its valid range.

The comparisons are written so that NaN fails all of them.
"""

from typing import Any

MAX_VALUE = 10**9


def require_at_least(minimum: int, strategy: Any, name: str, *options: str) -> None:
  """Checks that options are not below a minimum.

  Args:
    minimum: The smallest valid value.
    strategy: The strategy, whose attributes the options are.
    name: The strategy's registered name, for the message.
    *options: Names of the options.

  Raises:
    ValueError: An option is below the minimum.
  """
  for option in options:
    value = getattr(strategy, option)
    if not minimum <= value <= MAX_VALUE:
      bound = f'at least {minimum}' if not value >= minimum else f'at most {MAX_VALUE:,}'
      raise ValueError(f'{option} of {name} is {value}; it must be {bound}.')


def require_fractions(strategy: Any, name: str, *options: str) -> None:
  """Checks that options are fractions of one whole: none below 0, their sum at most 1.

  Args:
    strategy: The strategy, whose attributes the options are.
    name: The strategy's registered name, for the message.
    *options: Names of the options.

  Raises:
    ValueError: They are not.
  """
  values = [getattr(strategy, option) for option in options]
  if all(value >= 0 for value in values) and sum(values) <= 1:
    return
  if len(options) == 1:
    raise ValueError(f'{options[0]} of {name} is {values[0]}; it must be between 0 and 1.')
  names, numbers = ' and '.join(options), ' and '.join(map(str, values))
  raise ValueError(
    f'{names} of {name} are {numbers}; they must be fractions whose sum is at most 1.'
  )
