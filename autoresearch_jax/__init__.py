"""Autonomous machine-learning research as a JAX library.

    import autoresearch_jax as ar

    run = ar.run('digits', workdir='runs/digits', max_trials=8)  # the same line resumes it
    result = ar.compare(['greedy', 'tree'], ['nk'], trials=100, seeds=5)

The names are imported when they are first used, so that importing the package takes no time.
"""

import importlib.metadata
from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
  __name__,
  submod_attrs={
    'acceptance': ['AcceptanceRule'],
    'benchmark.analysis.leaderboard': ['leaderboard'],
    'benchmark.comparison': ['Comparison', 'compare'],
    'benchmark.simulations.base': ['Simulation'],
    'cli.front_door': ['load_run', 'run'],
    'config': ['Config', 'ConfigError'],
    'executors': ['Executor'],
    'models.loaded': ['Model', 'load_model'],
    'problems': ['Problem'],
    'proposers': ['Proposer'],
    'report.run_result': ['RunResult'],
    'search': ['Strategy'],
    'types': ['Edit', 'Hypothesis', 'Objective', 'Operation', 'Program', 'Proposal', 'Trial'],
  },
)
__version__ = importlib.metadata.version('autoresearch_jax')

if TYPE_CHECKING:
  from autoresearch_jax.acceptance import AcceptanceRule as AcceptanceRule
  from autoresearch_jax.benchmark.analysis.leaderboard import leaderboard as leaderboard
  from autoresearch_jax.benchmark.comparison import Comparison as Comparison
  from autoresearch_jax.benchmark.comparison import compare as compare
  from autoresearch_jax.benchmark.simulations.base import Simulation as Simulation
  from autoresearch_jax.cli.front_door import load_run as load_run
  from autoresearch_jax.cli.front_door import run as run
  from autoresearch_jax.config import Config as Config
  from autoresearch_jax.config import ConfigError as ConfigError
  from autoresearch_jax.executors import Executor as Executor
  from autoresearch_jax.models.loaded import Model as Model
  from autoresearch_jax.models.loaded import load_model as load_model
  from autoresearch_jax.problems import Problem as Problem
  from autoresearch_jax.proposers import Proposer as Proposer
  from autoresearch_jax.report.run_result import RunResult as RunResult
  from autoresearch_jax.search import Strategy as Strategy
  from autoresearch_jax.types import Edit as Edit
  from autoresearch_jax.types import Hypothesis as Hypothesis
  from autoresearch_jax.types import Objective as Objective
  from autoresearch_jax.types import Operation as Operation
  from autoresearch_jax.types import Program as Program
  from autoresearch_jax.types import Proposal as Proposal
  from autoresearch_jax.types import Trial as Trial
