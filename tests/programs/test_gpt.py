"""The GPT program keeps the contract, the original's numbers, and learns."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from autoresearch_jax import types
from autoresearch_jax.programs.gpt import model as program

VOCAB, TIME, BATCH = 32, 16, 4
SMALL = {'DEPTH': 2, 'ASPECT_RATIO': 10, 'HEAD_DIM': 16, 'BATCH_SIZE': BATCH}


@pytest.fixture
def gpt():
  """The program with small constants; every test gets it as the file has it."""
  importlib.reload(program)
  for name, value in SMALL.items():
    setattr(program, name, value)
  yield program
  importlib.reload(program)


def spec_for(platform='cpu', vocab=VOCAB, time=TIME, devices=1):
  budget = types.Budget(60)
  return types.Spec(
    'language_model', platform, devices, budget, vocab_size=vocab, sequence_length=time
  )


def random_batch(size=BATCH, time=TIME):
  rows = np.random.default_rng(0).integers(0, VOCAB, (size, time + 1)).astype(np.int32)
  return {'inputs': rows[:, :-1], 'targets': rows[:, 1:]}


def shapes(tree):
  return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


@pytest.fixture
def state(gpt):
  return jax.jit(lambda key: gpt.init(key, spec_for()))(jax.random.key(0))


def test_the_file_has_the_original_size():
  """50.3 M parameters at depth 8, width 512, vocabulary 8192, as the published run says."""
  importlib.reload(program)
  spec = spec_for('gpu', 8192, 2048)
  state = jax.eval_shape(lambda: program.init(jax.random.key(0), spec))
  count = sum(x.size for x in jax.tree.leaves(state.model))
  assert round(count / 1e6, 1) == 50.3
  assert state.model.width == 512
  assert program.BATCH_SIZE * 2048 == 2**19


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu'])
def test_train_step_keeps_shapes_and_dtypes(gpt, platform):
  spec = spec_for(platform)
  before = jax.eval_shape(lambda: gpt.init(jax.random.key(0), spec))
  after, metrics = jax.eval_shape(gpt.train_step, before, random_batch(), jnp.float32(0.5))
  assert shapes(after) == shapes(before)
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert metrics['loss'].shape == () and metrics['loss'].dtype == jnp.float32
  logits = jax.eval_shape(gpt.predict, before, random_batch()['inputs'])
  assert logits.shape == (BATCH, TIME, VOCAB) and logits.dtype == jnp.float32
  narrow = jnp.float32 if platform == 'cpu' else jnp.bfloat16
  assert jax.tree.leaves(before.model.embedding)[0].dtype == narrow


@pytest.mark.slow
def test_starts_near_uniform_steps_by_adam_and_learns(gpt, state):
  step, batch = jax.jit(gpt.train_step), random_batch()
  head = state.model.head[...]
  gradient = jax.jit(gpt.loss_and_gradients)(state.model, batch)[1].head[...]
  losses = []
  for i in range(30):
    state, metrics = step(state, batch, np.float32(i / 30))
    losses.append(float(metrics['loss']))
    if i == 0:
      adam = optax.adam(0.004 * (state.model.width / 768) ** -0.5, 0.8, 0.95, 1e-10)
      update, _ = adam.update(gradient, adam.init(head))
      np.testing.assert_allclose(state.model.head[...], head + update, rtol=1e-4, atol=1e-6)
  assert abs(losses[0] - np.log(VOCAB)) < 0.01
  assert losses[-1] < 0.5 * losses[0]
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.slow
def test_micro_batches_give_the_gradient_of_the_whole(gpt, state):
  batch = random_batch(8)
  model = jax.tree.map(lambda x: x + 0.01, state.model)
  whole = jax.jit(gpt.loss_and_gradients)(model, batch)
  gpt.MICRO_BATCH_SIZE = 2
  parts = jax.jit(functools.partial(gpt.loss_and_gradients))(model, batch)  # traced anew
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_sees_no_later_token_and_no_other_row(gpt, state):
  state = state._replace(model=jax.tree.map(lambda x: x + 0.05, state.model))
  predict = jax.jit(gpt.predict)
  inputs = random_batch()['inputs']
  changed = inputs.copy()
  changed[0, 9:] = 5
  changed[2:] = 7
  before, after = predict(state, inputs), predict(state, changed)
  np.testing.assert_array_equal(before[0, :9], after[0, :9])
  np.testing.assert_array_equal(before[1], after[1])
  assert not np.array_equal(before[0, 9:], after[0, 9:])
  assert np.abs(before).max() <= gpt.LOGIT_CAP


def test_gradients_of_a_frequent_token_are_all_counted(gpt):
  table, tokens = jnp.zeros((2, 1), jnp.bfloat16), jnp.zeros(1000, jnp.int32)
  gradient = jax.grad(lambda table: gpt.look_up(table, tokens).astype(table.dtype).sum())(table)
  assert gradient.dtype == table.dtype
  assert gradient[0, 0] == 1000


def test_windows_follow_the_pattern_and_the_last_layer_sees_all(gpt):
  gpt.DEPTH = 6
  assert [gpt.window_of(i, 100) for i in range(6)] == [50, 50, 50, 100, 50, 100]


@pytest.mark.parametrize(('depth', 'layers'), [(1, [0]), (3, [0, 2]), (8, [1, 3, 5, 7])])
def test_value_embeddings_alternate_and_end_on_the_last_layer(gpt, depth, layers):
  gpt.DEPTH = depth
  assert [i for i in range(depth) if gpt.has_value_embedding(i)] == layers


def test_schedules_follow_progress(gpt):
  rates = [float(gpt.schedule(jnp.float32(p))) for p in (0, 0.5, 0.75, 1)]
  np.testing.assert_allclose(rates, [1, 1, 0.5, 0], atol=1e-6)
  gpt.WARMUP_RATIO, gpt.FINAL_LR_FRAC = 0.2, 0.1
  rates = [float(gpt.schedule(jnp.float32(p))) for p in (0, 0.1, 0.4, 0.75, 1)]
  np.testing.assert_allclose(rates, [0, 0.5, 1, 0.55, 0.1], atol=1e-6)
  momenta = [float(gpt.momentum(jnp.int32(step))) for step in (0, 150, 300, 9000)]
  np.testing.assert_allclose(momenta, [0.85, 0.9, 0.95, 0.95], rtol=1e-6)
  np.testing.assert_allclose(gpt.weight_decay(jnp.float32(0.25)), 0.15, rtol=1e-6)


def test_rates_of_the_groups(gpt):
  rates = gpt.learning_rates(192, jnp.float32(0))
  expected = {
    'embedding': 1.2,
    'value_embeddings': 1.2,
    'head': 0.008,
    'residual': 0.005,
    'skip': 0.5,
    'matrices': 0.04,
  }
  assert {k: round(float(v), 6) for k, v in rates.items()} == expected


def test_orthogonalize_brings_singular_values_near_one(gpt):
  x = np.random.default_rng(0).normal(size=(3, 8, 24)).astype(np.float32)
  values = np.linalg.svd(jax.jit(gpt.orthogonalize)(x), compute_uv=False)
  assert values.min() > 0.7 and values.max() < 1.3
  assert not np.any(gpt.orthogonalize(jnp.zeros((1, 4, 4))))


def test_muon_is_the_formula_for_each_matrix_alone(gpt):
  """Batched by shape or one at a time, square, wide or tall: every matrix has its own update."""
  rng = np.random.default_rng(0)
  forms = {'a': (2, 6, 6), 'b': (1, 6, 12), 'c': (2, 12, 6), 'd': (1, 6, 6)}
  params, *gradients = (
    {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in forms.items()} for _ in range(3)
  )
  rule = gpt.muon()
  update = jax.jit(functools.partial(rule.update, params=params, progress=0.5))
  state = rule.init(params)
  for gradient in gradients:
    updates, state = update(gradient, state)
  for name, stack in params.items():
    for i in range(len(stack)):
      both = [np.asarray(g[name][i], np.float64) for g in gradients]
      expected = muon_of_one(np.asarray(stack[i], np.float64), both, gpt)
      np.testing.assert_allclose(updates[name][i], expected, rtol=2e-3, atol=2e-4)


def muon_of_one(param, gradients, gpt):
  """The second of two updates of one [inputs, outputs] matrix, in float64, at progress 0.5."""
  momentum, squares = 0.0, 0.0
  axis = 0 if param.shape[1] >= param.shape[0] else 1
  for step, gradient in enumerate(gradients):
    beta = 0.85 + 0.1 * step / 300
    momentum = beta * momentum + (1 - beta) * gradient
    x = beta * momentum + (1 - beta) * gradient
    x = x / (1.02 * np.linalg.norm(x) + 1e-6)
    for a, b, c in gpt.POLAR_EXPRESS:
      square = x @ x.T
      x = a * x + b * square @ x + c * square @ square @ x
    squares = 0.95 * squares + 0.05 * np.square(x).mean(axis=axis, keepdims=True)
  scaled = x / np.sqrt(squares)
  x = scaled * np.linalg.norm(x) / np.linalg.norm(scaled)
  x = x + 0.1 * param * (x * param >= 0)
  return max(1, param.shape[1] / param.shape[0]) ** 0.5 * x


def test_another_seed_is_another_model_and_the_same_seed_the_same(gpt):
  make = jax.jit(lambda seed: gpt.init(jax.random.key(seed), spec_for()).model.blocks.mlp.up[...])
  assert np.array_equal(make(1), make(1))
  assert not np.array_equal(make(1), make(2))


def test_initial_numbers_have_the_original_spread(gpt):
  gpt.ASPECT_RATIO, gpt.DEPTH = 64, 2
  model = jax.jit(lambda: gpt.init(jax.random.key(0), spec_for(vocab=256)).model)()
  bound = (3 / model.width) ** 0.5
  for name in 'qkv':
    weights = np.asarray(getattr(model.blocks.attention, name)[...])
    assert 0.99 * bound < np.abs(weights).max() <= bound
    assert abs(weights.std() - model.width**-0.5) < 0.02 * model.width**-0.5
  assert abs(np.std(model.embedding[...]) - 1) < 0.02
  assert abs(np.std(model.head[...]) - 0.001) < 0.00005
  for zero in (model.blocks.attention.out, model.blocks.mlp.down, model.value_gates):
    assert not np.any(zero[...])
  np.testing.assert_array_equal(model.residual[...], [1.0, 1.0])
  np.testing.assert_array_equal(model.skip[...], np.float32([0.1, 0.1]))
