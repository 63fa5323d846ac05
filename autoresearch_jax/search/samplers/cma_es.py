"""CMA-ES: constants from a normal distribution that learns its mean, size and shape.

Source: Hansen, 2016, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772; Optuna's
CmaEsSampler over the package cmaes. It starts at the middle of the space, which is the program's
own value where ranges are derived from a positive one. See `sampling` for how a run becomes an
Optuna study; constants with choices are drawn at random.
"""

import dataclasses
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.samplers.base import Sampling


@STRATEGIES.register('cma_es')
@dataclasses.dataclass(frozen=True)
class CmaEs(Sampling):
  """startup: completed trials before the first that is not random.

  population: trials a generation; 0: 4 + floor(3 ln dimensions), the tutorial's. margin: whether
  whole numbers keep a least probability to move (Hamano et al., 2022, arXiv 2205.13482).
  """

  startup: int = 1
  population: int = 0
  margin: bool = False
  title: ClassVar[str] = 'cma_es'
  redraws: ClassVar[bool] = True

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.startup < 0 or (self.population < 4 and self.population != 0):
      raise ValueError(
        f'startup is {self.startup} and population is {self.population}; startup must be at least '
        f'0, population at least 4, or 0 for the default.'
      )

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
      seed=seed,
      n_startup_trials=self.startup,
      popsize=self.population or None,
      with_margin=self.margin,
    )
