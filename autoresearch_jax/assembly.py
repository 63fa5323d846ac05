"""From a config to the collaborators it names. Called by the two commands, `main` and `trial`."""

import os
import pathlib
from collections.abc import Callable

from autoresearch_jax.config import Config
from autoresearch_jax.executors import EXECUTORS, Executor
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.types import Spec


def cache_directory() -> pathlib.Path:
  """Prepared data and compiled programs: $AUTORESEARCH_JAX_CACHE or ~/.cache/autoresearch_jax."""
  default = pathlib.Path('~/.cache/autoresearch_jax').expanduser()
  return pathlib.Path(os.environ.get('AUTORESEARCH_JAX_CACHE') or default)


def problem(config: Config) -> Problem:
  """Raises ValueError for an unknown problem or option."""
  return PROBLEMS.make(config.problem, config.data)


def spec(config: Config) -> Spec:
  """The problem as programs see it; the executor fills in how many devices there are."""
  shapes = problem(config).shapes()
  return Spec(platform=config.platform, num_devices=1, budget=config.budget, **shapes)


def executor(config: Config, scratch: pathlib.Path, say: Callable[[str], None]) -> Executor:
  """Prepares the data (once on a machine) and starts the executor.

  Raises ValueError for an unknown name or option, SandboxError where isolation falls short.
  """
  cache = cache_directory()
  chosen = problem(config)
  dataset = chosen.prepare(cache, say)
  return EXECUTORS.make(
    config.executor,
    config.executor_options,
    spec=spec(config),
    dataset=dataset,
    hidden=chosen.hidden(),
    limits=config.limits,
    scratch=scratch,
    cache=cache,
  )
