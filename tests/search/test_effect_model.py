"""What few trials say of kinds of edit, against figures by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autoresearch_jax.search import effect_model


def test_the_moments_and_the_posterior_by_hand():
  # Kind 0 has 1 and 3, kind 1 has 9 and 11, kind 2 none. Overall mean 6; squares around the kinds'
  # means 1 + 1 + 1 + 1 over 4 - 2 degrees: within² = 2. Between: 2·16 + 2·16 = 64 over 1 degree,
  # less 2, over the size (4 - 8/4)/1 = 2: between² = 31. Weight of a kind: 2·31/(2·31 + 2) = 31/32.
  found = effect_model.estimate_effects(np.array([1.0, 3, 9, 11]), np.array([0, 0, 1, 1]), 3)
  assert (found.mean, found.within_std**2, found.between_std**2) == pytest.approx((6, 2, 31))
  assert found.means.tolist() == pytest.approx([6 - 4 * 31 / 32, 6 + 4 * 31 / 32, 6])
  after = [math.sqrt(31 / (1 + n * 31 / 2)) for n in range(4)]
  assert found.stds.tolist() == pytest.approx([after[2], after[2], after[0]])
  assert found.std_reductions.tolist() == pytest.approx(
    [after[2] - after[3], after[2] - after[3], after[0] - after[1]]
  )
  # Scatter: (4·2 + own squares)/(4 + n).
  assert np.square(found.edit_stds).tolist() == pytest.approx([10 / 6, 10 / 6, 2])


def test_kinds_that_do_not_differ_are_all_near_the_mean():
  found = effect_model.estimate_effects(np.array([1.0, -1, 1, -1]), np.array([0, 0, 1, 1]), 2)
  assert found.means.tolist() == [0, 0]
  assert found.between_std**2 == pytest.approx(effect_model.MIN_BETWEEN * found.within_std**2)


def test_nothing_known_is_no_error():
  found = effect_model.estimate_effects(np.array([]), np.array([], int), 2)
  assert (
    found.means.tolist()
    == found.predictive_stds.tolist()
    == found.std_reductions.tolist()
    == [0, 0]
  )


@given(
  st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100)), max_size=20),
  st.floats(-100, 100),
)
def test_a_kind_lies_between_its_own_mean_and_that_of_all(told, moved):
  kinds = np.array([kind for kind, _ in told], int)
  effects = np.array([effect for _, effect in told])
  found = effect_model.estimate_effects(effects, kinds, 4)
  for kind in set(kinds.tolist()):
    own = effects[kinds == kind].mean()
    low, high = sorted((own, found.mean))
    assert low - 1e-9 <= found.means[kind] <= high + 1e-9
  assert (found.std_reductions >= 0).all() and (found.stds <= found.between_std + 1e-12).all()
  shifted = effect_model.estimate_effects(effects + moved, kinds, 4)
  if told:
    assert shifted.mean == pytest.approx(found.mean + moved, abs=1e-6)


def test_a_heavy_tail_is_clipped_around_the_median():
  effects = np.array([0.0, 1, 2, 3, 1000])  # median 2, median deviation 1
  clipped = effect_model.clip_outliers(effects, 3.0)
  assert clipped.tolist() == [0, 1, 2, 3, 2 + 3 * effect_model.MAD_TO_STD]
  half_equal = np.array([0.0, 0, 0, 0, 0, 0, 0, 0, 0, 10])
  assert effect_model.clip_outliers(half_equal, 2.0)[-1] == pytest.approx(2 * math.sqrt(10))
  assert effect_model.clip_outliers(np.array([]), 3.0).size == 0
  assert effect_model.clip_outliers(np.array([-math.inf, 0, math.inf]), 1.0).tolist() != [0, 0, 0]


@given(st.floats(-20, 20), st.floats(0, 10))
def test_expected_improvement_is_the_integral(mean, deviation):
  found = float(effect_model.expected_improvement(np.array(mean), np.array(deviation)))
  exact = max(mean, 0.0)
  if deviation > 1e-9:
    z = mean / deviation
    exact = deviation * (z * stats.norm.cdf(z) + stats.norm.pdf(z))
  assert found == pytest.approx(exact, abs=1e-5)


def test_failures_of_a_rare_kind_are_drawn_towards_those_of_all():
  # (1 + 2·0.1)/(1 + 2), (0 + 0.2)/(18 + 2), and the overall rate.
  rates = effect_model.failure_rates(np.array([1, 0, 0]), np.array([1, 18, 0]), 0.1)
  assert rates.tolist() == pytest.approx([0.4, 0.01, 0.1])
