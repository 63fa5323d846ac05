"""The GPT-2 program keeps the contract and GPT-2's size, and learns."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.programs.gpt2 import model as program

VOCAB, TIME, BATCH = 32, 16, 4
SMALL = {'DEPTH': 2, 'WIDTH': 16, 'HEADS': 2, 'BATCH_SIZE': BATCH, 'LEARNING_RATE': 0.01}
SMALL |= {'MICRO_BATCH_SIZE': BATCH}


@pytest.fixture
def gpt2():
  """The program with small constants; every test gets it as the file has it."""
  importlib.reload(program)
  for name, value in SMALL.items():
    setattr(program, name, value)
  yield program
  importlib.reload(program)


def spec_for(platform: types.Platform = 'cpu', vocab=VOCAB, time=TIME):
  budget = types.Budget(60)
  return types.Spec('language_model', platform, 1, budget, vocab_size=vocab, sequence_length=time)


def random_batch():
  rows = np.random.default_rng(0).integers(0, VOCAB, (BATCH, TIME + 1)).astype(np.int32)
  return {'inputs': rows[:, :-1], 'targets': rows[:, 1:]}


def shapes(tree):
  return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def started(gpt2):
  return jax.jit(lambda key: gpt2.init(key, spec_for()))(jax.random.key(0))


@pytest.mark.parametrize(
  ('constants', 'vocab', 'time', 'count'),
  [
    ({}, 50257, 1024, 124_475_904),  # llm.c prints this number
    ({'VOCAB_MULTIPLE': 1}, 50257, 1024, 124_439_808),  # without the padding: GPT-2 as published
    # nanoGPT's character model prints 10.65 million without the positions.
    (
      {'DEPTH': 6, 'HEADS': 6, 'WIDTH': 384, 'BIAS': False, 'VOCAB_MULTIPLE': 1}, 65, 256,
      10_646_784 + 256 * 384,
    ),
  ],
)  # fmt: skip
def test_sizes_are_the_published_ones(monkeypatch, constants, vocab, time, count):
  importlib.reload(program)
  for name, value in constants.items():
    monkeypatch.setattr(program, name, value)
  spec = spec_for('gpu', vocab, time)
  state = jax.eval_shape(lambda: program.init(jax.random.key(0), spec))
  assert sum(x.size for x in jax.tree.leaves(state.model)) == count


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu'])
@pytest.mark.parametrize('rate', [0.0, 0.1])
def test_train_step_keeps_shapes_and_dtypes(gpt2, platform, rate):
  gpt2.DROPOUT_RATE = rate
  before = jax.eval_shape(lambda: gpt2.init(jax.random.key(0), spec_for(platform)))
  after, metrics = jax.eval_shape(gpt2.train_step, before, random_batch(), jnp.float32(0.5))
  assert shapes(after) == shapes(before)
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert metrics['loss'].shape == () and metrics['loss'].dtype == jnp.float32
  logits = jax.eval_shape(gpt2.predict, before, random_batch()['inputs'])
  assert logits.shape == (BATCH, TIME, VOCAB) and logits.dtype == jnp.float32


@pytest.mark.parametrize('rate', [0.0, 0.1])
def test_it_learns_a_batch_by_heart(gpt2, rate):
  gpt2.DROPOUT_RATE = rate
  state, step = started(gpt2), jax.jit(gpt2.train_step)
  losses = []
  for i in range(60):
    state, metrics = step(state, random_batch(), jnp.float32(i / 60))
    losses.append(float(metrics['loss']))
  assert abs(losses[0] - math.log(VOCAB)) < 0.1  # near-uniform predictions at the start
  assert losses[-1] < 0.6 * losses[0]


def test_micro_batches_change_no_gradient(gpt2):
  state = started(gpt2)
  batch = random_batch() | {'keys': jax.random.split(jax.random.key(0), BATCH)}
  whole = gpt2.by_micro_batches(state.model, batch)
  gpt2.MICRO_BATCH_SIZE = 2
  parts = gpt2.by_micro_batches(state.model, batch)  # jit would not see the new constant
  for x, y in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_dropout_differs_by_step_and_is_off_in_predict(gpt2):
  gpt2.DROPOUT_RATE = 0.5
  state, batch = started(gpt2), random_batch()
  after, first = jax.jit(gpt2.train_step)(state, batch, jnp.float32(0))
  frozen = after._replace(model=state.model)
  _, second = jax.jit(gpt2.train_step)(frozen, batch, jnp.float32(0))
  assert first['loss'] != second['loss']
  once, twice = (jax.jit(gpt2.predict)(s, batch['inputs']) for s in (state, frozen))
  np.testing.assert_array_equal(once, twice)


def test_the_rate_warms_up_and_falls_by_a_cosine(gpt2):
  at = [float(gpt2.schedule(jnp.float32(p))) for p in (0.0, 700 / 18865, 0.5185, 1.0)]
  np.testing.assert_allclose(at, [0, 1, 0.5, 0], atol=0.01)
