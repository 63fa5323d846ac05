"""Evaluators on simulated row losses, whose gains are known by construction."""

import numpy as np
import pytest

from autoresearch_jax.measure.evaluator_choice import (
  BAR,
  TooFewPairs,
  choose,
  halves,
  judged,
  known,
  pairs_among,
  plain,
  stability,
)
from autoresearch_jax.measure.evaluators import (
  METRIC,
  Evaluator,
  PairDifferences,
  RowLosses,
  candidates,
  fit,
)

PROGRAMS, SEEDS, ROWS = 12, 12, 60
EFFECTS = np.linspace(0.0, 1.1, PROGRAMS)


def losses(
  seed=0, effects=EFFECTS, noise=0.1, row_noise=0.1, seconds=4.0, carriers=ROWS, tail=0.0,
  luck=0.0, test=None, progress=(1.0,), early=1.0, programs=PROGRAMS, seeds=SEEDS,
):  # fmt: skip
  """Losses with an effect of each program, noise of each training, and noise of each row.

  Args:
    seed: Of the noise.
    effects: Mean loss of each program.
    noise: Standard deviation of a training's mean.
    row_noise: That of a row in a training.
    seconds: Of a training.
    carriers: The first so many rows have all of the effect and of the trainings' noise.
    tail: Standard deviation of what is added to the row with the largest losses.
    luck: Standard deviation of what all programs share on a seed.
    test: Metric of each program on the test split; None for `effects`.
    progress: Of the recorded states.
    early: Correlation of an early state's training noise with the last one's.
    programs: Their number.
    seeds: Their number.
  """
  rng = np.random.default_rng(seed)
  shape = (programs, seeds)
  shared = luck * rng.normal(size=seeds)
  last = rng.normal(size=shape)
  states = [early * last + np.sqrt(1 - early**2) * rng.normal(size=shape) for _ in progress[:-1]]
  training = np.stack([*states, last], axis=-1) * noise + shared[:, None]
  means = effects[:, None, None] + training
  carrying = (np.arange(ROWS) < carriers) * (ROWS / carriers)
  rows = 3 + means[..., None] * carrying + row_noise * rng.normal(size=(*means.shape, ROWS))
  rows[..., 0] += 5 + tail * np.abs(rng.standard_t(2, size=means.shape))
  on_test = (effects if test is None else test)[:, None] + noise * rng.normal(size=shape)
  return RowLosses(
    progress, rows, np.full(ROWS, 1 / ROWS), on_test, np.full(programs, seconds),
    np.full(programs, 0.2),
  )  # fmt: skip


def chosen(recording, draws=40):
  return choose(recording, *halves(PROGRAMS, 0), draws=draws)


@pytest.mark.parametrize('degrees', [0, 14])
def test_effects_are_free_of_the_noise_of_their_estimate(degrees):
  rng = np.random.default_rng(0)
  drawn = rng.normal(3.0, 1.0, size=(200, 200, 8))
  variance = drawn.var(axis=-1, ddof=1)
  if degrees:
    variance = (variance + rng.normal(size=drawn.shape).var(axis=-1, ddof=1)) / 2
  mean = drawn.mean(axis=-1)
  found = PairDifferences(mean, variance, np.ones_like(mean), 8, degrees)
  assert np.exp(np.log(found.effects()).mean()) == pytest.approx(9.0, rel=0.05)
  assert (found.effects(-np.sign(mean)) == 0.1 / 8).all()  # none of the wrong sign
  nothing = PairDifferences(mean - 3.0, variance, np.ones_like(mean), 8, degrees)
  assert np.median(nothing.effects()) < 0.05


def test_half_of_the_budget_at_a_quarter_of_the_price_is_chosen_and_kept():
  verdict = chosen({1.0: losses(0), 0.25: losses(1, seconds=1.0)})
  assert verdict.fitted.evaluator.budget == 0.25
  assert verdict.is_accepted and verdict.keeps_order
  assert 2 < verdict.gain < 6  # by construction 4.2 / 1.2
  low, high = verdict.interval
  assert low < verdict.gain < high


def test_pairs_on_shared_seeds_gain_what_they_have_in_common():
  recording = {1.0: losses(0, luck=0.15, seeds=200)}  # as many as make the sample's luck 0.15, too
  verdict = judged(recording, plain(recording, METRIC), *halves(PROGRAMS, 0), draws=40)
  assert verdict.gain == pytest.approx((0.15**2 + 0.1**2) / 0.1**2, rel=0.25)
  assert verdict.is_accepted and verdict.test_order.reversed == verdict.test_order.by_metric
  low, high = verdict.interval
  assert BAR < low < verdict.gain < high
  assert chosen({1.0: losses(0, luck=0.15)}).fitted.evaluator.shared_seeds


def test_a_short_budget_that_reverses_the_order_is_not_chosen():
  verdict = chosen({1.0: losses(0), 0.25: losses(1, effects=-EFFECTS, seconds=1.0)})
  assert verdict.fitted.evaluator.budget == 1.0
  assert not verdict.is_accepted


