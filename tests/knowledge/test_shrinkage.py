"""Effects are shrunk towards 0, the more the less is known of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.knowledge.shrinkage import shrink

EFFECTS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), max_size=6)


def test_two_groups_by_hand():
  """Residuals are ±1, made √2 larger for two values: s0 = 1.4826·√2, so that s0² = 4.396.

  Each group's s² = (4·4.396 + 2) / 5 = 3.917 and v = 1.958. With means -5 and 5 and t = v + τ², the
  derivative of log τ - Σ ½ (log t + 25/t) is 0 where t² - 2·(t - v)·t + 50·(t - v) = 0.
  """
  (low, low_sd), (high, high_sd) = shrink([[-6.0, -4.0], [4.0, 6.0]])
  v = (4 * (1.4826**2 * 2) + 2) / 5 / 2
  total = (50 + 2 * v + math.sqrt((50 + 2 * v) ** 2 - 200 * v)) / 2
  kept = (total - v) / total
  assert low == pytest.approx(-5 * kept, rel=1e-2) and high == pytest.approx(5 * kept, rel=1e-2)
  assert low_sd == high_sd == pytest.approx(math.sqrt(kept * v), rel=1e-2)


def test_each_group_has_its_own_estimate_where_chance_explains_them_all():
  groups = [[0.0, 2.0], [0.1, 2.1], [1.0, -1.2], [-2.0, 0.5]]
  effects = [effect for effect, _ in shrink(groups)]
  assert len({round(effect, 6) for effect in effects}) == len(groups)
  assert all(abs(e) < abs(sum(g) / len(g)) for e, g in zip(effects, groups, strict=True))


def test_a_single_group_stays_where_it_is():
  assert shrink([[1.0, 3.0]])[0][0] == 2.0
  assert shrink([]) == []


def test_the_noise_of_the_seeds_is_the_least_that_is_unsure():
  assert shrink([[1.0, 1.0]], noise=0.5)[0][1] == pytest.approx(math.sqrt(4 * 0.25 / 5 / 2))


def test_a_wrecked_training_does_not_make_the_others_unsure():
  calm = [[0.01, 0.012, 0.011], [-0.02, -0.021, -0.019]]
  wrecked = [*calm, [-50.0, -1.0, -200.0]]
  assert shrink(wrecked)[0][1] < 2 * shrink(calm)[0][1]
  assert shrink(wrecked)[0][0] == pytest.approx(0.011, abs=0.002)


def test_a_small_group_is_drawn_farther_than_a_large_one():
  groups = [[4.0, 6.0], [4.0, 6.0] * 10, [-5.0, -7.0] * 10]
  small, large, _ = (effect for effect, _ in shrink(groups))
  assert small < large < 5.0


@given(EFFECTS)
def test_no_group_is_larger_or_more_certain_than_its_own_trials(groups):
  means = [sum(group) / len(group) for group in groups]
  for mean, (effect, sd) in zip(means, shrink(groups), strict=True):
    assert abs(effect) <= abs(mean) * (1 + 1e-9) + 1e-12
    assert effect * mean >= 0
    assert 0 < sd < math.inf
