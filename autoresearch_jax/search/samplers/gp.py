"""Bayesian optimisation: constants with the best expected improvement under a Gaussian process.

Source: Jones et al., 1998, Efficient Global Optimization; Optuna's GPSampler, which needs torch.
`base.py` says how a run becomes an Optuna study.
"""

import dataclasses
import importlib.util
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.samplers.base import SamplerStrategy


@STRATEGIES.register('gp')
@dataclasses.dataclass(frozen=True)
class Gp(SamplerStrategy):
  """Gaussian-process regression with expected improvement.

  Attributes:
    n_startup_trials: Completed trials before the first that is not sampled uniformly.
  """

  n_startup_trials: int = 10
  title: ClassVar[str] = 'gp'

  def __post_init__(self) -> None:
    super().__post_init__()
    if importlib.util.find_spec('torch') is None:
      raise ValueError(
        'The strategy gp needs torch, which is not installed: pip install '
        "'autoresearch_jax[gp]', or choose tpe or cma_es."
      )
    require_at_least(1, self, 'gp', 'n_startup_trials')

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.n_startup_trials)
