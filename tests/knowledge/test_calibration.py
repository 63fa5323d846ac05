"""Predictions are compared with outcomes as a normal distribution each."""

import math

import numpy as np
import pytest

from autoresearch_jax.knowledge import HypothesisOutcome, calibration
from autoresearch_jax.types import Decision, Status


def entry(trial, predicted, sd, effect, effect_sd=0.0, author=''):
  return HypothesisOutcome(
    trial, 0, 'edit', '', (), Status.OK, Decision.DISCARD, False, '', predicted, sd, effect,
    effect_sd, author,
  )  # fmt: skip


def drawn(stated, count=400, noise=0.3):
  """Effects of deviation 1 around what is predicted, with noise, and the stated deviation."""
  rng = np.random.default_rng(0)
  rows = [
    (float(p), float(p + rng.normal() + rng.normal() * noise)) for p in rng.normal(size=count)
  ]
  return [entry(i, p, stated, effect, noise) for i, (p, effect) in enumerate(rows)]


def test_figures_by_hand():
  entries = [
    entry(1, 1.0, 1.0, 2.0), entry(2, 2.0, 1.0, 2.5), entry(3, -1.0, 1.0, 0.5),
    entry(4, 0.0, None, 3.0), entry(5, None, None, 9.0), entry(6, 1.0, 1.0, None),
  ]  # fmt: skip
  (found,) = calibration.calibrations(entries)
  assert (found.author, found.count) == ('all', 4)
  assert found.bias == pytest.approx((1 + 0.5 + 1.5 + 3) / 4)
  assert found.rmse == pytest.approx(math.sqrt((1 + 0.25 + 2.25 + 9) / 4))
  assert found.sign_accuracy == pytest.approx(2 / 3)  # the one predicted to be 0 says nothing
  assert found.rank_correlation == pytest.approx(1 - 6 * (1 + 1 + 0 + 4) / (4 * 15))
  half, most, nearly = found.coverage  # 0.674, 1.28 and 1.96 deviations
  assert (half.inside, most.inside, nearly.inside) == (1, 2, 3)
  assert {c.count for c in found.coverage} == {3}


def test_the_noise_of_the_outcome_widens_the_interval():
  assert calibration.coverage([entry(1, 0.0, 1.0, 2.5)], [0.95])[0].inside == 0
  assert calibration.coverage([entry(1, 0.0, 1.0, 2.5, 1.0)], [0.95])[0].inside == 1


def test_wilsons_interval_by_hand():
  """10 of 10: from 1 / (1 + z²/10), as the formula gives at the edge."""
  entries = [entry(i, 0.0, 1.0, 0.0) for i in range(10)]
  (found,) = calibration.coverage(entries, [0.5])
  assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 10), abs=1e-6)
  assert found.high == pytest.approx(1.0)


@pytest.mark.parametrize(
  ('stated', 'verdict'), [(1.0, 'fair'), (0.4, 'too narrow'), (3.0, 'too wide')]
)
def test_stated_uncertainty_is_judged(stated, verdict):
  (found,) = calibration.calibrations(drawn(stated))
  assert {c.verdict for c in found.coverage} == {verdict}
  assert f': {verdict}.' in calibration.summary([found])


def test_authors_are_apart_when_there_are_several():
  entries = [entry(1, 1.0, 1.0, 2.0, author='m'), entry(2, 1.0, 1.0, 1.5)]
  assert [c.author for c in calibration.calibrations(entries)] == ['all', 'no model', 'm']
  assert calibration.calibrations([entry(1, None, None, 1.0)]) == []


def test_what_does_not_vary_has_no_correlation():
  (found,) = calibration.calibrations([entry(i, 1.0, 1.0, float(i)) for i in range(6)])
  assert found.correlation is found.rank_correlation is None


@pytest.mark.parametrize(
  ('count', 'start'), [(0, 'No prediction has'), (1, 'Only one'), (4, 'Only 4 predictions have')]
)
def test_too_few_are_said_to_be(count, start):
  found = calibration.calibrations([entry(i, 1.0, 1.0, 1.0) for i in range(count)])
  assert calibration.summary(found).startswith(start)


@pytest.mark.parametrize('count', [0, 1, 40])
def test_the_plot_is_drawn_however_much_there_is(tmp_path, count):
  entries = drawn(1.0, count)
  if count == 40:
    entries += [entry(99, 0.1, None, -1e4, author='an $author$\n'), entry(98, 0.0, 0.0, 0.0)]
  path = tmp_path / 'calibration.png'
  calibration.draw(entries, 'loss_$x$', path)
  assert path.read_bytes().startswith(b'\x89PNG')
  assert list(tmp_path.iterdir()) == [path]
