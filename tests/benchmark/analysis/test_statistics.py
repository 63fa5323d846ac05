"""Each figure against the published formula by hand, or against scipy where it has the thing."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoresearch_jax.benchmark.analysis import statistics
from autoresearch_jax.benchmark.analysis.statistics import Estimate

SCORES = arrays(float, (2, 8), elements=st.integers(0, 6).map(float))


def test_the_interquartile_mean_is_that_of_the_middle_half():
  scores = np.array([[0.0, 100.0, 3.0, 4.0], [5.0, 6.0, -50.0, 9.0]])
  assert statistics.interquartile_mean(scores) == (3 + 4 + 5 + 6) / 4  # two cut at either end


def test_its_interval_is_that_of_resampled_seeds_within_problems():
  """Two problems whose runs never differ have no interval, however far apart they are."""
  apart = np.array([[0.0] * 8, [1.0] * 8])
  assert statistics.interquartile_mean_interval(apart) == Estimate(0.5, 0.5, 0.5)


def test_its_interval_covers_what_it_should():
  rng, covered = np.random.default_rng(0), 0
  for _ in range(200):
    found = statistics.interquartile_mean_interval(rng.normal(size=(4, 20)), draws=300)
    assert found.low <= found.value <= found.high
    covered += found.low <= 0.0 <= found.high
  assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_matches_scipys_bootstrap():
  """With one problem, a stratified bootstrap is an ordinary one."""
  scores = np.random.default_rng(1).exponential(size=30)
  ours = statistics.interquartile_mean_interval(scores[None], draws=20_000)
  theirs = scipy.stats.bootstrap(
    (scores,), lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis), n_resamples=20_000,
    method='percentile', rng=2,
  ).confidence_interval  # fmt: skip
  assert ours.low == pytest.approx(theirs.low, abs=0.02)
  assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_the_probability_of_improvement_by_hand():
  # (1, 2) against (2, 3), each with the other's seed: 1<3 and 2=2, so 1.5 of 2
  ours, theirs = np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]])
  assert statistics.probability_of_improvement(ours, theirs) == 1.5 / 2
  both = np.concatenate([ours, theirs]), np.concatenate([theirs, ours])
  assert statistics.probability_of_improvement(*both) == 0.5  # the mean over problems


@settings(max_examples=25, deadline=None)
@given(ours=SCORES, theirs=SCORES)
def test_it_is_mann_whitneys_u_less_the_pairs_of_one_seed(ours, theirs):
  same = ((ours < theirs) + 0.5 * (ours == theirs)).sum(axis=1)
  u = [scipy.stats.mannwhitneyu(b, a).statistic for a, b in zip(ours, theirs, strict=True)]
  expected = np.mean((np.array(u) - same) / (64 - 8))
  found = statistics.probability_of_improvement_interval(ours, theirs, draws=50)
  assert found.value == pytest.approx(expected)
  assert statistics.probability_of_improvement(theirs, ours) == pytest.approx(1 - expected)
  assert 0 <= found.low <= found.high <= 1


def test_its_interval_draws_the_same_seeds_for_both_sides():
  """Each seed's runs are equal on both sides: with other seeds for each it would be wide."""
  scores = np.arange(10.0)[None]
  found = statistics.probability_of_improvement_interval(scores, scores)
  assert found == Estimate(0.5, 0.5, 0.5)


@pytest.mark.parametrize('seeds', [2, 3, 6])
def test_its_interval_by_resampling_the_runs_themselves(seeds):
  rng = np.random.default_rng(5)
  ours, theirs = rng.normal(size=(3, seeds)), rng.normal(0.5, size=(3, seeds))
  slow = [_resampled(ours, theirs, drawn) for drawn in statistics._indices(400, 3, seeds)]
  found = statistics.probability_of_improvement_interval(ours, theirs, draws=400)
  assert [found.low, found.high] == pytest.approx(np.nanquantile(slow, [0.025, 0.975]).tolist())


def _resampled(ours, theirs, drawn):
  """The mean over problems of the share of pairs of different seeds that ours wins."""
  shares = []
  for a, b, index in zip(ours, theirs, drawn, strict=True):
    met = [a[i] < b[j] for i, j in itertools.product(index, index) if i != j]
    shares += [np.mean(met)] if met else []
  return np.mean(shares) if shares else np.nan


