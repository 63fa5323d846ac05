"""The door of the benchmark command: a config becomes studies here, or a sentence says why not.

Every field that `configs/benchmark.py` sets is a field below, and unknown ones are refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from autoresearch_jax.benchmark.comparison import Study
from autoresearch_jax.benchmark.runners.specs import Contestant, Problem, Rule
from autoresearch_jax.benchmark.simulations import HELD_OUT
from autoresearch_jax.config import converted

PARTS = ('problems', 'strategies', 'acceptance')  # that a config file need not list


@dataclasses.dataclass(frozen=True)
class ProblemRow:
  """A problem, whose label is its key in the config; the fields are those of `cells.Problem`."""

  simulation: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  group: str = ''
  acceptance: str = 'strict'
  acceptance_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  sampled: bool = True


@dataclasses.dataclass(frozen=True)
class StrategyRow:
  """A strategy, whose label is its key."""

  strategy: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RuleRow:
  """An acceptance rule, whose label is its key."""

  acceptance: str
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RulesCompared:
  """The second study: each of `rules` with each of `strategies`. Without rules there is none.

  reference: label of the rule that the others are held against.
  """

  rules: dict[str, RuleRow] = dataclasses.field(default_factory=dict)
  strategies: dict[str, StrategyRow] = dataclasses.field(default_factory=dict)
  problems: dict[str, ProblemRow] = dataclasses.field(default_factory=dict)
  reference: str = 'strict'


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A whole benchmark. Field by field comments are in configs/benchmark.py."""

  name: str
  problems: dict[str, ProblemRow]
  strategies: dict[str, StrategyRow]
  trials: int
  seeds: int = 20
  first_seed: int = HELD_OUT
  slots: int = 1
  workers: int = 0
  call_price: float = 1.0
  acceptance: RulesCompared = dataclasses.field(default_factory=RulesCompared)

  def studies(self) -> list[Study]:
    """What is compared. Raises BenchmarkError with a sentence for what cannot be."""
    seeds = tuple(range(self.first_seed, self.first_seed + self.seeds))
    whole = Study(
      'Strategies', _problems(self.problems), _contestants(self.strategies), seeds, self.trials,
      self.slots,
    )  # fmt: skip
    if not self.acceptance.rules:
      return [whole]
    compared = self.acceptance
    rules = tuple(Rule(k, row.acceptance, row.options) for k, row in compared.rules.items())
    contestants = _contestants(compared.strategies)
    return [
      whole,
      Study(
        'Acceptance rules', _problems(compared.problems), contestants, seeds, self.trials,
        self.slots, rules, references=(compared.reference,),
      ),
    ]  # fmt: skip


def benchmark_of(config: ConfigDict) -> Benchmark:
  """Raises ConfigError with the field's path."""
  return converted(config.to_dict(), Benchmark)


def _problems(rows: Mapping[str, ProblemRow]) -> tuple[Problem, ...]:
  return tuple(
    Problem(k, r.simulation, r.options, r.group, r.acceptance, r.acceptance_options, r.sampled)
    for k, r in rows.items()
  )


def _contestants(rows: Mapping[str, StrategyRow]) -> tuple[Contestant, ...]:
  return tuple(Contestant(k, row.strategy, row.options) for k, row in rows.items())
