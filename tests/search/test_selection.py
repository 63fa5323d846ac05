"""Scale and sample_index of the strategies that select parents at random."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.search.selection import log_sigmoid, normalize_scores, sample_index, softmax

SCORES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30)


def test_few_scores_are_scaled_from_the_least_to_the_best():
  assert normalize_scores(np.array([-3.0, 1.0, -1.0])).tolist() == [0, 1, 0.5]


def test_one_program_far_behind_does_not_push_the_others_together():
  scaled = normalize_scores(np.array([-1e9, 1.0, 3.0, 2.0]))
  assert scaled.tolist() == [0, 0, 1, 0.5]


def test_equal_scores_are_in_the_middle():
  assert normalize_scores(np.array([2.0, 2.0])).tolist() == [0.5, 0.5]
  assert normalize_scores(np.array([5.0])).tolist() == [0.5]
  assert normalize_scores(np.array([-1.0, 2.0, 2.0, 2.0])).tolist() == [0, 0.5, 0.5, 0.5]


@given(SCORES, st.floats(0.1, 1e3), st.floats(-1e3, 1e3))
def test_scores_keep_their_order_on_the_unit_interval(scores, factor, shift):
  scores = np.array(scores)
  scaled = normalize_scores(factor * scores + shift)
  assert len(scaled) == len(scores)
  assert scaled.min() >= 0 and scaled.max() <= 1
  assert scaled[np.argmax(scores)] == scaled.max()
  assert (np.diff(scaled[np.argsort(scores)]) >= 0).all()


def test_the_logistic_of_large_numbers_does_not_overflow():
  values = log_sigmoid(np.array([-1e4, 0.0, 1e4]))
  assert values.tolist() == pytest.approx([-1e4, -math.log(2), 0])
  assert softmax(np.array([-1e5, -1e5 - math.log(3)])).tolist() == pytest.approx([3 / 4, 1 / 4])


def test_an_index_is_drawn_with_its_probability():
  odds = np.array([0.1, 0.0, 0.6, 0.3])
  rng = np.random.default_rng(0)
  counts = np.bincount([sample_index(odds, rng) for _ in range(4000)], minlength=4)
  assert counts[1] == 0
  assert counts / 4000 == pytest.approx(odds, abs=0.03)
