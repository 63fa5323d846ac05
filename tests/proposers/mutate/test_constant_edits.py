"""Edits of constants: rules by name, and constants that change together."""

import math

import numpy as np
import pytest

from autoresearch_jax.programs.source import Source
from autoresearch_jax.proposers.mutate.constant_edits import constant_edits
from autoresearch_jax.proposers.mutate.constant_rules import DEFAULT_RULE, RULES
from autoresearch_jax.proposers.mutate.steps import FactorRange

GPT = """
DEPTH = 4
ASPECT_RATIO = 32
HEAD_DIM = 32
WINDOW_PATTERN = 'SSSL'
BATCH_SIZE = 16
MATRIX_LR = 0.04
SCALAR_LR = 0.5
WARMDOWN_RATIO = 0.5
FINAL_LR_FRAC = 0.0
USE_BIAS = False
POLAR_EXPRESS = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0))
print(DEPTH, ASPECT_RATIO, HEAD_DIM, WINDOW_PATTERN, MATRIX_LR, SCALAR_LR, WARMDOWN_RATIO)
print(FINAL_LR_FRAC, USE_BIAS, POLAR_EXPRESS)
"""


def moves(text=GPT):
  return {m.key: m for m in constant_edits(Source(text), FactorRange())}


def results(key, text=GPT, draws=20):
  """Constants after the move, for each draw that gave something."""
  rewrites = [moves(text)[key].make(np.random.default_rng(s)) for s in range(draws)]
  return [Source(r.text).constants for r in rewrites if r is not None]


def width(c):
  return math.ceil(c['DEPTH'] * c['ASPECT_RATIO'] / c['HEAD_DIM']) * c['HEAD_DIM']


def test_batch_sizes_are_powers_of_two_and_the_description_says_how():
  assert {c['BATCH_SIZE'] for c in results('BATCH_SIZE down')} == {8, 4}
  descriptions = {
    moves()['BATCH_SIZE down'].make(np.random.default_rng(s)).description for s in range(9)
  }
  assert 'halve BATCH_SIZE 16 -> 8' in descriptions


@pytest.mark.parametrize(('key', 'factor'), [('up', 2), ('down', 0.5)])
def test_batch_and_rates_move_together(key, factor):
  found = results(f'BATCH_SIZE and rates {key}')
  assert found
  for c in found:
    assert c['BATCH_SIZE'] == 16 * factor
    assert c['MATRIX_LR'] == pytest.approx(0.04 * factor**0.5, rel=0.01)
    assert c['SCALAR_LR'] == pytest.approx(0.5 * factor**0.5, rel=0.01)


@pytest.mark.parametrize('way', ['up', 'down'])
def test_depth_changes_at_one_width(way):
  found = results(f'DEPTH {way} at one width')
  assert found
  for c in found:
    assert c['DEPTH'] != 4
    assert width(c) == 128


@pytest.mark.parametrize(('way', 'sign'), [('up', 1), ('down', -1)])
def test_width_moves_by_whole_heads_so_that_there_is_an_effect(way, sign):
  found = results(f'width {way}')
  assert found
  assert all((width(c) - 128) * sign >= 32 for c in found)
  assert 'ASPECT_RATIO up' not in moves()


def test_windows_that_are_the_same_in_all_layers_are_not_proposed():
  found = [c for way in ('up', 'down') for c in results(f'WINDOW_PATTERN {way}', draws=60)]
  assert found
  for c in found:
    layers = ''.join(c['WINDOW_PATTERN'][i % len(c['WINDOW_PATTERN'])] for i in range(3))
    assert layers != 'SSS'


def test_a_constant_without_effect_is_not_edited():
  assert 'FINAL_LR_FRAC up' in moves()
  assert 'FINAL_LR_FRAC up' not in moves(GPT.replace('RATIO = 0.5', 'RATIO = 0.0'))


def test_orthogonalization_keeps_at_least_three_steps():
  (shorter,) = results('POLAR_EXPRESS down', draws=1)
  assert len(shorter['POLAR_EXPRESS']) == 3
  text = GPT.replace(', (7.0, 8.0)', '')
  assert results('POLAR_EXPRESS down', text) == []


def test_unknown_constants_move_by_their_type():
  assert all(c['USE_BIAS'] is True for c in results('USE_BIAS up'))
  assert results('USE_BIAS down') == []


def test_every_rule_has_a_claim_for_each_direction():
  for rule in (*RULES, DEFAULT_RULE):
    for direction in (rule.up, rule.down):
      assert direction.claim.endswith('.') or not direction.weight
