"""CMA-ES keeps its optimizer across generations, and its options reach Optuna."""

import numpy as np
import pytest
from helpers import sampled

from autoresearch_jax import types
from autoresearch_jax.search.samplers.cma_es import CmaEs

TEXT = 'A = 0.5  # in [-4, 4]\nB = 0.5  # in [-4, 4]\nC = 3  # in [0, 9]\n'
START = types.Program((('model.py', TEXT),), 'model.py')
OPTIMUM = np.array([2.0, -3.0, 7.0])


def drawn(strategy, trials):
  """Values of the constants [trials, 3], each told as its squared distance to OPTIMUM."""
  return sampled.drawn(strategy, START, lambda row: ((row - OPTIMUM) ** 2).sum(), trials)


@pytest.mark.parametrize('margin', [False, True])
def test_the_distribution_moves_to_the_optimum_and_narrows(margin):
  values = drawn(CmaEs(with_margin=margin), 130)
  first, last = values[1:15], values[-14:]
  distance = np.linalg.norm(last.mean(0) - OPTIMUM)
  assert distance < np.linalg.norm(first.mean(0) - OPTIMUM) / 4
  assert last[:, 0].std() < first[:, 0].std() / 2


def test_it_starts_in_the_middle_of_the_space():
  values = drawn(CmaEs(popsize=40), 40)[1:]
  assert np.abs(values[:, :2].mean(0)).max() < 0.8  # of a range that is 8 wide
  assert abs(values[:, 2].mean() - 4.5) < 1


def test_a_generation_is_as_large_as_it_is_set():
  """Until one is complete nothing told has an influence: the draws are those of a larger one."""
  small, large = drawn(CmaEs(popsize=6), 12), drawn(CmaEs(popsize=60), 12)
  assert (small[:7] == large[:7]).all()
  assert (small[7:] != large[7:]).any()


@pytest.mark.parametrize('options', [{'n_startup_trials': -1}, {'popsize': 3}, {'popsize': -4}])
def test_options_that_cannot_work_are_refused(options):
  (name,) = options
  with pytest.raises(ValueError, match=f'{name} of cma_es is .*(at least [04]|[04] to)'):
    CmaEs(**options)
