"""Staircases: heights and areas, computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.benchmark.regret import Areas, RegretCurve, area, areas, regret_at


def test_the_area_under_a_staircase():
  # 1 until 2, then 0.5 until 6, then 0.25 until the end at 10
  assert area((0, 2, 6), (1, 0.5, 0.25), 10) == pytest.approx((2 + 2 + 1) / 10)


def test_what_lies_beyond_the_budget_does_not_count():
  assert area((0, 2, 6), (1, 0.5, 0.25), 4) == pytest.approx((2 + 1) / 4)
  assert area((0, 2, 6), (1, 0.5, 0.25), 2) == 1


def test_steps_at_the_same_place_leave_the_last_one():
  assert area((0, 0, 0), (1, 0.5, 0.25), 10) == 0.25  # a sampler calls no proposer


def test_areas_have_the_budgets_of_runs_of_the_start():
  curve = RegretCurve((0, 5), (0, 5), (0, 1), (1, 0))
  assert areas(curve, 10, 1.0) == Areas(0.5, 0.5, 0.1)
  assert areas(curve, 10, 0.5).seconds == 1.0  # five seconds are the whole budget then


def test_heights():
  found = regret_at((0, 2, 6), (1, 0.5, 0.25), np.array([0, 1.9, 2, 5, 6, 99]))
  assert found.tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]


@given(
  steps=st.lists(st.tuples(st.floats(0, 5), st.floats(-1, 2)), min_size=1, max_size=6),
  budget=st.floats(0.5, 40),
)
def test_the_area_is_the_mean_height(steps, budget):
  places = (0.0, *np.cumsum([step for step, _ in steps]).tolist())
  regret = (1.0, *[height for _, height in steps])
  found = area(places, regret, budget)
  assert min(regret) - 1e-9 <= found <= max(regret) + 1e-9
  middles = (np.arange(20_000) + 0.5) / 20_000 * budget
  assert found == pytest.approx(regret_at(places, regret, middles).mean(), abs=2e-3)
