"""The packaged kernels: the baseline and each of their edits compute what the reference does."""

import importlib

import jax
import numpy as np
import pytest

from autoresearch_jax.programs.catalogue import listed
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.start import PROGRAMS, is_packaged
from autoresearch_jax.programs.structural_edits import available
from autoresearch_jax.proposers.mutate.constant_edits import constant_edits
from autoresearch_jax.proposers.mutate.steps import FactorRange

RNG = np.random.default_rng(0)


def normal(*shape):
  return RNG.standard_normal(shape, dtype=np.float32)


INPUTS = {
  'softmax_xent': (normal(8, 256), RNG.integers(0, 256, 8).astype(np.int32)),
  'scan': (RNG.random((64, 4), dtype=np.float32), normal(64, 4)),
  'batched_matmul': (normal(64, 3, 5), normal(64, 5, 2)),
}


def computed(text, inputs):
  names = {}
  exec(text, names)
  return np.asarray(jax.jit(names['kernel'])(*inputs))


@pytest.mark.parametrize('name', INPUTS)
def test_each_edit_computes_the_same(name):
  assert is_packaged(f'kernels/{name}')
  folder, inputs = PROGRAMS / 'kernels' / name, INPUTS[name]
  module = importlib.import_module(f'autoresearch_jax.programs.kernels.{name}.reference')
  expected = module.reference(*inputs)
  text = (folder / 'model.py').read_text()
  programs = [text]
  for edit in available(Source(text), listed(folder)):
    made = edit.make(RNG)
    assert made is not None
    programs.append(made.text)
    programs += [e.make(RNG).text for e in available(Source(made.text), listed(folder))]
  assert len(set(programs)) >= 3
  for program in programs:
    np.testing.assert_allclose(computed(program, inputs), expected, rtol=1e-4, atol=1e-5)


def test_constants_of_kernels_move_between_powers_of_two():
  folder = PROGRAMS / 'kernels' / 'softmax_xent'
  source = Source((folder / 'model.py').read_text())
  made = {edit.key: edit for edit in available(source, listed(folder))}
  source = Source(made['sum of a row partial sums'].make(RNG).text)  # which reads LANES
  edits = {edit.key: edit for edit in constant_edits(source, FactorRange())}
  assert set(edits) == {'ROWS up', 'ROWS down', 'LANES up', 'LANES down'}
  for edit in edits.values():
    changed = Source(edit.make(RNG).text).constants
    assert all(value & (value - 1) == 0 for value in changed.values())
