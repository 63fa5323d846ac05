"""What edits of several factors are expected to gain, against figures by hand."""

import math

import numpy as np
import pytest
from helpers import tried
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.knowledge import Memory, effect_regression
from autoresearch_jax.knowledge.effect_regression import EffectRegression

BASELINE = tried.trial(0, (4.0,), decision='keep')


def model(*trials, **options):
  memory = Memory(tried.history(BASELINE, *trials), tried.OBJECTIVE)
  return EffectRegression.fit(tuple(memory.hypotheses.values()), **options)


def edited(number, gain, *tags, status='ok'):
  """A trial with a gain over the baseline; a failure has none."""
  losses = (4.0 - gain,) if status == 'ok' else ()
  return tried.trial(number, losses, tags=tags, status=status)


def test_the_posterior_by_hand(monkeypatch):
  monkeypatch.setattr(effect_regression, 'DIRECTED_VARIANCES', (1.0,))
  found = model(edited(1, 1.0, 'A up'), edited(2, -1.0, 'A down'))
  # Signs (1, -1), effects (1, -1) with mean 0: covariance [[2, -1], [-1, 2]], its inverse
  # [[2, 1], [1, 2]]/3, scale (1, -1)·inverse·(1, -1)/2 = 1/3. Weight: (1, -1)·inverse·(1, -1),
  # which is 2/3; its variance 1/3·(1 - 2/3), and 1/3 for the noise.
  mean, spread = found.predict(['A up'])
  assert (mean, spread**2) == pytest.approx((2 / 3, 1 / 9 + 1 / 3))
  assert found.predict(['A down']) == pytest.approx((-2 / 3, spread))
  assert found.predict(['B up']) == pytest.approx((0.0, math.sqrt(2 / 3)))
  assert found.predict([]) == pytest.approx((0.0, math.sqrt(1 / 3)))


def test_what_is_undone_does_the_reverse_and_several_share():
  helped = [edited(n, 0.5, 'A on', 'B on') for n in (1, 2, 3)]
  found = model(*helped, *(edited(n, -0.1 * n, f'C{n} on') for n in range(4, 9)))
  assert found.predict(['A on'])[0] == pytest.approx(found.predict(['B on'])[0])
  assert found.predict(['A on', 'B on'])[0] > found.predict(['A on'])[0] > found.mean
  assert found.predict(['A off'])[0] < found.mean
  assert found.expected_gain(['A on', 'B on']) > found.expected_gain(['C8 on'])


def test_tags_without_a_direction_count_only_when_asked_for():
  trials = [edited(n, 0.5 * (-1) ** n, ('odd', 'even')[n % 2 == 0]) for n in range(1, 9)]
  plain, coarse = model(*trials), model(*trials, undirected=True)
  assert plain.expected_gain(['even']) == plain.expected_gain(['odd'])
  assert coarse.expected_gain(['even']) > coarse.expected_gain(['odd'])


def test_failures_promise_less():
  trials = [edited(n, 0.1 * n, 'A up') for n in range(1, 5)]
  broken = [edited(n, 0.0, 'A up', status='oom') for n in range(5, 8)]
  assert model(*trials, *broken).expected_gain(['A up']) < model(*trials).expected_gain(['A up'])
  assert model(*trials, *broken).num_effects == 4


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
  found = model(*trials, undirected=coarse)
  for names in ([], ['A up'], ['A down', 'new up'], ['b', 'C off', 'other']):
    mean, spread = found.predict(names)
    assert math.isfinite(mean) and spread >= 0 and found.expected_gain(names) >= 0
  assert np.isfinite(found.predict(['A up', 'b'])).all()
