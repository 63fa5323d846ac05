"""From a config to the collaborators it names. Called by the two commands, `main` and `trial`."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

from autoresearch_jax.acceptance import ACCEPTANCE, Acceptance
from autoresearch_jax.config import Config
from autoresearch_jax.executors import EXECUTORS, Executor
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.proposers import PROPOSERS, Proposer
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Dataset, Spec


def cache_directory() -> pathlib.Path:
  """Prepared data and compiled programs: $AUTORESEARCH_JAX_CACHE or ~/.cache/autoresearch_jax."""
  default = pathlib.Path('~/.cache/autoresearch_jax').expanduser()
  return pathlib.Path(os.environ.get('AUTORESEARCH_JAX_CACHE') or default)


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
  return problem(config).prepare(cache_directory(), say)


def executor(config: Config, scratch: pathlib.Path, say: Callable[[str], None]) -> Executor:
  """Prepares the data (once on a machine) and starts the executor.

  Raises ValueError for an unknown name or option, SandboxError where isolation falls short.
  """
  prepared = dataset(config, say)
  return EXECUTORS.make(
    config.executor,
    config.executor_options,
    spec=spec(config),
    dataset=prepared,
    hidden=problem(config).hidden(),
    limits=config.limits,
    scratch=scratch,
    cache=cache_directory(),
  )
