"""A CNN in Flax linen, with max pooling, trained by Adam."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state

BATCH_SIZE = 64
LEARNING_RATE = 1e-3


class CNN(nn.Module):
  """Two convolutions, each with max pooling, and two dense layers."""

  num_classes: int

  @nn.compact
  def __call__(self, x):
    x = x.reshape(-1, 8, 8, 1)
    for features in (32, 64):
      x = nn.relu(nn.Conv(features, (3, 3))(x))
      x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
    return nn.Dense(self.num_classes)(x)


def init(key, spec):
  model = CNN(spec.num_classes)
  parameters = model.init(key, jnp.zeros((1, *spec.input_shape)))
  return train_state.TrainState.create(
    apply_fn=model.apply, params=parameters, tx=optax.adam(LEARNING_RATE)
  )


def train_step(state, batch, progress):
  def loss_of(parameters):
    logits = state.apply_fn(parameters, batch['inputs'])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets']).mean()

  loss, gradients = jax.value_and_grad(loss_of)(state.params)
  return state.apply_gradients(grads=gradients), {'loss': loss}


def predict(state, inputs):
  return state.apply_fn(state.params, inputs)
