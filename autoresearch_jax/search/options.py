"""Checks of options that many strategies share. The sentences name the option and what it may be.

Written so that NaN, which compares with nothing, fits nowhere.
"""

from typing import Any


def require_at_least(least: int, strategy: Any, title: str, *options: str) -> None:
  """Raises ValueError for an option of a strategy, registered as `title`, that is below `least`."""
  for option in options:
    value = getattr(strategy, option)
    if not value >= least:
      must = 'must not be below 0' if least == 0 else f'must be at least {least}'
      raise ValueError(f'{option} of {title} is {value}; it {must}.')


def require_share(strategy: Any, title: str, *options: str) -> None:
  """Raises ValueError for options that are no shares of one whole: below 0, or together above 1."""
  values = [getattr(strategy, option) for option in options]
  if all(value >= 0 for value in values) and sum(values) <= 1:
    return
  if len(options) == 1:
    raise ValueError(f'{options[0]} of {title} is {values[0]}; it must be from 0 to 1.')
  names, said = ' and '.join(options), ' and '.join(map(str, values))
  raise ValueError(f'{names} of {title} are {said}; they are shares, and their sum is at most 1.')
