"""Strategies side by side: the same problems, budget and seeds, and statistics with intervals.

    result = benchmark.compare(['greedy', 'random', ('annealing', {'cooling_rate': 0.9})], ['nk'])
    print(result.table())
    result.leaderboard('leaderboard.html')

`python -m autoresearch_jax.benchmark --config=configs/benchmark.py` does it for a whole config.
"""

from autoresearch_jax.benchmark.comparison import BenchmarkError, Comparison, Study, compare
from autoresearch_jax.benchmark.results import ResultsError
from autoresearch_jax.benchmark.runners.simulate import PlayingError
from autoresearch_jax.benchmark.runners.specs import Contestant, Problem, Rule

__all__ = [
  'BenchmarkError', 'Comparison', 'Contestant', 'PlayingError', 'Problem', 'ResultsError', 'Rule',
  'Study', 'compare',
]  # fmt: skip
