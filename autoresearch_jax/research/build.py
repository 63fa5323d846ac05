"""From a config to the collaborators it names. Called by the two commands, `main` and `trial`."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.data import cache
from autoresearch_jax.executors import EXECUTORS, Executor
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.proposers import PROPOSERS, Proposer
from autoresearch_jax.registry import Registry
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.search.samplers.space import describe
from autoresearch_jax.types import Dataset, Program, Spec

TRAINING = 'train_'  # how the names begin of what a program reports of its training


@dataclasses.dataclass(frozen=True)
class Minds:
  """Who decides in a run: what to try, how to write it, whether to keep it."""

  strategy: Strategy
  proposer: Proposer
  acceptance: AcceptanceRule


def minds(config: Config) -> Minds:
  """Raises ConfigError for an unknown name or option, or a metric that is not measured."""
  strategy = _made(STRATEGIES, config.search.strategy, config.search.options)
  _require_metrics(strategy, config)
  return Minds(
    strategy,
    _made(PROPOSERS, config.proposer, config.proposer_options),
    _made(ACCEPTANCE, config.acceptance, config.acceptance_options),
  )


def space(strategy: Strategy, start: Program) -> str:
  """The constants that a sampler among the strategies varies, a line each; '' where there is none.

  Raises ConfigError when the program has no such constants.
  """
  try:
    dimensions = strategy.search_space(start)
    return describe(dimensions) if dimensions else ''
  except ValueError as error:
    raise ConfigError(str(error)) from error


def _require_metrics(strategy: Strategy, config: Config) -> None:
  """The metrics that a strategy such as `pareto` is told to compare by must be measured.

  What a program reports of its training is known only once it trains, so it is let through.
  """
  metrics = strategy.required_metrics()
  if not metrics:
    return
  gives = problem(config).metrics()
  missing = [name for name in metrics if name not in gives and not name.startswith(TRAINING)]
  if missing:
    raise ConfigError(
      f'config.search.options: the strategy compares trials by the metric {missing[0]!r}; the '
      f'problem {config.problem!r} gives: {", ".join(gives)}, and {TRAINING}NAME for each metric '
      'NAME that the program reports while it trains.'
    )


def problem(config: Config) -> Problem:
  """Raises ConfigError for an unknown problem or option, or a metric that it does not give."""
  made = _made(PROBLEMS, config.problem, config.data)
  if config.metric not in made.metrics():
    raise ConfigError(
      f'config.metric is {config.metric!r}; the problem {config.problem!r} gives: '
      f'{", ".join(made.metrics())}.'
    )
  return made


def spec(config: Config) -> Spec:
  """The problem as programs see it; the executor fills in how many devices there are."""
  shapes = problem(config).shapes()
  return Spec(platform=config.platform, num_devices=1, budget=config.budget, **shapes)


def dataset(config: Config, say: Callable[[str], None]) -> Dataset:
  """The problem's data, prepared once on a machine. Raises ConfigError, OSError."""
  made = problem(config)
  try:
    return made.prepare(cache.directory(), say)
  except ValueError as error:  # the options ask for what the data do not have
    raise ConfigError(str(error)) from error


def executor(config: Config, prepared: Dataset, scratch: pathlib.Path) -> Executor:
  """Starts the executor on a prepared dataset.

  Raises ConfigError for an unknown name or option, SandboxError where isolation falls short.
  """
  return _made(
    EXECUTORS,
    config.executor,
    config.executor_options,
    spec=spec(config),
    dataset=prepared,
    hidden=hidden(config, prepared),
    limits=config.limits,
    scratch=scratch,
    cache=cache.directory(),
  )


def hidden(config: Config, prepared: Dataset) -> tuple[pathlib.Path, ...]:
  """What tracers and agents must not read; a construction has no data."""
  held_out = filter(None, [prepared.validation, prepared.test])
  return (*problem(config).hidden(), *map(pathlib.Path, held_out))


def _made(registry: Registry, name: str, options: Mapping[str, Any], **given: Any) -> Any:
  """What the registry makes; its ValueErrors are about the config, since this is its door."""
  try:
    return registry.make(name, options, **given)
  except ValueError as error:
    raise ConfigError(str(error)) from error
