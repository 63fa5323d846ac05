"""A language model whose train step is bound by memory: passes over an array, hardly a product."""

import jax
import jax.numpy as jnp

BATCH_SIZE = 8
LENGTH = 2**24  # float32 values that every step reads and writes, larger than the caches
LEARNING_RATE = 0.1


def init(key, spec):
  return {'bias': jnp.zeros((spec.vocab_size,)), 'values': jax.random.normal(key, (LENGTH,))}


def train_step(state, batch, progress):
  def loss_of(bias):
    losses = jax.nn.logsumexp(bias) - bias[batch['targets']]
    return losses.mean()

  loss, gradient = jax.value_and_grad(loss_of)(state['bias'])
  values = state['values'] * 0.999 + 0.001 * progress
  return {'bias': state['bias'] - LEARNING_RATE * gradient, 'values': values}, {'loss': loss}


def predict(state, inputs):
  shift = 0.0 * state['values'][0]
  return jnp.broadcast_to(state['bias'] + shift, (*inputs.shape, state['bias'].size))
