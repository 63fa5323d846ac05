"""How a value moves: each step takes (value, direction, generator, sizes) and gives a new value.

direction is +1 or -1. None means that the value cannot move that way (or is of another type). A
value that is zero takes a first step that its constructor was given.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How far a step in scale goes: a factor drawn log-uniformly between the two."""

  smallest: float = 1.15
  largest: float = 3.0


Step = Callable[[Any, int, np.random.Generator, Sizes], Any]
DIGITS = 2  # significant digits of a drawn number: finer than any trial can tell apart


def scale(low: float = 0.0, high: float = math.inf, first: float = 0.1, reach: int = 1) -> Step:
  """Times or divided by a log-uniform factor; within [low, high]. Ints stay ints.

  reach: power of the factor, for what must move far to have an effect.
  """

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    if not _number(value):
      return None
    if value == 0:
      return significant(first * _factor(rng, sizes)) if direction > 0 else None
    moved = significant(value * _factor(rng, sizes) ** (reach * direction))
    if isinstance(value, int):
      moved = round(moved)
      moved = value + direction if moved == value else moved
    return _within(moved, value, low, high)

  return step


def share(low: float = 0.0, high: float = 1.0, first: float = 0.1) -> Step:
  """Up or down by 5 to 25 % of the range; in hundredths."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    if not _number(value):
      return None
    if value == 0:
      moved = first * _factor(rng, sizes)
    else:
      moved = value + direction * rng.uniform(0.05, 0.25) * (high - low)
    if value == 0 and direction < 0:
      return None
    return _within(round(min(max(moved, low), high), 2), value, low, high)

  return step


def complement(low: float = 0.0, high: float = 0.9999) -> Step:
  """For decays near 1: the distance to 1 is scaled, so 0.95 goes to 0.975 as well as to 0.9."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    if not _number(value) or not 0 <= value < 1:
      return None
    moved = 1 - significant((1 - value) * _factor(rng, sizes) ** -direction)
    return _within(round(moved, 6), value, low, high)

  return step


def neighbour(low: int = 1, high: int = 2**31, far: float = 0.3) -> Step:
  """An int's neighbour; with probability `far` the one after it."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    del sizes
    if not isinstance(value, int) or isinstance(value, bool):
      return None
    distance = 2 if rng.random() < far else 1
    return _within(value + direction * distance, value, low, high)

  return step


def power(low: int = 1, high: int = 2**31, far: float = 0.3) -> Step:
  """Doubled or halved, with probability `far` twice; what is no power of two moves to one."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    del sizes
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
      return None
    exponent = math.log2(value)
    nearest = math.floor(exponent + 1) if direction > 0 else math.ceil(exponent - 1)
    nearest += direction * (rng.random() < far)
    return _within(2 ** max(0, nearest), value, low, high)

  return step


def multiple(of: int, low: int, high: int) -> Step:
  """A size scaled and rounded to a multiple of `of`."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
      return None
    moved = of * round(value * _factor(rng, sizes) ** direction / of)
    if moved == value:
      moved += direction * of
    return _within(moved, value, low, high)

  return step


def pattern(letters: str, longest: int = 6) -> Step:
  """Up: more of the last letter of `letters` in the string; down: less of it."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    del sizes
    if not isinstance(value, str) or not value or set(value) - set(letters):
      return None
    most = letters[-1]
    length = int(rng.integers(1, longest + 1))
    drawn = ''.join(rng.choice(list(letters), size=length))
    old, new = value.count(most) / len(value), drawn.count(most) / length
    return drawn if (new - old) * direction > 0 else None

  return step


def flip(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
  """A bool's other value."""
  del rng, sizes
  return (direction > 0) if isinstance(value, bool) and value != (direction > 0) else None


def element(inner: Step) -> Step:
  """Of a tuple, one element by the inner step."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    if not isinstance(value, tuple) or not value:
      return None
    place = int(rng.integers(len(value)))
    moved = inner(value[place], direction, rng, sizes)
    return None if moved is None else (*value[:place], moved, *value[place + 1 :])

  return step


def shorten(least: int) -> Step:
  """Down: a tuple without its last element, as long as `least` are left."""

  def step(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
    del rng, sizes
    if not isinstance(value, tuple) or direction > 0 or len(value) <= least:
      return None
    return value[:-1]

  return step


def by_type(value: Any, direction: int, rng: np.random.Generator, sizes: Sizes) -> Any:
  """For a constant that no rule knows: what its value looks like decides."""
  if isinstance(value, bool):
    chosen: Step = flip
  elif isinstance(value, int):
    small = neighbour(low=min(value, 1))
    chosen = power() if value >= 8 and value.bit_count() == 1 else scale() if value > 12 else small
  elif isinstance(value, float):
    chosen = complement() if 0.75 <= value < 1 else scale()
  elif isinstance(value, tuple) and all(map(_number, value)):
    chosen = element(by_type)
  else:
    return None
  return chosen(value, direction, rng, sizes)


def significant(value: float) -> float:
  """The value with DIGITS significant digits."""
  return float(f'{value:.{DIGITS}g}')


def _factor(rng: np.random.Generator, sizes: Sizes) -> float:
  return float(np.exp(rng.uniform(np.log(sizes.smallest), np.log(sizes.largest))))


def _number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _within(moved: Any, value: Any, low: float, high: float) -> Any:
  """The moved value held in [low, high], None when nothing is left of the step.

  A value that lies outside already may move, but no farther out.
  """
  low, high = min(low, value), max(high, value)
  moved = type(moved)(min(max(moved, low), high))
  return None if moved == value else moved
