"""Bit strings: values against their published definitions, optima against brute force."""

import itertools

import numpy as np
import pytest

from autoresearch_jax.benchmark.simulations import SIMULATIONS, nk, ring
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Budget, Operation, Proposal, Spec, TrialRequest


def made(name, seed=0, **options):
  return SIMULATIONS.make(name, options).instance(seed)


def value(instance, bits):
  return instance.value(instance.format.program(list(bits)))


@pytest.mark.parametrize('k', [0, 1, 4, 9])
@pytest.mark.parametrize('seed', [0, 1])
def test_the_optimum_of_an_nk_landscape_is_that_of_brute_force(k, seed):
  instance = made('nk', seed, n=10, k=k)
  best = max(value(instance, bits) for bits in itertools.product((0, 1), repeat=10))
  assert instance.optimum == best


def test_a_bit_of_an_nk_landscape_touches_itself_and_the_k_before_it():
  instance = made('nk', n=12, k=3)
  bits = np.zeros(12, int)
  before = instance.terms(bits)
  bits[5] = 1
  assert np.flatnonzero(instance.terms(bits) != before).tolist() == [2, 3, 4, 5]
  bits[5], bits[1] = 0, 1  # on a ring
  assert np.flatnonzero(instance.terms(bits) != before).tolist() == [0, 1, 10, 11]


def test_contributions_of_an_nk_landscape_are_uniform():
  instance = made('nk', n=64, k=16)
  rng = np.random.default_rng(0)
  terms = np.concatenate([64 * instance.terms(rng.integers(0, 2, 64)) for _ in range(100)])
  assert terms.min() >= 0 and terms.max() < 1
  assert terms.mean() == pytest.approx(0.5, abs=0.02)
  assert terms.var() == pytest.approx(1 / 12, abs=0.005)


@pytest.mark.parametrize('seed', range(6))
def test_the_best_ring_is_found_where_the_best_path_does_not_close(seed):
  tables = np.random.default_rng(seed).random((9, 8))

  def total(bits):
    return sum(
      t[4 * bits[i] + 2 * bits[(i + 1) % 9] + bits[(i + 2) % 9]] for i, t in enumerate(tables)
    )

  best = max(itertools.product((0, 1), repeat=9), key=total)
  assert tuple(ring.maximum(tables)) == best


@pytest.mark.slow
def test_a_shipped_optimum_is_what_the_search_finds():
  shipped = made('nk', 1008, k=16)  # the quickest to solve
  assert shipped.find_best() == nk.best_bits(64, 16, nk.key_of(1008))


def test_every_shipped_optimum_beats_its_neighbours():
  for seed in (*range(5), *range(1000, 1020)):
    instance = made('nk', seed, k=16)
    bits = np.array(instance.find_best())
    for i in range(64):
      bits[i] ^= 1
      assert instance.terms(bits).sum() < instance.optimum
      bits[i] ^= 1


@pytest.mark.parametrize(('right', 'expected'), [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0), (5, 5)])
def test_trap_5_is_the_published_table(right, expected):
  instance = made('trap', n=5)
  best = instance.bits(instance.solution)
  bits = [b if i < right else 1 - b for i, b in enumerate(best)]
  assert value(instance, bits) == pytest.approx(expected / 5)


def test_trap_5_adds_up_blocks_and_single_flips_lead_away():
  instance = made('trap')
  best = instance.bits(instance.solution)
  assert value(instance, best) == pytest.approx(1.0)
  opposite = [1 - b for b in best]
  assert value(instance, opposite) == pytest.approx(0.8)
  for i in range(60):
    flipped = [b ^ (i == j) for j, b in enumerate(opposite)]
    assert value(instance, flipped) < 0.8


def test_leading_ones_counts_up_to_the_first_wrong_bit():
  instance = made('leading_ones', n=10)
  best = instance.bits(instance.solution)
  values = [value(instance, [b ^ (i == j) for j, b in enumerate(best)]) for i in range(10)]
  assert sorted(values) == pytest.approx([i / 10 for i in range(10)])
  last = values.index(max(values))  # with the last one wrong, any other wrong one counts alone
  both = [b ^ (j in (last, 0)) for j, b in enumerate(best)]
  assert value(instance, both) == pytest.approx(min(values[last], values[0]))


@pytest.mark.parametrize('operation', [Operation.IMPROVE, Operation.DRAFT, Operation.MERGE])
def test_the_last_untried_string_is_proposed(operation):
  instance = made('leading_ones', n=4)
  every = [instance.format.program(bits) for bits in itertools.product((0, 1), repeat=4)]
  parents = (every[0], every[1]) if operation is Operation.MERGE else (every[0],)
  for last in every[2:]:
    tried = frozenset(p.digest for p in every if p != last)
    spec = Spec('supervised', 'cpu', 1, Budget(1.0))
    context = ProposalContext(parents, {}, ('model.py',), instance.objective, spec, tried)
    edit = instance.propose(Proposal(operation), context, np.random.default_rng(0))
    assert edit.program == last


def test_constants_that_are_no_bits_are_rounded_and_words_refused():
  instance = made('leading_ones', n=4)
  best = instance.bits(instance.solution)
  text = ''.join(f'B{i} = {b * 0.7 + 0.1:.2f}\n' for i, b in enumerate(best))
  assert instance.value(instance.start.with_text(text)) == 1.0
  broken = instance.start.with_text('B0 = 1\nB1 = x\nB2 = 0\nB3 = 0\n')
  result = instance.measure(TrialRequest(0, broken, (0,), Budget(1.0)))
  assert result.reason == 'model.py:2 must be "B1 = number"; it is: B1 = x.'
  longer = instance.start.with_text(instance.start.text() + 'B4 = 0\n')
  result = instance.measure(TrialRequest(0, longer, (0,), Budget(1.0)))
  assert result.reason == 'model.py:5 assigns a constant that the problem does not have.'


@pytest.mark.parametrize(
  ('name', 'options', 'said'),
  [
    ('nk', {'k': 17}, 'k from 0 to 16'),
    ('nk', {'n': 4, 'k': 4}, 'n is 4 and k is 4'),
    ('trap', {'n': 12}, 'n is 12; it must be a multiple of 5'),
    ('leading_ones', {'n': 3}, 'n is 3'),
    ('nk', {'noise': -1.0}, 'noise is -1.0'),
    ('nk', {'N': 8}, "no option 'N'; it has: k, n, noise"),
  ],
)
def test_bad_options_are_told(name, options, said):
  with pytest.raises(ValueError, match=said):
    SIMULATIONS.make(name, options)