@pytest.mark.parametrize('problems', [1, 10])
def test_the_interval_of_improvement_covers_what_it_should(problems):
  """Where the instances differ more than the strategies do, so that runs of one are alike."""
  rng, covered, gap, noise = np.random.default_rng(0), 0, 0.3, 0.3
  truth = scipy.stats.norm.cdf(gap / np.sqrt(2 * (1 + noise**2)))
  for _ in range(200):
    instance = rng.normal(size=(problems, 20))
    ours, theirs = (m + instance + noise * rng.normal(size=instance.shape) for m in (0.0, gap))
    found = statistics.probability_of_improvement_interval(ours, theirs, draws=300)
    covered += found.low <= truth <= found.high
  assert 0.88 <= covered / 200 <= 0.99


def test_one_seed_gives_no_interval():
  one = np.array([[0.2], [0.4]])
  mean = statistics.interquartile_mean_interval(one)
  better = statistics.probability_of_improvement_interval(one, one + 0.1)
  assert (mean.value, better.value) == (pytest.approx(0.3), 1.0)
  assert np.isnan([mean.low, mean.high, better.low, better.high]).all()


def test_a_performance_profile_is_the_share_of_runs_at_or_below():
  scores, thresholds = np.array([[0.1, 0.5], [0.5, 0.9]]), np.array([0.0, 0.1, 0.5, 0.8, 1.0])
  assert statistics.performance_profile(scores, thresholds).tolist() == [0, 0.25, 0.75, 0.75, 1]
  middle, low, high = statistics.performance_profile_interval(scores, thresholds)
  assert middle.tolist() == [0, 0.25, 0.75, 0.75, 1]
  assert low.tolist() == [0, 0, 0.5, 0.5, 1]  # strata: the second problem is above 0.1 always
  assert high.tolist() == [0, 0.5, 1, 1, 1]


@settings(max_examples=20, deadline=None)
@given(ours=SCORES, theirs=SCORES)
def test_wilcoxon_is_scipys_without_ties(ours, theirs):
  found, back = statistics.wilcoxon(ours, theirs), statistics.wilcoxon(theirs, ours)
  difference = (ours - theirs).ravel()
  if not difference.any():
    assert (found.p, found.better, back.better) == (1.0, False, False)
    return
  kept = difference[difference != 0]
  method = 'exact' if len(set(abs(kept))) == len(kept) else 'asymptotic'
  assert found.p == back.p == pytest.approx(scipy.stats.wilcoxon(kept, method=method).pvalue)
  ranks = scipy.stats.rankdata(abs(kept))
  weights = ranks[kept < 0].sum(), ranks[kept > 0].sum()
  assert (found.better, back.better) == (weights[0] > weights[1], weights[1] > weights[0])


def test_wilcoxons_table():
  """Six pairs that all point one way: p is 2 / 2⁶, in his table of 1945."""
  found = statistics.wilcoxon(np.array([[1.0, 2, 3, 4, 5, 6]]), np.array([[2.0, 4, 6, 8, 10, 12]]))
  assert found.p == pytest.approx(2 / 64) and found.better


def test_holm_by_hand():
  # sorted 0.005·4, 0.01·3, 0.03·2, 0.04·1, each at least the one before
  assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
  assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
  assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(ps):
  found = statistics.holm(ps)
  for (p, adjusted), (q, other) in itertools.product(zip(ps, found, strict=True), repeat=2):
    assert min(p, 1) <= adjusted <= min(1.0, len(ps) * p) + 1e-12
    assert p > q or adjusted <= other


def test_a_curves_band_is_that_of_each_point():
  heights = np.random.default_rng(3).normal(size=(12, 5))
  middle, low, high = statistics.curve_interval(heights, draws=400)
  for point in range(5):
    column = heights[:, point][None]
    alone = statistics.interquartile_mean_interval(column, draws=400)
    assert middle[point] == pytest.approx(alone.value)
    assert (low[point], high[point]) == pytest.approx((alone.low, alone.high))


def test_bootstraps_are_the_same_each_time():
  scores = np.random.default_rng(4).normal(size=(3, 7))
  assert len({statistics.interquartile_mean_interval(scores) for _ in range(3)}) == 1
