"""The benchmark's config as frozen dataclasses, and the suites that follow from it.

`configs/benchmark.py` has the same fields; unknown ones raise a ConfigError.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from autoresearch_jax.benchmark.comparison import Suite
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec
from autoresearch_jax.benchmark.simulations import HELD_OUT
from autoresearch_jax.config import converted

PARTS = ('problems', 'strategies', 'acceptance')  # mappings whose keys a config may choose freely


@dataclasses.dataclass(frozen=True)
class ProblemConfig:
  """A problem; its key in the config is its label. `ProblemSpec` explains the fields."""

  simulation: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  group: str = ''
  acceptance: str = 'strict'
  acceptance_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  sampled: bool = True


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
  """A strategy; its key in the config is its label."""

  strategy: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AcceptanceConfig:
  """An acceptance rule; its key in the config is its label."""

  acceptance: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AcceptanceSuiteConfig:
  """The second suite, which compares acceptance rules.

  Attributes:
    rules: The rules; none for no second suite.
    strategies: Each rule runs with each of these strategies.
    problems: The problems.
    reference: Label of the rule that the others are compared with.
  """

  rules: dict[str, AcceptanceConfig] = dataclasses.field(default_factory=dict)
  strategies: dict[str, StrategyConfig] = dataclasses.field(default_factory=dict)
  problems: dict[str, ProblemConfig] = dataclasses.field(default_factory=dict)
  reference: str = 'strict'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
  """A benchmark. The comments in configs/benchmark.py explain the fields."""

  name: str
  problems: dict[str, ProblemConfig]
  strategies: dict[str, StrategyConfig]
  trials: int
  seeds: int = 20
  first_seed: int = HELD_OUT
  slots: int = 1
  workers: int = 0
  call_price: float = 1.0
  acceptance: AcceptanceSuiteConfig = dataclasses.field(default_factory=AcceptanceSuiteConfig)

  def suites(self) -> list[Suite]:
    """Returns what to compare. Raises BenchmarkError."""
    seeds = tuple(range(self.first_seed, self.first_seed + self.seeds))
    strategies = Suite(
      'Strategies', _problems(self.problems), _entrants(self.strategies), seeds, self.trials,
      self.slots,
    )  # fmt: skip
    if not self.acceptance.rules:
      return [strategies]
    compared = self.acceptance
    rules = tuple(
      AcceptanceSpec(k, row.acceptance, row.options) for k, row in compared.rules.items()
    )
    entrants = _entrants(compared.strategies)
    return [
      strategies,
      Suite(
        'Acceptance rules', _problems(compared.problems), entrants, seeds, self.trials,
        self.slots, rules, references=(compared.reference,),
      ),
    ]  # fmt: skip


def benchmark_config(config: ConfigDict) -> BenchmarkConfig:
  """Converts a config. Raises ConfigError with the path of the wrong field."""
  return converted(config.to_dict(), BenchmarkConfig)


def _problems(rows: Mapping[str, ProblemConfig]) -> tuple[ProblemSpec, ...]:
  return tuple(
    ProblemSpec(k, r.simulation, r.options, r.group, r.acceptance, r.acceptance_options, r.sampled)
    for k, r in rows.items()
  )


def _entrants(rows: Mapping[str, StrategyConfig]) -> tuple[Entrant, ...]:
  return tuple(Entrant(k, row.strategy, row.options) for k, row in rows.items())
