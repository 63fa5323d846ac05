"""Any sampler of Optuna by name: NSGA-II, quasi-random points, or one from another package.

Source: Optuna (Akiba et al., 2019, arXiv 1907.10902); NSGA-II: Deb et al., 2002, with one
objective a genetic algorithm. `base.py` says how a run becomes an Optuna study.
"""

import dataclasses
import importlib
from typing import Any, ClassVar

import optuna

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.samplers.base import SamplerStrategy


@STRATEGIES.register('optuna')
@dataclasses.dataclass(frozen=True)
class OptunaSampler(SamplerStrategy):
  """A sampler of Optuna.

  Attributes:
    sampler_name: A class in `optuna.samplers`, or `PACKAGE:CLASS`.
    sampler_options: Its arguments. The seed is set for each ask, unless it is here.
  """

  sampler_name: str = 'NSGAIISampler'
  sampler_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  title: ClassVar[str] = 'optuna'

  def __post_init__(self) -> None:
    super().__post_init__()
    self.sampler(0)  # a wrong name or option is an error before the run

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    package, _, name = self.sampler_name.rpartition(':')
    kinds = importlib.import_module(package or 'optuna.samplers')
    kind = getattr(kinds, name, None)
    if kind is None:
      known = sorted(n for n in dir(optuna.samplers) if n.endswith('Sampler'))
      raise ValueError(
        f'sampler_name is {self.sampler_name!r}; {package or "optuna.samplers"} has no {name}. '
        f'Optuna has: {", ".join(known)}.'
      )
    options = {'seed': seed, **self.sampler_options}
    try:
      return kind(**options)
    except TypeError as error:
      raise ValueError(f'sampler_options of {self.sampler_name} are wrong: {error}.') from error
