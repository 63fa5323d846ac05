"""CMA-ES: constants from a normal distribution whose mean, step size and covariance are learnt.

Source: Hansen, 2016, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772; Optuna's
CmaEsSampler over the package cmaes, whose option names are used. It starts at the middle of the
search space, which is the program's own value where ranges are derived from a positive one.
Constants with choices are sampled uniformly. `base.py` says how a run becomes an Optuna study.
"""

import dataclasses
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.samplers.base import SamplerStrategy

MAX_POPSIZE = 100_000


@STRATEGIES.register('cma_es')
@dataclasses.dataclass(frozen=True)
class CmaEs(SamplerStrategy):
  """The covariance matrix adaptation evolution strategy.

  Attributes:
    n_startup_trials: Completed trials before the first that is not sampled uniformly.
    popsize: Trials per generation; 0 for the tutorial's 4 + floor(3 ln dimensions).
    with_margin: Whether integers keep a minimum probability of changing (Hamano et al., 2022, arXiv
      2205.13482).
  """

  n_startup_trials: int = 1
  popsize: int = 0
  with_margin: bool = False
  title: ClassVar[str] = 'cma_es'
  forgets_dropped: ClassVar[bool] = True

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(0, self, self.title, 'n_startup_trials')
    if not 4 <= self.popsize <= MAX_POPSIZE and self.popsize != 0:
      raise ValueError(
        f'popsize of {self.title} is {self.popsize}; it must be 4 to {MAX_POPSIZE}, or 0 for the '
        'default.'
      )

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
      seed=seed,
      n_startup_trials=self.n_startup_trials,
      popsize=self.popsize or None,
      with_margin=self.with_margin,
    )
