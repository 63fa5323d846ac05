"""Placebos: the same program from other random numbers, or the same program altogether."""

import jax
import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.knowledge.duplicates import DuplicateIndex
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.proposers.placebo import with_placebo

SPEC = types.Spec(
  'supervised', 'cpu', 1, types.Budget(300, 'steps'), input_shape=(64,), num_classes=10
)
MLP = types.Program.read(PROGRAMS / 'mlp', ('model.py',), 'model.py')


def start_of(program):
  """The weights of the first layer before training."""
  module = {'__name__': 'model'}
  exec(compile(program.text(), 'model.py', 'exec'), module)
  return np.asarray(module['init'](jax.random.key(0), SPEC).model.hidden[0].weight[...])


def test_a_number_chooses_where_training_starts_and_nothing_else():
  first, same, other = (start_of(with_placebo(MLP, number)) for number in (7, 7, 8))
  assert np.array_equal(first, same)
  assert not np.allclose(first, other)
  assert first.std() == pytest.approx(start_of(MLP).std(), rel=0.05)


def test_a_placebo_of_a_placebo_is_one_of_the_program():
  assert with_placebo(with_placebo(MLP, 7), 8) == with_placebo(MLP, 8)


def test_a_comment_leaves_the_program_as_it_is_and_a_redrawn_one_is_another():
  index = DuplicateIndex()
  index.add(0, with_placebo(MLP, 7))
  assert index.find(with_placebo(with_placebo(MLP, 7), 8, reseed=False)) == (0, True)
  assert index.find(with_placebo(MLP, 8)) is None
