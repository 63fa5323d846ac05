"""Comparisons of search strategies: the same problems, budgets and seeds, with intervals and tests.

`compare` runs every strategy on every problem and seed and returns a `Comparison`; `leaderboard`
turns that into tables and figures. `simulations/` has the problems, `runners/` simulates the runs,
`analysis/` analyzes the results. The names below are imported when they are first used, so that
importing a simulation imports neither scipy nor matplotlib.

Imports the search side of the package (search, acceptance, research, ledger); nothing but the
command line and the front door imports it.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
  __name__,
  submod_attrs={
    'comparison': ['BenchmarkError', 'Comparison', 'Suite', 'compare'],
    'results': ['BenchmarkRun', 'ResultsError'],
    'runners.simulate': ['SimulationError'],
    'runners.specs': ['AcceptanceSpec', 'Entrant', 'ProblemSpec', 'RunSpec'],
  },
)

if TYPE_CHECKING:
  from autoresearch_jax.benchmark.comparison import BenchmarkError as BenchmarkError
  from autoresearch_jax.benchmark.comparison import Comparison as Comparison
  from autoresearch_jax.benchmark.comparison import Suite as Suite
  from autoresearch_jax.benchmark.comparison import compare as compare
  from autoresearch_jax.benchmark.results import BenchmarkRun as BenchmarkRun
  from autoresearch_jax.benchmark.results import ResultsError as ResultsError
  from autoresearch_jax.benchmark.runners.simulate import SimulationError as SimulationError
  from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec as AcceptanceSpec
  from autoresearch_jax.benchmark.runners.specs import Entrant as Entrant
  from autoresearch_jax.benchmark.runners.specs import ProblemSpec as ProblemSpec
  from autoresearch_jax.benchmark.runners.specs import RunSpec as RunSpec