@pytest.mark.parametrize('swapped', ['all', 'two'])
def test_an_order_that_only_the_choosing_half_has_is_refused(swapped):
  _, held_out = halves(PROGRAMS, 0)
  short, wrong = EFFECTS.copy(), held_out if swapped == 'all' else held_out[:3:2]
  short[wrong] = short[wrong[::-1]]
  verdict = chosen({1.0: losses(0), 0.25: losses(1, effects=short, seconds=0.5)})
  assert verdict.fitted.evaluator.budget == 0.25 and verdict.chosen_gain > BAR
  assert verdict.order.reversed == (3 if swapped == 'two' else verdict.order.pairs)
  assert verdict.test_order.reversed > verdict.test_order.by_metric == 0
  assert not verdict.keeps_order and not verdict.is_accepted


def test_the_metrics_own_order_on_the_test_split_is_no_fault_of_an_evaluator():
  test = EFFECTS.copy()
  test[[3, 4]] = test[[4, 3]] + [0.2, -0.2]
  recording = {1.0: losses(0, test=test), 0.25: losses(1, seconds=1.0)}
  verdict = chosen(recording)
  assert verdict.test_order.by_metric > 0 and verdict.keeps_order


def test_clipping_is_chosen_where_one_row_makes_the_noise():
  recording = {1.0: losses(0, tail=30.0)}
  verdict = chosen(recording)
  evaluator = verdict.fitted.evaluator
  assert evaluator.clip < 1 or evaluator.ridge or evaluator.power < 1
  assert verdict.is_accepted and verdict.gain > 3


def test_rows_without_effect_get_no_weight():
  recording = {1.0: losses(0, carriers=20, row_noise=0.6, noise=0.05)}
  signs = known(recording)
  fitted = fit(recording, Evaluator(ridge=0.1), halves(PROGRAMS, 0)[0], signs)
  assert fitted.weights.sum() == pytest.approx(1)
  assert fitted.weights[:20].sum() > 0.8
  verdict = judged(recording, fitted, *halves(PROGRAMS, 0), draws=0)
  assert verdict.gain > 1.2 and verdict.order.is_kept


def test_nothing_is_accepted_where_nothing_is_better():
  effects = 0.12 * np.arange(PROGRAMS)
  for seed in range(3):
    verdict = chosen({1.0: losses(seed, effects=effects)}, draws=0)
    assert not verdict.is_accepted and 0.5 < verdict.gain < BAR


def test_a_control_variate_has_the_variance_of_its_estimator():
  count, until = 4000, 0.25
  one = losses(
    3, effects=np.array([0.0, 1.0]), noise=1.0, row_noise=0.0, progress=(until, 1.0), early=0.9,
    programs=2, seeds=count,
  )  # fmt: skip
  recording = {1.0: one}
  evaluator = Evaluator(cheap_runs=3, cheap_until=until)
  fitted = fit(recording, evaluator, (0, 1), np.zeros((2, 2)))
  assert fitted.coefficient == pytest.approx(0.9, abs=0.03)
  found = fitted.differences(recording)
  assert found.mean[1, 0] == pytest.approx(1.0, abs=0.1)
  # One whole difference and three cheap ones, estimated over and over.
  whole, cheap = (fitted.scores(one, stop) for stop in (1.0, until))
  whole, cheap = whole[1] - whole[0], (cheap[1] - cheap[0]).reshape(-1, 4)
  estimates = whole.reshape(-1, 4)[:, 0] + fitted.coefficient * (cheap.mean(axis=1) - cheap[:, 0])
  assert found.variance[1, 0] == pytest.approx(estimates.var(), rel=0.15)
  metric = plain(recording, METRIC).differences(recording)
  assert found.variance[1, 0] < 0.5 * metric.variance[1, 0]
  # Whole runs of both are scored twice, and three of each are cut off: 4.4 + 3 * (1 + 0.2) each.
  assert found.seconds[1, 0] == pytest.approx(2 * (4.4 + 3 * 1.2))


def test_every_candidate_fits_and_has_a_price():
  recording = {
    1.0: losses(0, progress=(0.25, 0.5, 1.0), early=0.9),
    0.5: losses(1, progress=(0.5, 1.0), seconds=2.0, seeds=6),
  }
  signs = known(recording)
  every = candidates(recording)
  assert every[0] == METRIC and len(set(every)) == len(every)
  for evaluator in every:
    found = fit(recording, evaluator, range(6), signs).differences(recording)
    assert np.isfinite(found.power()).all() and (found.seconds > 0).all()
    assert found.mean == pytest.approx(-found.mean.T)
    assert str(evaluator)


def test_programs_without_differences_are_too_few():
  with pytest.raises(TooFewPairs, match='--seeds'):
    chosen({1.0: losses(0, effects=np.zeros(PROGRAMS), noise=1.0)})


def test_pairs_are_of_the_named_programs_and_splits_are_repeatable():
  signs = np.ones((6, 6)) - np.eye(6)
  first, second = pairs_among(signs, [1, 4, 5])
  assert set(zip(first.tolist(), second.tolist(), strict=True)) == {(4, 1), (5, 1), (5, 4)}
  recording = {1.0: losses(0), 0.25: losses(1, seconds=1.0)}
  found = stability(recording, range(3))
  assert found.splits == 3 and found.accepted == 1.0
  assert found.choices[0][0].budget == 0.25
