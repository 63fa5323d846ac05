"""Continuous functions against hand-computed values."""

import math

import numpy as np
import pytest

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.continuous import FUNCTIONS
from autoresearch_jax.types import Budget, Status, TrialRequest


def made(function, dimension=2, seed=0):
  options = {'function': function, 'dimension': dimension}
  return SIMULATIONS.make('continuous', options).instance(seed)


def at(instance, *offset):
  """The value that far from the optimum."""
  return instance.value(instance.format.program((instance.shift + np.array(offset)).tolist()))


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('dimension', [2, 10, 40])
def test_the_minimum_is_0_at_the_shift(function, dimension):
  instance = made(function, dimension)
  assert at(instance, *[0.0] * dimension) == pytest.approx(0, abs=1e-12)
  assert np.abs(instance.shift).max() <= 4


@pytest.mark.parametrize(
  ('function', 'offset', 'expected'),
  [
    ('sphere', (0.5, -0.25), 0.3125),
    ('rastrigin', (0.5, 0.0), 20.25),  # 0.25 - 10 cos π + 10
    ('rastrigin', (1.0, -1.0), 2.0),
    ('rastrigin', (0.25, 0.25), 2 * (0.0625 + 10)),
    ('rosenbrock', (-1.0, -1.0), 1.0),  # u = (0, 0)
    ('rosenbrock', (0.0, 1.0), 100.0),  # u = (1, 2)
    ('rosenbrock', (1.0, 0.0), 100 * 9 + 1),  # u = (2, 1)
    ('ackley', (1.0, 1.0), 20 - 20 * math.exp(-0.2)),
    ('ackley', (0.5, 0.5), 20 - 20 * math.exp(-0.1) + math.e - math.exp(-1)),
  ],
)
def test_values_are_those_of_the_formula(function, offset, expected):
  assert at(made(function), *offset) == pytest.approx(expected)


def test_the_ellipsoid_has_condition_10_to_the_6_in_rotated_axes():
  instance = made('ellipsoid', 5)
  axes = np.eye(5)
  form = [[(at(instance, *(a + b) / 4) - at(instance, *(a - b) / 4)) for b in axes] for a in axes]
  hessian = 4 * np.array(form)
  values = np.linalg.eigvalsh(hessian)
  assert values == pytest.approx(10 ** np.linspace(0, 6, 5), rel=1e-4)
  assert np.abs(hessian - np.diag(np.diag(hessian))).max() > 1e3


def test_outside_of_the_box_is_invalid():
  instance = made('sphere')
  program = instance.start.with_text('X0 = 0.0\nX1 = -5.25\n')
  result = instance.measure(TrialRequest(0, program, (0,), Budget(1.0)))
  assert result.status is Status.INVALID
  assert result.reason == 'X1 is -5.25, which is outside the box [-5, 5].'
  huge = instance.start.with_text('X0 = 1e308\nX1 = 1e308\n')  # the sum of which overflows
  result = instance.measure(TrialRequest(0, huge, (0,), Budget(1.0)))
  assert result.reason == 'X0 is 1e+308, which is outside the box [-5, 5].'
  for word in ('nan', 'inf', '1e999'):
    assert instance.value(instance.start.with_text(f'X0 = 0.0\nX1 = {word}\n')) is None


def test_whole_values_keep_their_point_so_that_samplers_see_floats():
  instance = made('sphere')
  assert instance.format.text([1.0, -2]) == 'X0 = 1.0\nX1 = -2.0\n'


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'function': 'spere'}, "no continuous function 'spere'; there are: sphere, ellipsoid"),
    ({'function': 'rosenbrock', 'dimension': 1}, 'needs 2 or more'),
    ({'dimension': 0}, 'dimension is 0'),
    ({'noise': float('nan')}, 'noise.* is nan'),
  ],
)
def test_bad_options_are_told(options, said):
  with pytest.raises(ValueError, match=said):
    SIMULATIONS.make('continuous', options)
