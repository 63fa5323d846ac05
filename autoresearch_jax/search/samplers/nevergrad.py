"""Nevergrad's optimizers: by default NGOpt, which chooses one by dimension, types and budget.

Source: Rapin and Teytaud, Nevergrad - A gradient-free optimization platform, 2018; NGOpt: Meunier
et al., 2022, Black-Box Optimization Revisited, arXiv 2010.04542. Needs the extra `nevergrad`.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.samplers.ask_tell import AskTellOptimizer, AskTellStrategy
from autoresearch_jax.search.samplers.space import Dimension, Value


@STRATEGIES.register('nevergrad')
@dataclasses.dataclass(frozen=True)
class Nevergrad(AskTellStrategy):
  """An optimizer of Nevergrad.

  Attributes:
    algorithm: Its name in Nevergrad's registry, such as NGOpt, OnePlusOne, DE, PSO.
    budget: Trials of the run, by which NGOpt chooses.
  """

  algorithm: str = 'NGOpt'
  budget: int = 200
  title: ClassVar[str] = 'nevergrad'

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, self.title, 'budget')
    if importlib.util.find_spec('nevergrad') is None:
      raise ValueError(
        'The strategy nevergrad needs Nevergrad, which is not installed: pip install '
        "'autoresearch_jax[nevergrad]', or choose tpe or cma_es."
      )

  def optimizer(self, space: tuple[Dimension, ...], seed: int) -> AskTellOptimizer:
    return NevergradOptimizer(space, seed, self.algorithm, self.budget)


class NevergradOptimizer(AskTellOptimizer):
  """Asks one of Nevergrad's optimizers, which minimise."""

  def __init__(self, space: tuple[Dimension, ...], seed: int, algorithm: str, budget: int):
    nevergrad: Any = importlib.import_module('nevergrad')
    self._space = nevergrad.p.Dict(**{d.name: _parameter(nevergrad.p, d) for d in space})
    self._space.random_state.seed(seed)
    try:
      made = nevergrad.optimizers.registry[algorithm]
    except KeyError:
      raise ValueError(f'Nevergrad has no algorithm {algorithm!r}; try NGOpt.') from None
    self._optimizer = made(parametrization=self._space, budget=budget, num_workers=1)
    self._asked: dict[tuple[tuple[str, Value], ...], Any] = {}

  def ask(self) -> Mapping[str, Value]:
    candidate = self._optimizer.ask()
    self._asked[_key(candidate.value)] = candidate
    return candidate.value

  def tell(self, values: Mapping[str, Value], score: float) -> None:
    candidate = self._asked.pop(_key(values), None)
    if candidate is None:
      candidate = self._space.spawn_child(new_value=dict(values))
    self._optimizer.tell(candidate, -score)


def _key(values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
  return tuple(sorted(values.items()))


def _parameter(p: Any, dimension: Dimension) -> Any:
  if dimension.choices:
    return p.Choice(dimension.choices)
  if dimension.log or dimension.powers:
    made = p.Log(init=dimension.value, lower=dimension.low, upper=dimension.high)
  else:
    made = p.Scalar(init=dimension.value, lower=dimension.low, upper=dimension.high)
  return made.set_integer_casting() if dimension.integer else made
