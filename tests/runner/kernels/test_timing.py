"""Kernel and reference are timed in pairs, each on inputs that are in no cache."""

import pytest

from autoresearch_jax.runner.kernels import timing


def test_pairs_alternate_and_never_share_their_inputs():
  calls, pairs = [], []

  def named(name):
    return lambda number: calls.append((name, number))

  timing.time_pairs(
    named('kernel'), named('reference'), [(i,) for i in range(4)], lambda n, s: n >= 6,
    lambda pair, index, outputs, ratio: pairs.append(index),
  )  # fmt: skip
  assert calls[:2] == [('kernel', 0), ('reference', 0)]  # warm-up
  order = [(calls[i], calls[i + 1]) for i in range(2, len(calls), 2)]
  assert len(order) == len(pairs) == 6
  assert [first[0] for first, _ in order] == ['kernel', 'reference'] * 3
  assert all(first[1] != second[1] for first, second in order)


@pytest.mark.parametrize('count', [4, 5, 6])
def test_both_functions_get_every_set(count):
  sets: dict[str, list] = {'kernel': [], 'reference': []}
  timed = []
  timing.time_pairs(
    sets['kernel'].append, sets['reference'].append, [(i,) for i in range(count)],
    lambda n, s: n >= 2 * count, lambda pair, index, outputs, ratio: timed.append(index),
  )  # fmt: skip
  kernel, reference = (each[1:] for each in sets.values())  # without the warm-up
  assert kernel == timed
  for found in (kernel, reference):
    assert sorted(found) == sorted(2 * list(range(count)))


def test_the_interval_holds_the_median():
  found = timing.Timing(tuple(range(1, 101)), (2,) * 100).metrics()
  assert found['relative_time'] == pytest.approx(25.25)
  assert 20 < found['relative_time_low'] < 25.25 < found['relative_time_high'] < 31
  assert found['reference_ms'] == 2000


def test_the_sets_of_inputs_exceed_the_caches():
  cache = timing.cache_bytes('cpu')
  assert 0 < cache <= timing.MAX_CACHE_BYTES
  assert timing.num_sets(2**20, 'cpu') * 2**20 >= min(2 * cache, timing.MAX_SETS * 2**20)
  assert timing.num_sets(2**40, 'cpu') == timing.MIN_SETS
