"""What edits of several factors are expected to gain, against figures by hand."""

import math

import numpy as np
import pytest
from helpers import tried
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.knowledge import Memory, prospects
from autoresearch_jax.knowledge.prospects import Prospects

BASELINE = tried.trial(0, (4.0,), decision='keep')


def model(*trials, **options):
  memory = Memory(tried.history(BASELINE, *trials), tried.OBJECTIVE)
  return Prospects.of(tuple(memory.entries.values()), **options)


def edited(number, gain, *tags, status='ok'):
  """A trial with a gain over the baseline; a failure has none."""
  losses = (4.0 - gain,) if status == 'ok' else ()
  return tried.trial(number, losses, tags=tags, status=status)


def test_the_posterior_by_hand(monkeypatch):
  monkeypatch.setattr(prospects, 'DIRECTED', (1.0,))
  found = model(edited(1, 1.0, 'A up'), edited(2, -1.0, 'A down'))
  # Signs (1, -1), effects (1, -1) with mean 0: covariance [[2, -1], [-1, 2]], its inverse
  # [[2, 1], [1, 2]]/3, scale (1, -1)·inverse·(1, -1)/2 = 1/3. Weight: (1, -1)·inverse·(1, -1),
  # which is 2/3; its variance 1/3·(1 - 2/3), and 1/3 for the noise.
  mean, spread = found.expects(['A up'])
  assert (mean, spread**2) == pytest.approx((2 / 3, 1 / 9 + 1 / 3))
  assert found.expects(['A down']) == pytest.approx((-2 / 3, spread))
  assert found.expects(['B up']) == pytest.approx((0.0, math.sqrt(2 / 3)))
  assert found.expects([]) == pytest.approx((0.0, math.sqrt(1 / 3)))


def test_what_is_undone_does_the_reverse_and_several_share():
  helped = [edited(n, 0.5, 'A on', 'B on') for n in (1, 2, 3)]
  found = model(*helped, *(edited(n, -0.1 * n, f'C{n} on') for n in range(4, 9)))
  assert found.expects(['A on'])[0] == pytest.approx(found.expects(['B on'])[0])
  assert found.expects(['A on', 'B on'])[0] > found.expects(['A on'])[0] > found.mean
  assert found.expects(['A off'])[0] < found.mean
  assert found.gain(['A on', 'B on']) > found.gain(['C8 on'])


def test_tags_without_a_direction_count_only_when_asked_for():
  trials = [edited(n, 0.5 * (-1) ** n, ('odd', 'even')[n % 2 == 0]) for n in range(1, 9)]
  plain, coarse = model(*trials), model(*trials, coarse=True)
  assert plain.gain(['even']) == plain.gain(['odd'])
  assert coarse.gain(['even']) > coarse.gain(['odd'])


def test_failures_promise_less():
  trials = [edited(n, 0.1 * n, 'A up') for n in range(1, 5)]
  broken = [edited(n, 0.0, 'A up', status='oom') for n in range(5, 8)]
  assert model(*trials, *broken).gain(['A up']) < model(*trials).gain(['A up'])
  assert model(*trials, *broken).effects == 4


@settings(max_examples=40, deadline=None)
@given(
  st.lists(
    st.tuples(
      st.floats(-9, 3), st.sets(st.sampled_from(['A up', 'A down', 'b', 'C on']), max_size=3)
    ),
    max_size=9,
  ),
  st.booleans(),
)
def test_any_run_gives_numbers(outcomes, coarse):
  trials = [edited(n, gain, *sorted(tags)) for n, (gain, tags) in enumerate(outcomes, start=1)]
  found = model(*trials, coarse=coarse)
  for names in ([], ['A up'], ['A down', 'new up'], ['b', 'C off', 'other']):
    mean, spread = found.expects(names)
    assert math.isfinite(mean) and spread >= 0 and found.gain(names) >= 0
  assert np.isfinite(found.expects(['A up', 'b'])).all()
