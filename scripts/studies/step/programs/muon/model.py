"""An MLP whose optimizer costs more than its gradients: optax's Muon on matrices of 512."""

import jax
import jax.numpy as jnp
import optax

BATCH_SIZE = 32
WIDTH, DEPTH = 512, 3
LEARNING_RATE = 0.02
OPTIMIZER = optax.contrib.muon(LEARNING_RATE)


def init(key, spec):
  sizes = [*spec.input_shape, *[WIDTH] * DEPTH, spec.num_classes]
  keys = jax.random.split(key, DEPTH + 1)
  parameters = [
    {'weight': jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, 'bias': jnp.zeros(o)}
    for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True)
  ]
  return parameters, OPTIMIZER.init(parameters)


def logits_of(parameters, x):
  for layer in parameters[:-1]:
    x = jax.nn.relu(x @ layer['weight'] + layer['bias'])
  return x @ parameters[-1]['weight'] + parameters[-1]['bias']


def train_step(state, batch, progress):
  def loss_of(parameters):
    logits = logits_of(parameters, batch['inputs'])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets']).mean()

  parameters, optimizer = state
  loss, gradients = jax.value_and_grad(loss_of)(parameters)
  updates, optimizer = OPTIMIZER.update(gradients, optimizer, parameters)
  return (optax.apply_updates(parameters, updates), optimizer), {'loss': loss}


def predict(state, inputs):
  return logits_of(state[0], inputs)
