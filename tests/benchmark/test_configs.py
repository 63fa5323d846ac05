"""configs/benchmark.py: every variant can be made, and the smallest one runs."""

import pathlib
import subprocess
import sys

import pytest
from helpers.registered import ours

from autoresearch_jax.benchmark.config import benchmark_config
from autoresearch_jax.config import load
from autoresearch_jax.search import STRATEGIES

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize('variant', ['smoke', 'standard'])
def test_every_name_and_option_exists(variant):
  strategies, rules = benchmark_config(load(f'benchmark:{variant}')).suites()
  assert len(rules.rules) >= 3
  if variant == 'standard':
    assert len(strategies.entrants) >= 12 and len(strategies.problems) >= 10
    assert (len(strategies.seeds), strategies.trials, strategies.seeds[0]) == (20, 200, 1000)


# Need an extra; and is its inner strategy where one trial comes after the other.
NOT_PLAYED = {'from_file', 'gp', 'nevergrad', 'smac', 'speculative'}


def test_the_whole_benchmark_has_every_strategy():
  full = benchmark_config(load('benchmark:full'))
  assert {row.strategy for row in full.strategies.values()} >= ours(STRATEGIES) - NOT_PLAYED


@pytest.mark.slow
def test_the_smoke_run(tmp_path):
  line = [sys.executable, '-m', 'autoresearch_jax.benchmark', '--config=configs/benchmark.py:smoke',
          f'--out={tmp_path}']  # fmt: skip
  result = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
  assert result.returncode == 0, result.stderr
  page = (tmp_path / 'leaderboard.md').read_text()
  assert 'tpe cannot run on lineage, nk_k2' in page and 'against best_of_n' in page


def test_an_unknown_variant():
  with pytest.raises(ValueError, match="no variant 'big'; there are: smoke, standard, full"):
    load('benchmark:big')
