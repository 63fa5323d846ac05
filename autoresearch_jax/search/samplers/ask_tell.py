"""Any optimizer with ask and tell as a strategy: a subclass says how to make it, in a few lines.

The state of a strategy is plain data, and an optimizer is not. So the state is the log of asks and
tells, as for Optuna's samplers (`base.py`), and the optimizer is made anew from the seed of the
first ask and led through the log again when it is needed. It must therefore be deterministic:
seeded with the number that it gets, and drawing from no other source.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from autoresearch_jax.search.samplers.base import SamplerStrategy
from autoresearch_jax.search.samplers.space import Dimension, Value
from autoresearch_jax.search.samplers.study import Add, Ask, Entry, Replayable, Space


class AskTellOptimizer(abc.ABC):
  """What an `AskTellStrategy` needs of an optimizer of constants."""

  @abc.abstractmethod
  def ask(self) -> Mapping[str, Value]:
    """Returns the next values to try, by name."""

  @abc.abstractmethod
  def tell(self, values: Mapping[str, Value], score: float) -> None:
    """Takes a result; larger is better.

    Results come in any order, also of values that were not asked for, such as the start's. A
    failure has the worst score so far.
    """


@dataclasses.dataclass(frozen=True)
class AskTellStrategy(SamplerStrategy):
  """Proposes constants from an optimizer of any library.

  Example:
    >>> import random
    >>> class RandomSearch(AskTellOptimizer):
    ...   def __init__(self, space, seed):
    ...     self.space, self.rng = space, random.Random(seed)
    ...   def ask(self):
    ...     return {d.name: self.rng.uniform(d.low, d.high) for d in self.space}
    ...   def tell(self, values, score):
    ...     pass
    >>> class RandomSearchStrategy(AskTellStrategy):
    ...   title = 'random_search'
    ...   def optimizer(self, space, seed):
    ...     return RandomSearch(space, seed)
    >>> import autoresearch_jax as ar
    >>> sphere = ('continuous', {'function': 'sphere', 'dimension': 2})
    >>> len(ar.compare([RandomSearchStrategy()], [sphere], trials=10, seeds=2).runs)
    2
  """

  @abc.abstractmethod
  def optimizer(self, space: tuple[Dimension, ...], seed: int) -> AskTellOptimizer:
    """Returns a new optimizer.

    Args:
      space: The constants. A dimension has `name`, `value` (the start's), and either `choices` or
        `low`, `high`, `log` and `integer`.
      seed: Seeds all of its randomness.
    """

  def sampler(self, seed: int) -> Any:
    raise NotImplementedError(f'{self.title} is no Optuna sampler.')

  def study(self, space: Space) -> 'ReplayableOptimizer':
    return ReplayableOptimizer(self, space)


class ReplayableOptimizer(Replayable):
  """An optimizer with the log that led to it, as `ReplayableStudy` is for Optuna."""

  def __init__(self, strategy: AskTellStrategy, space: Space):
    super().__init__(strategy, space)
    self._strategy = strategy
    self._optimizer: AskTellOptimizer | None = None
    self._told: list[tuple[Mapping[str, Value], float]] = []  # before the first ask
    self._numbers = 0
    self._asked: dict[int, Mapping[str, Value]] = {}

  def ask(self, seed: int) -> Ask:
    """Asks for a point, and logs it. The first seed makes the optimizer; others are ignored."""
    if self._optimizer is None:
      self._optimizer = self._strategy.optimizer(self.space, seed)
      for values, score in self._told:
        self._optimizer.tell(values, score)
    answer = self._optimizer.ask()
    values = tuple(_value(d, answer[d.name]) for d in self.space)
    entry = Ask(self._numbers, seed, values)
    self._asked[self._numbers] = self._named(values)
    self._numbers += 1
    self.log = (*self.log, entry)
    return entry

  def take(self, entry: Entry) -> None:
    if isinstance(entry, Ask):
      if self.ask(entry.seed) != entry:
        raise RuntimeError(
          f'{self._strategy.title} answers ask {entry.number} differently from the ledger: it is '
          'not deterministic, or another version of its library wrote the ledger.'
        )
      return
    if isinstance(entry, Add):
      self._numbers += 1
      self._tell(self._named(entry.values), entry.score)
    elif entry.score is not None:
      self._tell(self._asked[entry.number], entry.score)
    self.log = (*self.log, entry)

  def _tell(self, values: Mapping[str, Value], score: float) -> None:
    if self._optimizer is None:
      self._told.append((values, score))
    else:
      self._optimizer.tell(values, score)

  def _named(self, values: tuple[Value, ...]) -> dict[str, Value]:
    return {d.name: value for d, value in zip(self.space, values, strict=True)}


def _value(dimension: Dimension, value: Value) -> Value:
  """Returns an answer as a value of the dimension: of Python's types, rounded, within the range."""
  if dimension.choices:
    return next(c for c in dimension.choices if c == value)
  number = min(max(float(value), dimension.low), dimension.high)
  if dimension.powers:
    return 2 ** round(math.log2(number))
  return round(number) if dimension.integer else float(number)
