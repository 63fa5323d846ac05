"""Error spending against published bounds, and against simulated tests."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.acceptance.group_sequential import (
  MAX_BOUNDARY,
  SPENDING_FUNCTIONS,
  Look,
  upper_boundary,
)


def bounds(spending, error, informations, lower=-MAX_BOUNDARY):
  """Upper bounds of looks at these informations, the last one being the whole."""
  looks, spent, found = (), 0.0, []
  for information in informations:
    by_now = SPENDING_FUNCTIONS[spending](error, information / informations[-1])
    found.append(upper_boundary(by_now - spent, looks, information))
    looks, spent = (*looks, Look(information, lower, found[-1])), by_now
  return found


# One-sided 0.025, five equal looks: as the program of Reboussin, DeMets, Kim & Lan gives them
# (Controlled Clinical Trials 2000) for Lan & DeMets' two functions.
@pytest.mark.parametrize(
  ('spending', 'published'),
  [
    ('obrien_fleming', [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
    ('pocock', [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
  ],
)
def test_the_bounds_are_the_published_ones(spending, published):
  assert bounds(spending, 0.025, [1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize('spending', sorted(SPENDING_FUNCTIONS))
def test_all_error_is_spent_in_the_end_and_more_as_time_goes_on(spending):
  spent = [SPENDING_FUNCTIONS[spending](0.05, share) for share in (0.01, 0.1, 0.5, 0.9, 1.0)]
  assert spent == sorted(spent)
  assert spent[0] < 0.002
  assert spent[-1] == pytest.approx(0.05)


def test_kim_demets_spends_with_the_square_of_the_share():
  assert SPENDING_FUNCTIONS['kim_demets'](0.05, 0.5) == pytest.approx(0.0125)


@pytest.mark.parametrize('spending', sorted(SPENDING_FUNCTIONS))
@pytest.mark.parametrize('lower', [-MAX_BOUNDARY, 0.5])
def test_a_test_without_effect_is_wrong_as_often_as_was_allotted(spending, lower):
  """With lower bounds that are obeyed, too: what they stop is not kept."""
  informations = [0.9, 1.6, 4.0, 6.0]
  found, tests = bounds(spending, 0.05, informations, lower), 200_000
  rng = np.random.default_rng(0)
  steps = np.sqrt(np.diff([0.0, *informations]))[:, None] * rng.normal(size=(4, tests))
  z = np.cumsum(steps, axis=0) / np.sqrt(informations)[:, None]
  going, kept = np.ones(tests, bool), np.zeros(tests, bool)
  for score, bound in zip(z, found, strict=True):
    kept |= going & (score > bound)
    going &= (score <= bound) & (score > lower)
  assert kept.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / tests))


@settings(max_examples=60, deadline=None)
@given(
  error=st.floats(1e-6, 0.3),
  steps=st.lists(st.floats(0.2, 3.0), min_size=1, max_size=5),
  lower=st.floats(0.0, 2.0),
)
def test_a_bound_exists_for_any_looks_and_is_never_below_no_gain(error, steps, lower):
  for bound in bounds('pocock', error, list(itertools.accumulate(steps)), lower):
    assert 0 <= bound <= MAX_BOUNDARY


def test_one_look_alone_is_the_quantile():
  assert upper_boundary(5e-4, (), 0.9) == pytest.approx(scipy.stats.norm.isf(5e-4))


def test_nothing_to_spend_or_nothing_new_is_never_passed():
  assert upper_boundary(0.0, (), 1.0) == MAX_BOUNDARY
  assert upper_boundary(0.1, (Look(2.0, 0.0, 3.0),), 2.0) == MAX_BOUNDARY
