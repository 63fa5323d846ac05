"""Circle packing: what the verifier scores is valid exactly, and no more than what was claimed."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoresearch_jax.problems.packing import Packing, PackingVerifier, valid, violations
from autoresearch_jax.problems.verifiers import VERIFIERS, InvalidConstruction


def score(rows) -> dict[str, float]:
  return PackingVerifier().verify(np.array(rows, np.float64))


def is_exact(centres, radii) -> bool:
  """The constraints once more, in rational numbers and written another way than the verifier's."""
  circles = [tuple(map(Fraction, (x, y, r))) for (x, y), r in zip(centres, radii, strict=True)]
  inside = all(
    r >= 0 and x - r >= 0 and y - r >= 0 and x + r <= 1 and y + r <= 1 for x, y, r in circles
  )
  apart = all(
    (x - u) ** 2 + (y - v) ** 2 - (r + s) ** 2 >= 0
    for i, (x, y, r) in enumerate(circles)
    for u, v, s in circles[:i]
  )
  return inside and apart


@pytest.mark.parametrize(
  ('rows', 'expected'),
  [
    ([(0.5, 0.5, 0.5)], 0.5),
    ([(0.5, 0.5, 9.0)], 0.5),  # cut at the sides
    ([(0.25, 0.5, 0.25), (0.75, 0.5, 0.25)], 0.5),  # they touch
    ([(0.3, 0.5, 0.3), (0.7, 0.5, 0.1)], 0.4),
    ([(0.3, 0.5, 0.3), (0.7, 0.5, 0.3)], 0.4),  # both by 0.4 / 0.6
    ([(0.3, 0.5, 0.2), (0.7, 0.5, 0.3)], 0.4),
    ([(0.5, 0.5, 0.1), (0.5, 0.5, 0.1)], 0.0),  # on top of each other
    ([(0.5, 0.5, 0.1), (0.5, 0.5, 0.0)], 0.0),  # a circle without a radius is a point, and in it
    ([(-0.1, 0.5, 0.2), (0.75, 0.5, 0.25)], 0.25),  # a centre outside counts for nothing
    ([(0.5, 0.5, 0.0)], 0.0),
  ],
)
def test_small_packings_by_hand(rows, expected):
  assert score(rows)['sum_of_radii'] == pytest.approx(expected, abs=1e-12)
  assert score(rows)['sum_of_radii'] <= expected


def test_a_circle_is_shrunk_for_its_own_overlaps_alone():
  centres = np.array([(0.2, 0.2), (0.3, 0.2), (0.7, 0.7)])
  _, radii = valid(centres, np.array([0.1, 0.1, 0.2]))
  assert radii == pytest.approx([0.05, 0.05, 0.2])


def test_the_other_metrics_describe_what_is_left():
  found = score([(0.25, 0.5, 0.25), (0.75, 0.5, 0.5)])
  assert found['smallest_radius'] == pytest.approx(0.25)
  assert found['covered_area'] == pytest.approx(math.pi / 8)
  assert found['largest_cut'] == pytest.approx(0.5)


coordinates = st.floats(-0.5, 1.5) | st.floats(allow_nan=False, allow_infinity=False)
sizes = st.floats(0, 0.6) | st.floats(0, allow_nan=False, allow_infinity=False)
anything = st.integers(1, 6).flatmap(
  lambda n: st.tuples(arrays(np.float64, (n, 2), elements=coordinates),
                      arrays(np.float64, (n,), elements=sizes))
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(anything)
def test_what_is_scored_is_valid_exactly_and_never_more_than_was_claimed(packing):
  centres, claimed = packing
  inside, radii = valid(centres, claimed)
  assert is_exact(inside.tolist(), radii.tolist())
  assert (radii <= claimed).all()
  with np.errstate(over='ignore'):
    total = claimed.sum()
  assert score(np.column_stack([centres, claimed]))['sum_of_radii'] <= total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def test_tight_packings_lose_rounding_alone(seed, dtype):
  """Circles grown until they touch, as an optimiser returns them; then one float more of each."""
  rng = np.random.default_rng(seed)
  centres = rng.uniform(size=(26, 2)).astype(dtype)
  _, radii = valid(centres.astype(np.float64), np.full(26, 0.1))
  greedy = np.nextafter(radii.astype(dtype), dtype(1))
  inside, left = valid(centres.astype(np.float64), greedy.astype(np.float64))
  assert is_exact(inside.tolist(), left.tolist())
  assert left.sum() == pytest.approx(radii.sum(), rel=4 * float(np.finfo(dtype).eps))


def test_rounding_gains_nothing():
  """Circles that touch in float32 overlap in truth; what is scored does not."""
  third = np.float32(1) / np.float32(3)
  rows = [(third / 2 + third * i, third / 2 + third * j, third / 2)
          for i in range(3) for j in range(3)]  # fmt: skip
  claimed = np.array(rows, np.float32).astype(np.float64)
  assert list(violations(claimed[:, :2], claimed[:, 2]))
  assert 1.5 - 1e-6 < score(claimed)['sum_of_radii'] < 1.5


def test_where_no_share_helps_a_radius_is_gone():
  """Between the smallest numbers there are, a product rounds up by half of itself."""
  least = 5e-324
  centres = np.array([(3 * least, 3 * least), (6 * least, 3 * least)])
  inside, radii = valid(centres, np.array([1.0, 1.0]))
  assert is_exact(inside.tolist(), radii.tolist())


@pytest.mark.parametrize(
  ('rows', 'sentence'),
  [
    ([(0.5, 0.5, 0.1), (0.5, math.nan, 0.1)], r'Circle 1 .* not finite.*\(0\.5, nan, 0\.1\)'),
    ([(0.5, 0.5, math.inf)], 'Circle 0 .* not finite'),
    ([(0.5, 0.5, -0.1)], 'Circle 0 .* negative radius'),
    ([(0.5, 0.5)], r'shape \[1, 2\]; return one row'),
    (np.zeros((0, 3)), r'shape \[0, 3\]'),
  ],
)
def test_what_is_no_packing_is_refused(rows, sentence):
  with pytest.raises(InvalidConstruction, match=sentence):
    score(rows)


def test_the_verifier_is_found_by_its_name():
  assert VERIFIERS.make('packing') == PackingVerifier()
  with pytest.raises(ValueError, match=r"no verifier 'cubes'; there are: .*packing"):
    VERIFIERS.make('cubes')


@pytest.mark.parametrize('circles', [0, 201])
def test_a_number_of_circles_that_cannot_be_verified_is_refused(circles):
  with pytest.raises(ValueError, match=rf'config\.data\.circles is {circles}; 1 to 200'):
    Packing(circles=circles)
