"""From a config to the collaborators it names. Called by the two commands, `main` and `trial`."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from autoresearch_jax.acceptance import ACCEPTANCE, Acceptance
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.data import cache
from autoresearch_jax.executors import EXECUTORS, Executor
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.proposers import PROPOSERS, Proposer
from autoresearch_jax.registry import Registry
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.search.space import describe
from autoresearch_jax.types import Dataset, Program, Spec


@dataclasses.dataclass(frozen=True)
class Minds:
  """Who decides in a run: what to try, how to write it, whether to keep it."""

  strategy: Strategy
  proposer: Proposer
  acceptance: Acceptance


def minds(config: Config) -> Minds:
  """Raises ConfigError for an unknown name or option."""
  return Minds(
    _made(STRATEGIES, config.search.strategy, config.search.options),
    _made(PROPOSERS, config.proposer, config.proposer_options),
    _made(ACCEPTANCE, config.acceptance, config.acceptance_options),
  )


def space(strategy: Strategy, start: Program) -> str:
  """The constants that a sampler among the strategies varies, a line each; '' where there is none.

  Raises ConfigError when the program has no such constants.
  """
  while (inner := getattr(strategy, 'strategy', None)) is not None:  # of a wrapper
    strategy = inner
  dimensions = getattr(strategy, 'dimensions', None)
  try:
    return '' if dimensions is None else describe(dimensions(start))
  except ValueError as error:
    raise ConfigError(str(error)) from error


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
    hidden=_hidden(problem(config), prepared),
    limits=config.limits,
    scratch=scratch,
    cache=cache.directory(),
  )


def _hidden(made: Problem, prepared: Dataset) -> tuple[pathlib.Path, ...]:
  """What a tracer must not read; a construction has no validation data."""
  return (*made.hidden(), *map(pathlib.Path, filter(None, [prepared.validation])))


def _made(registry: Registry, name: str, options: Mapping[str, Any], **given: Any) -> Any:
  """What the registry makes; its ValueErrors are about the config, since this is its door."""
  try:
    return registry.make(name, options, **given)
  except ValueError as error:
    raise ConfigError(str(error)) from error
