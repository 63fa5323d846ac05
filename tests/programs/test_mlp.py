"""The MLP obeys the contract of a program, and learns."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.programs.mlp import model

pytestmark = pytest.mark.slow

SPEC = types.Spec(
  'supervised', 'cpu', 1, types.Budget(30, 'steps'), input_shape=(64,), num_classes=10
)


def batch(seed=0, size=32):
  """Ten noisy prototypes, easy to tell apart."""
  rng = np.random.default_rng(seed)
  targets = rng.integers(10, size=size)
  prototypes = np.random.default_rng(9).uniform(size=(10, 64))
  inputs = prototypes[targets] + 0.1 * rng.normal(size=(size, 64))
  return {'inputs': jnp.asarray(inputs, jnp.float32), 'targets': jnp.asarray(targets, jnp.int32)}


def trained(steps):
  step = jax.jit(model.train_step)
  state, losses = model.init(jax.random.key(0), SPEC), []
  for i in range(steps):
    state, metrics = step(state, batch(i), jnp.float32(i / steps))
    losses.append(float(metrics['loss']))
  return state, losses


def test_training_lowers_the_loss_from_that_of_a_guess():
  state, losses = trained(60)
  assert losses[0] == pytest.approx(np.log(10), abs=0.1)
  assert losses[-1] < losses[0] / 2
  logits = model.predict(state, batch(100)['inputs'])
  assert logits.shape == (32, 10) and logits.dtype == jnp.float32
  assert (logits.argmax(1) == batch(100)['targets']).mean() > 0.9


def test_the_state_keeps_its_shapes_and_the_seed_decides():
  first, same, other = (model.init(jax.random.key(s), SPEC) for s in (0, 0, 1))
  after, _ = model.train_step(first, batch(), jnp.float32(0))
  assert jax.tree.structure(after) == jax.tree.structure(first)
  shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(s)] for s in (first, after)]
  assert shapes[0] == shapes[1]
  weights = [s.model.head.weight[...] for s in (first, same, other)]
  assert (weights[0] == weights[1]).all() and (weights[0] != weights[2]).any()


def test_dropout_acts_in_training_alone(monkeypatch):
  state = model.init(jax.random.key(0), SPEC)
  inputs = batch()['inputs']
  plain = state.model(inputs)
  monkeypatch.setattr(model, 'DROPOUT_RATE', 0.5)
  assert (state.model(inputs) == plain).all()
  assert (state.model(inputs, jax.random.key(1)) != plain).any()


def test_the_schedule_rises_stays_and_falls(monkeypatch):
  monkeypatch.setattr(model, 'WARMUP_RATIO', 0.1)
  monkeypatch.setattr(model, 'WARMDOWN_RATIO', 0.4)
  monkeypatch.setattr(model, 'FINAL_LR_FRAC', 0.2)
  rates = [float(model.schedule(jnp.float32(p))) for p in (0, 0.05, 0.1, 0.6, 0.8, 1)]
  np.testing.assert_allclose(rates, [0, 0.5, 1, 1, 0.6, 0.2], atol=1e-6)


def test_without_a_schedule_the_rate_is_constant():
  assert importlib.import_module(model.__name__).WARMDOWN_RATIO == 0
  assert float(model.schedule(jnp.float32(0.99))) == 1
