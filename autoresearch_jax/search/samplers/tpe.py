"""TPE: constants where good trials are dense and bad ones are not.

Source: Bergstra et al., 2011, Algorithms for Hyper-Parameter Optimization; Optuna's TPESampler.
See `sampling` for how a run becomes an Optuna study.
"""

import dataclasses
from typing import ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.samplers.base import Sampling


@STRATEGIES.register('tpe')
@dataclasses.dataclass(frozen=True)
class Tpe(Sampling):
  """startup: completed trials before the first that is not random. candidates: draws an ask.

  multivariate: whether constants are modelled together. liar: whether trials under way count as
  bad ones, so that several at once keep apart.
  """

  startup: int = 10
  candidates: int = 24
  multivariate: bool = True
  liar: bool = True
  title: ClassVar[str] = 'tpe'

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.startup < 0 or self.candidates < 1:
      raise ValueError(
        f'startup is {self.startup} and candidates is {self.candidates}; they must be at least '
        f'0 and 1.'
      )

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
      seed=seed,
      n_startup_trials=self.startup,
      n_ei_candidates=self.candidates,
      multivariate=self.multivariate,
      constant_liar=self.liar,
    )
