"""TPE: constants from where good trials are dense and bad ones are not.

Source: Bergstra et al., 2011, Algorithms for Hyper-Parameter Optimization; Optuna's TPESampler,
whose option names are used. `base.py` says how a run becomes an Optuna study.
"""

import dataclasses
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.samplers.base import SamplerStrategy


@STRATEGIES.register('tpe')
@dataclasses.dataclass(frozen=True)
class Tpe(SamplerStrategy):
  """The tree-structured Parzen estimator.

  Attributes:
    n_startup_trials: Completed trials before the first that is not sampled uniformly.
    n_ei_candidates: Candidates per ask, of which the one with the best expected improvement is run.
    multivariate: Whether constants are modelled jointly.
    constant_liar: Whether running trials count as bad ones, so that parallel trials keep apart.
  """

  n_startup_trials: int = 10
  n_ei_candidates: int = 24
  multivariate: bool = True
  constant_liar: bool = True
  title: ClassVar[str] = 'tpe'

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(0, self, 'tpe', 'n_startup_trials')
    require_at_least(1, self, 'tpe', 'n_ei_candidates')

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
      seed=seed,
      n_startup_trials=self.n_startup_trials,
      n_ei_candidates=self.n_ei_candidates,
      multivariate=self.multivariate,
      constant_liar=self.constant_liar,
    )
