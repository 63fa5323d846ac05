"""TPE concentrates where trials were good, and its options reach Optuna."""

import numpy as np
import pytest
from helpers import sampled

from autoresearch_jax import types
from autoresearch_jax.search.samplers.tpe import Tpe

START = types.Program((('model.py', 'RATE = 0.1  # in [0, 1]\n'),), 'model.py')


def drawn(strategy, trials):
  """Values of RATE, each told as its distance to 0.8; the baseline included."""
  return sampled.drawn(strategy, START, lambda row: abs(row[0] - 0.8), trials)[:, 0]


def test_it_draws_near_what_was_good_once_the_start_is_over():
  values = drawn(Tpe(n_startup_trials=10), 60)
  first, last = np.abs(values[1:10] - 0.8), np.abs(values[30:] - 0.8)
  assert np.median(last) < np.median(first) / 2


def test_more_startup_is_more_of_random_search():
  """With the same seeds, the draws are those of a longer start until the shorter one is over."""
  short, long = drawn(Tpe(n_startup_trials=5), 12), drawn(Tpe(n_startup_trials=50), 12)
  assert (short[:5] == long[:5]).all()
  assert (short[6:] != long[6:]).any()


@pytest.mark.parametrize('options', [{'n_startup_trials': -1}, {'n_ei_candidates': 0}])
def test_options_that_cannot_work_are_refused(options):
  (name,) = options
  with pytest.raises(ValueError, match=f'{name} of tpe is .*at least [01]'):
    Tpe(**options)
