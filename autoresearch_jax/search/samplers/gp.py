"""Bayesian optimisation: constants of the largest expected improvement under a Gaussian process.

Source: Jones et al., 1998, Efficient Global Optimization; Optuna's GPSampler, which needs torch.
See `sampling` for how a run becomes an Optuna study.
"""

import dataclasses
import importlib.util
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.samplers.base import Sampling


@STRATEGIES.register('gp')
@dataclasses.dataclass(frozen=True)
class Gp(Sampling):
  """startup: completed trials before the first that is not random."""

  startup: int = 10
  title: ClassVar[str] = 'gp'

  def __post_init__(self) -> None:
    super().__post_init__()
    if importlib.util.find_spec('torch') is None:
      raise ValueError(
        'The strategy gp fits its process with torch, which is not installed here: pip install '
        "'autoresearch_jax[gp]', or choose tpe or cma_es."
      )
    if self.startup < 1:
      raise ValueError(f'startup is {self.startup}; a process needs at least 1 trial to fit.')

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.startup)
