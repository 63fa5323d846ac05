"""A GRU language model: `jax.lax.scan` over the tokens of a sequence, in plain JAX."""

import jax
import jax.numpy as jnp
import optax

BATCH_SIZE = 16
WIDTH = 128
LEARNING_RATE = 2e-3
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LEARNING_RATE))


def init(key, spec):
  keys = jax.random.split(key, 4)
  vocab = spec.vocab_size
  parameters = {
    'embedding': jax.random.normal(keys[0], (vocab, WIDTH)) * 0.1,
    'input': jax.random.normal(keys[1], (WIDTH, 3 * WIDTH)) * WIDTH**-0.5,
    'hidden': jax.random.normal(keys[2], (WIDTH, 3 * WIDTH)) * WIDTH**-0.5,
    'bias': jnp.zeros(3 * WIDTH),
    'head': jax.random.normal(keys[3], (WIDTH, vocab)) * 0.01,
  }
  return {'parameters': parameters, 'optimizer': OPTIMIZER.init(parameters)}


def logits_of(parameters, inputs):
  gates_in = parameters['embedding'][inputs] @ parameters['input'] + parameters['bias']

  def step(h, x):
    reset_in, update_in, new_in = jnp.split(x, 3, -1)
    reset_h, update_h, new_h = jnp.split(h @ parameters['hidden'], 3, -1)
    reset = jax.nn.sigmoid(reset_in + reset_h)
    update = jax.nn.sigmoid(update_in + update_h)
    h = update * h + (1 - update) * jnp.tanh(new_in + reset * new_h)
    return h, h

  start = jnp.zeros((inputs.shape[0], WIDTH))
  _, hidden = jax.lax.scan(step, start, gates_in.swapaxes(0, 1))
  return hidden.swapaxes(0, 1) @ parameters['head']


def train_step(state, batch, progress):
  def loss_of(parameters):
    logits = logits_of(parameters, batch['inputs'])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets']).mean()

  loss, gradients = jax.value_and_grad(loss_of)(state['parameters'])
  updates, optimizer = OPTIMIZER.update(gradients, state['optimizer'])
  parameters = optax.apply_updates(state['parameters'], updates)
  return {'parameters': parameters, 'optimizer': optimizer}, {'loss': loss}


def predict(state, inputs):
  return logits_of(state['parameters'], inputs)
