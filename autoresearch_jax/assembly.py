"""From a config to the collaborators it names. Called by the two commands, `main` and `trial`."""

import dataclasses
import pathlib
from collections.abc import Callable

from autoresearch_jax.acceptance import ACCEPTANCE, Acceptance
from autoresearch_jax.config import Config
from autoresearch_jax.data import cache
from autoresearch_jax.executors import EXECUTORS, Executor
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.proposers import PROPOSERS, Proposer
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Dataset, Spec


@dataclasses.dataclass(frozen=True)
class Minds:
  """Who decides in a run: what to try, how to write it, whether to keep it."""

  strategy: Strategy
  proposer: Proposer
  acceptance: Acceptance


def minds(config: Config) -> Minds:
  """Raises ValueError for an unknown name or option."""
  return Minds(
    STRATEGIES.make(config.search.strategy, config.search.options),
    PROPOSERS.make(config.proposer, config.proposer_options),
    ACCEPTANCE.make(config.acceptance, config.acceptance_options),
  )


def problem(config: Config) -> Problem:
  """Raises ValueError for an unknown problem or option."""
  return PROBLEMS.make(config.problem, config.data)


def spec(config: Config) -> Spec:
  """The problem as programs see it; the executor fills in how many devices there are."""
  shapes = problem(config).shapes()
  return Spec(platform=config.platform, num_devices=1, budget=config.budget, **shapes)


def dataset(config: Config, say: Callable[[str], None]) -> Dataset:
  """The problem's data, prepared once on a machine."""
  return problem(config).prepare(cache.directory(), say)


def executor(config: Config, prepared: Dataset, scratch: pathlib.Path) -> Executor:
  """Starts the executor on a prepared dataset.

  Raises ValueError for an unknown name or option, SandboxError where isolation falls short.
  """
  return EXECUTORS.make(
    config.executor,
    config.executor_options,
    spec=spec(config),
    dataset=prepared,
    hidden=(*problem(config).hidden(), pathlib.Path(prepared.validation)),
    limits=config.limits,
    scratch=scratch,
    cache=cache.directory(),
  )
