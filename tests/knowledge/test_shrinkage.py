"""Effects are drawn toward what is usual, the less is known of them the farther."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.knowledge.shrinkage import shrink

EFFECTS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), max_size=6)


def test_two_groups_by_hand():
  """Residuals are ±1, made √2 larger for two values: s0 = 1.4826·√2, so that s0² = 4.396.

  Each group's s² = (4·4.396 + 2) / 5 = 3.917 and v = 1.958. With means 0 and 10, μ = 5 and
  τ² = (50/v - 1)·v = 48.04, so that B = v / (v + τ²) = 0.03917.
  """
  (low, low_sd), (high, high_sd) = shrink([[-1.0, 1.0], [9.0, 11.0]])
  s2 = (4 * (1.4826**2 * 2) + 2) / 5
  v = s2 / 2
  between = 50 - v
  drawn = v / (v + between)
  assert drawn == pytest.approx(0.03917, abs=1e-4)
  assert (low, high) == (pytest.approx(5 * drawn), pytest.approx(10 - 5 * drawn))
  expected = math.sqrt((1 - drawn) * v + drawn**2 * (v + between) / 2)
  assert low_sd == pytest.approx(expected) == high_sd


def test_where_chance_explains_all_the_groups_are_one():
  (one, one_sd), (other, other_sd) = shrink([[0.0, 2.0], [0.1, 2.1]])
  assert one == pytest.approx(other) == pytest.approx(1.05)
  assert one_sd == pytest.approx(other_sd)


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
def test_each_lies_between_its_mean_and_the_means_of_the_others(groups):
  means = [sum(group) / len(group) for group in groups]
  slack = 1e-6 * (1 + max(map(abs, means), default=0))
  for effect, spread in shrink(groups):
    assert min(means) - slack <= effect <= max(means) + slack
    assert 0 < spread < math.inf
