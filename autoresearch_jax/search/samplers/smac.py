"""SMAC3: Bayesian optimization with a random forest, which takes choices and integers as they are.

Source: Lindauer et al., 2022, SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter
Optimization, JMLR 23(54), https://www.jmlr.org/papers/v23/21-0888.html. Needs the extra `smac`.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, ClassVar

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.samplers.ask_tell import AskTellOptimizer, AskTellStrategy
from autoresearch_jax.search.samplers.space import Dimension, Value

FACADES = ('HyperparameterOptimizationFacade', 'BlackBoxFacade', 'RandomFacade')


@STRATEGIES.register('smac')
@dataclasses.dataclass(frozen=True)
class Smac(AskTellStrategy):
  """An optimizer of SMAC3.

  Attributes:
    facade: HyperparameterOptimizationFacade (random forest), BlackBoxFacade (Gaussian process) or
      RandomFacade.
    budget: Trials of the run, by which SMAC chooses the size of its initial design.
  """

  facade: str = FACADES[0]
  budget: int = 200
  title: ClassVar[str] = 'smac'

  def __post_init__(self) -> None:
    super().__post_init__()
    require_at_least(1, self, self.title, 'budget')
    if self.facade not in FACADES:
      raise ValueError(f'smac: facade is {self.facade!r}; choose one of {", ".join(FACADES)}.')
    if importlib.util.find_spec('smac') is None:
      raise ValueError(
        'The strategy smac needs SMAC3, which is not installed: pip install '
        "'autoresearch_jax[smac]', or choose tpe or cma_es."
      )

  def optimizer(self, space: tuple[Dimension, ...], seed: int) -> AskTellOptimizer:
    return SmacOptimizer(space, seed, self.facade, self.budget)


class SmacOptimizer(AskTellOptimizer):
  """Asks a facade of SMAC3, which minimizes, without its target function and files."""

  def __init__(self, space: tuple[Dimension, ...], seed: int, facade: str, budget: int):
    smac: Any = importlib.import_module('smac')
    self._history: Any = importlib.import_module('smac.runhistory')
    configuration: Any = importlib.import_module('ConfigSpace')
    seed %= 2**31
    self._space = configuration.ConfigurationSpace(seed=seed)
    self._space.add([_parameter(configuration, dimension) for dimension in space])
    made = getattr(smac, facade)
    with tempfile.TemporaryDirectory() as folder:  # it writes its scenario there
      scenario = smac.Scenario(
        self._space, deterministic=True, n_trials=budget, seed=seed,
        output_directory=pathlib.Path(folder),
      )  # fmt: skip
      self._facade = made(
        scenario, lambda config, seed=0: 0.0, intensifier=_intensifier(made, scenario),
        logging_level=False, overwrite=True,
      )  # fmt: skip
    self._facade.optimizer.save = lambda: None
    self._configuration = configuration
    self._asked: dict[tuple[tuple[str, Value], ...], Any] = {}

  def ask(self) -> Mapping[str, Value]:
    info = self._facade.ask()
    values = dict(info.config)
    self._asked[_key(values)] = info
    return values

  def tell(self, values: Mapping[str, Value], score: float) -> None:
    info = self._asked.pop(_key(values), None)
    if info is None:
      config = self._configuration.Configuration(self._space, values=dict(values))
      info = self._history.TrialInfo(config, seed=self._facade.scenario.seed)
    self._facade.tell(info, self._history.TrialValue(cost=-score), save=False)


def _intensifier(facade: Any, scenario: Any) -> Any:
  """One evaluation of each configuration: acceptance, not SMAC, decides on repetitions."""
  return facade.get_intensifier(scenario, max_config_calls=1)


def _key(values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
  return tuple(sorted(values.items()))


def _parameter(configuration: Any, dimension: Dimension) -> Any:
  name = dimension.name
  if dimension.choices:
    return configuration.CategoricalHyperparameter(name, list(dimension.choices))
  log = bool(dimension.log or dimension.powers)
  bounds = (dimension.low, dimension.high)
  if dimension.integer:
    low, high = (round(bound) for bound in bounds)
    return configuration.UniformIntegerHyperparameter(name, low, high, log=log)
  return configuration.UniformFloatHyperparameter(name, *map(float, bounds), log=log)
