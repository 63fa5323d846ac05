"""One look: how far the gain must be, and that a keep is always a gain worth pursuing."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.acceptance.group_sequential import (
  MAX_BOUNDARY,
  SPENDING_FUNCTIONS,
  InterimData,
  SequentialDesign,
  analyze,
  critical_value,
)
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.testing.acceptance import OBJECTIVE

DEGREES = range(1, 101)


@pytest.mark.parametrize('degrees', DEGREES)
def test_a_bound_that_is_never_passed_asks_for_more_than_any_gain(degrees):
  assert critical_value(MAX_BOUNDARY, degrees) == math.inf
  asked = [critical_value(float(bound), degrees) for bound in np.linspace(0, MAX_BOUNDARY, 400)]
  assert asked[0] == 0
  assert asked == sorted(asked)


@pytest.mark.parametrize('degrees', [1, 3, 7, 30, 100])
@pytest.mark.parametrize('bound', [0.5, 2.0, 5.0, 12.0])
def test_what_is_asked_is_the_quantile_with_the_same_tail(bound, degrees):
  stated = scipy.stats.t.isf(scipy.stats.norm.sf(bound), degrees)
  assert critical_value(bound, degrees) == pytest.approx(stated)


@given(
  gain=st.floats(-3, 3),
  squares=st.floats(1e-12, 10),
  degrees=st.integers(1, 40),
  share=st.floats(0.01, 1),
  spent=st.floats(0, 2e-3),
  spending=st.sampled_from(sorted(SPENDING_FUNCTIONS)),
  least=st.sampled_from([0.0, 1.0]),
  last=st.booleans(),
)
def test_a_keep_is_a_gain_worth_pursuing_that_error_was_left_for(
  gain, squares, degrees, share, spent, spending, least, last
):
  plan, noise = (
    SequentialDesign(1e-3, spending, 8.0, least),
    NoiseState(OBJECTIVE, squares, degrees),
  )
  outcome = analyze(plan, noise, InterimData(gain, 8.0 * share, (), spent, last))
  if outcome.keep:
    assert gain > 0 and gain >= least * noise.seed_std
    assert outcome.alpha_spent > spent
    assert 'futility' not in outcome.reason and 'no alpha' not in outcome.reason
  assert outcome.keep or outcome.stop or 'futility' not in outcome.reason
  assert outcome.alpha_spent >= spent
