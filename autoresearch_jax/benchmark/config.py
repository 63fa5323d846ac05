"""The door of the benchmark command: a config becomes suites here, or a sentence says why not.

Every field that `configs/benchmark.py` sets is a field below, and unknown ones are refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from autoresearch_jax.benchmark.comparison import Suite
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec
from autoresearch_jax.benchmark.simulations import HELD_OUT
from autoresearch_jax.config import converted

PARTS = ('problems', 'strategies', 'acceptance')  # that a config file need not list


@dataclasses.dataclass(frozen=True)
class ProblemConfig:
  """A problem, labelled by its key in the config. The fields are those of `ProblemSpec`."""

  simulation: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  group: str = ''
  acceptance: str = 'strict'
  acceptance_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  sampled: bool = True


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
  """A strategy, whose label is its key."""

  strategy: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AcceptanceConfig:
  """An acceptance rule, whose label is its key."""

  acceptance: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AcceptanceSuiteConfig:
  """The second suite: each of `rules` with each of `strategies`. Without rules there is none.

  reference: label of the rule that the others are held against.
  """

  rules: dict[str, AcceptanceConfig] = dataclasses.field(default_factory=dict)
  strategies: dict[str, StrategyConfig] = dataclasses.field(default_factory=dict)
  problems: dict[str, ProblemConfig] = dataclasses.field(default_factory=dict)
  reference: str = 'strict'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
  """A whole benchmark. Field by field comments are in configs/benchmark.py."""

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
    """What is compared. Raises BenchmarkError with a sentence for what cannot be."""
    seeds = tuple(range(self.first_seed, self.first_seed + self.seeds))
    whole = Suite(
      'Strategies', _problems(self.problems), _entrants(self.strategies), seeds, self.trials,
      self.slots,
    )  # fmt: skip
    if not self.acceptance.rules:
      return [whole]
    compared = self.acceptance
    rules = tuple(
      AcceptanceSpec(k, row.acceptance, row.options) for k, row in compared.rules.items()
    )
    entrants = _entrants(compared.strategies)
    return [
      whole,
      Suite(
        'Acceptance rules', _problems(compared.problems), entrants, seeds, self.trials,
        self.slots, rules, references=(compared.reference,),
      ),
    ]  # fmt: skip


def benchmark_config(config: ConfigDict) -> BenchmarkConfig:
  """Raises ConfigError with the field's path."""
  return converted(config.to_dict(), BenchmarkConfig)


def _problems(rows: Mapping[str, ProblemConfig]) -> tuple[ProblemSpec, ...]:
  return tuple(
    ProblemSpec(k, r.simulation, r.options, r.group, r.acceptance, r.acceptance_options, r.sampled)
    for k, r in rows.items()
  )


def _entrants(rows: Mapping[str, StrategyConfig]) -> tuple[Entrant, ...]:
  return tuple(Entrant(k, row.strategy, row.options) for k, row in rows.items())
