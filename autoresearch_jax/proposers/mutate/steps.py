"""How the value of a constant changes: functions that draw a new value.

A `ValueStep` takes the value, a direction (+1 or -1), the generator and the range of factors. It
returns None if the value cannot change that way or has another type. A value of 0 cannot be scaled:
going up, it becomes `first` times a drawn factor.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class FactorRange:
  """Range of the factor, drawn log-uniformly, by which a value is multiplied or divided.

  Attributes:
    low: Smallest factor, above 1.
    high: Largest factor.
  """

  low: float = 1.15
  high: float = 3.0


ValueStep = Callable[[Any, int, np.random.Generator, FactorRange], Any]
DIGITS = 2  # significant digits of a drawn number: trials cannot resolve more


def scale(
  low: float = 0.0, high: float = math.inf, first: float = 0.1, exponent: int = 1
) -> ValueStep:
  """Multiplies or divides by a factor, within [low, high]. Ints stay ints.

  Args:
    low: Smallest value.
    high: Largest value.
    first: Scale of the value that replaces 0.
    exponent: Power of the factor, for constants that matter only on a coarse scale.
  """

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    if not _is_number(value):
      return None
    if value == 0:
      return significant(first * log_uniform(rng, factors)) if direction > 0 else None
    new = significant(value * log_uniform(rng, factors) ** (exponent * direction))
    if isinstance(value, int):
      new = round(new)
      new = value + direction if new == value else new
    return _clipped(new, value, low, high)

  return step


def fraction(low: float = 0.0, high: float = 1.0, first: float = 0.1) -> ValueStep:
  """Adds or subtracts 5 to 25 % of the range; rounded to hundredths."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    if not _is_number(value):
      return None
    if value == 0:
      new = first * log_uniform(rng, factors)
    else:
      new = value + direction * rng.uniform(0.05, 0.25) * (high - low)
    if value == 0 and direction < 0:
      return None
    return _clipped(round(min(max(new, low), high), 2), value, low, high)

  return step


def one_minus(low: float = 0.0, high: float = 0.9999) -> ValueStep:
  """Scales 1 - value, for decay rates near 1: with factor 2, 0.95 becomes 0.975 or 0.9."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    if not _is_number(value) or not 0 <= value < 1:
      return None
    new = 1 - significant((1 - value) * log_uniform(rng, factors) ** -direction)
    return _clipped(round(new, 6), value, low, high)

  return step


def integer(low: int = 1, high: int = 2**31, second_probability: float = 0.3) -> ValueStep:
  """Adds or subtracts 1, or with `second_probability` 2."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    del factors
    if not isinstance(value, int) or isinstance(value, bool):
      return None
    distance = 2 if rng.random() < second_probability else 1
    return _clipped(value + direction * distance, value, low, high)

  return step


def power_of_two(low: int = 1, high: int = 2**31, second_probability: float = 0.3) -> ValueStep:
  """Moves to the next power of two, or with `second_probability` to the one after it."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    del factors
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
      return None
    exponent = math.log2(value)
    nearest = math.floor(exponent + 1) if direction > 0 else math.ceil(exponent - 1)
    nearest += direction * (rng.random() < second_probability)
    return _clipped(2 ** max(0, nearest), value, low, high)

  return step


def multiple_of(divisor: int, low: int, high: int) -> ValueStep:
  """Multiplies or divides by a factor and rounds to a multiple of `divisor`."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
      return None
    new = divisor * round(value * log_uniform(rng, factors) ** direction / divisor)
    if new == value:
      new += direction * divisor
    return _clipped(new, value, low, high)

  return step


def letters(alphabet: str, max_length: int = 6) -> ValueStep:
  """Draws a string with a larger (up) or smaller (down) share of the alphabet's last letter."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    del factors
    if not isinstance(value, str) or not value or set(value) - set(alphabet):
      return None
    last = alphabet[-1]
    length = int(rng.integers(1, max_length + 1))
    drawn = ''.join(rng.choice(list(alphabet), size=length))
    old, new = value.count(last) / len(value), drawn.count(last) / length
    return drawn if (new - old) * direction > 0 else None

  return step


def negate(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
  """Sets a bool to True (up) or False (down); None if it is that already."""
  del rng, factors
  return (direction > 0) if isinstance(value, bool) and value != (direction > 0) else None


def one_element(inner: ValueStep) -> ValueStep:
  """Changes one random element of a tuple by the inner step."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    if not isinstance(value, tuple) or not value:
      return None
    place = int(rng.integers(len(value)))
    new = inner(value[place], direction, rng, factors)
    return None if new is None else (*value[:place], new, *value[place + 1 :])

  return step


def shorten(min_length: int) -> ValueStep:
  """Removes the last element of a tuple (down only) while at least `min_length` remain."""

  def step(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
    del rng, factors
    if not isinstance(value, tuple) or direction > 0 or len(value) <= min_length:
      return None
    return value[:-1]

  return step


def by_type(value: Any, direction: int, rng: np.random.Generator, factors: FactorRange) -> Any:
  """Chooses a step by type and size of the value, for constants that no rule matches."""
  if isinstance(value, bool):
    step: ValueStep = negate
  elif isinstance(value, int):
    small = integer(low=min(value, 1))
    is_power = value >= 8 and value.bit_count() == 1
    step = power_of_two() if is_power else scale() if value > 12 else small
  elif isinstance(value, float):
    step = one_minus() if 0.75 <= value < 1 else scale()
  elif isinstance(value, tuple) and all(map(_is_number, value)):
    step = one_element(by_type)
  else:
    return None
  return step(value, direction, rng, factors)


def significant(value: float) -> float:
  """Rounds to DIGITS significant digits."""
  return float(f'{value:.{DIGITS}g}')


def log_uniform(rng: np.random.Generator, factors: FactorRange) -> float:
  """Draws a factor from the range."""
  return float(np.exp(rng.uniform(np.log(factors.low), np.log(factors.high))))


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _clipped(new: Any, value: Any, low: float, high: float) -> Any:
  """Clips the new value to [low, high]; None if that leaves the old one.

  An old value outside of the range widens it: the new one may lie as far out, but no farther.
  """
  low, high = min(low, value), max(high, value)
  new = type(new)(min(max(new, low), high))
  return None if new == value else new
