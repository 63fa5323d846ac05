"""Steps stay in their ranges, keep types, and go in the right direction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.proposers.mutate import steps
from autoresearch_jax.proposers.mutate.steps import FactorRange

FACTORS = FactorRange()
directions = st.sampled_from([-1, 1])
seeds = st.integers(0, 2**32).map(np.random.default_rng)


@given(st.floats(1e-8, 1e4), directions, seeds)
def test_scales_move_by_a_factor_within_the_sizes(value, direction, rng):
  moved = steps.scale()(value, direction, rng, FACTORS)
  factor = (moved / value) ** direction
  assert 1.05 < factor < 3.2  # two digits of rounding at either end


@given(st.floats(0.0, 1.0), directions, seeds)
def test_shares_stay_shares(value, direction, rng):
  moved = steps.fraction(0.0, 1.0)(value, direction, rng, FACTORS)
  if moved is not None:
    assert 0 <= moved <= 1
    assert (moved - value) * direction > -0.005  # hundredths


@given(st.floats(0.5, 0.999), directions, seeds)
def test_decays_stay_below_one(value, direction, rng):
  moved = steps.one_minus(0.3, 0.9999)(value, direction, rng, FACTORS)
  if moved is not None:
    assert 0.3 <= moved < 1
    assert (moved - value) * direction > 0


@given(st.integers(1, 10**6), directions, seeds)
def test_powers_are_powers(value, direction, rng):
  moved = steps.power_of_two()(value, direction, rng, FACTORS)
  if moved is None:
    assert (value, direction) == (1, -1)
  else:
    assert moved.bit_count() == 1
    assert (moved - value) * direction > 0


@given(st.integers(1, 500), directions, seeds)
def test_sizes_stay_multiples(value, direction, rng):
  moved = steps.multiple_of(8, 8, 4096)(8 * value, direction, rng, FACTORS)
  assert moved is None or (moved % 8 == 0 and (moved - 8 * value) * direction > 0)


@given(st.integers(1, 64), directions, seeds)
def test_neighbours_are_near_and_in_range(value, direction, rng):
  moved = steps.integer(1, 64)(value, direction, rng, FACTORS)
  assert moved is None or (1 <= moved <= 64 and 1 <= (moved - value) * direction <= 2)


@given(st.text('SL', min_size=1, max_size=6), directions, seeds)
def test_window_patterns_keep_their_letters_and_shift_the_share(value, direction, rng):
  moved = steps.letters('SL')(value, direction, rng, FACTORS)
  if moved is not None:
    assert set(moved) <= set('SL')
    shares = [p.count('L') / len(p) for p in (value, moved)]
    assert (shares[1] - shares[0]) * direction > 0


def test_zero_takes_a_first_step_up_only():
  rng = np.random.default_rng(0)
  assert 0.03 < steps.fraction(first=0.03)(0.0, 1, rng, FACTORS) <= 0.09
  assert steps.scale(first=0.01)(0.0, 1, rng, FACTORS) > 0
  assert steps.fraction()(0.0, -1, rng, FACTORS) is None
  assert steps.scale()(0.0, -1, rng, FACTORS) is None


@pytest.mark.parametrize('value', [True, 5, 64, 300, 0.9, 0.03, (0.9, 0.95)])
def test_a_value_of_unknown_meaning_keeps_its_type(value):
  moved = [
    steps.by_type(value, d, np.random.default_rng(s), FACTORS) for d in (-1, 1) for s in range(9)
  ]
  assert any(m is not None for m in moved)
  assert all(type(m) is type(value) and m != value for m in moved if m is not None)


@pytest.mark.parametrize('value', ['adam', None, b'', (), ('a',)])
def test_what_has_no_order_does_not_move(value):
  assert steps.by_type(value, 1, np.random.default_rng(0), FACTORS) is None


def test_a_tuple_moves_in_one_place():
  moved = steps.one_element(steps.one_minus())((0.9, 0.99), 1, np.random.default_rng(0), FACTORS)
  assert sum(a != b for a, b in zip(moved, (0.9, 0.99), strict=True)) == 1
