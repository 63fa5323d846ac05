"""A small convolutional network and its optimizer: a baseline for images, vectors and tables.

Images are convolved; everything else goes straight to the hidden layers. Three pure functions are
all that the trial engine uses, in this order, traced and exported:

    init(key, spec) -> state
    train_step(state, batch, progress) -> (state, metrics)
    predict(state, inputs) -> outputs

`spec` has the shapes: `spec.input_shape` of one example, and `spec.num_classes` in a classification
or `spec.output_shape` in a regression, where the other one is None.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

# Model.
BLOCKS = 2  # convolutional blocks; each halves height and width
WIDTH = 32  # channels of the first block; each further one has twice as many
NORM_GROUPS = 8  # of channels that are normalised together (Wu and He, 2018)
DEPTH = 1  # hidden layers after the blocks
HIDDEN = 128  # units of each hidden layer
DROPOUT_RATE = 0.1  # share of hidden activations set to zero in training

# Batch.
BATCH_SIZE = 64  # examples per train step

# Optimizer: AdamW (arXiv 1711.05101).
LEARNING_RATE = 0.002
WEIGHT_DECAY = 0.01  # decoupled, of everything
LABEL_SMOOTHING = 0.0  # probability mass that the target gives to all classes alike
WARMUP_RATIO = 0.05  # share of progress over which the learning rate rises from 0
WARMDOWN_RATIO = 0.5  # share of progress, at the end, over which it falls
FINAL_LR_FRAC = 0.0  # what it falls to, as a fraction of its peak

sizes = {}  # 'outputs' and 'shape' of the model, set by `init`, which is called first


class ConvNet(nn.Module):
  """Convolutional blocks for images, hidden layers, and a linear head."""

  outputs: int

  @nn.compact
  def __call__(self, x, train=False):
    if x.ndim == 3:  # [batch, height, width]: images without a channel
      x = x[..., None]
    if x.ndim == 4:
      for i in range(BLOCKS):
        x = nn.Conv(WIDTH * 2**i, (3, 3))(x)
        x = activation(nn.GroupNorm(num_groups=NORM_GROUPS)(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2), padding='SAME')
    x = x.reshape(len(x), -1)
    for _ in range(DEPTH):
      x = activation(nn.Dense(HIDDEN)(x))
      x = nn.Dropout(DROPOUT_RATE, deterministic=not train)(x)
    return nn.Dense(self.outputs, kernel_init=nn.initializers.normal(0.01))(x)


def init(key, spec):
  regression = spec.num_classes is None
  sizes['shape'] = spec.output_shape if regression else (spec.num_classes,)
  sizes['outputs'] = math.prod(sizes['shape'])
  params_key, key = jax.random.split(key)
  example = jnp.zeros((1, *spec.input_shape))
  params = ConvNet(sizes['outputs']).init(params_key, example)['params']
  return {'params': params, 'optimizer': make_optimizer().init(params), 'key': key}


def train_step(state, batch, progress):
  """One optimizer step; `progress` in [0, 1) is the share of the budget that is used."""
  key, dropout_key = jax.random.split(state['key'])
  loss, gradients = jax.value_and_grad(mean_loss)(state['params'], batch, dropout_key)
  updates, optimizer = make_optimizer().update(gradients, state['optimizer'], state['params'])
  rate = schedule(progress)
  params = optax.apply_updates(state['params'], jax.tree.map(lambda u: rate * u, updates))
  return {'params': params, 'optimizer': optimizer, 'key': key}, {'loss': loss}


def predict(state, inputs):
  """Logits [batch, classes], or in a regression [batch, *spec.output_shape]."""
  return apply(state['params'], inputs).reshape(len(inputs), *sizes['shape'])


def mean_loss(params, batch, dropout_key):
  """Cross-entropy in nats an example; in a regression, where targets are floats, squared error."""
  outputs = apply(params, batch['inputs'], train=True, rngs={'dropout': dropout_key})
  targets = batch['targets']
  if jnp.issubdtype(targets.dtype, jnp.floating):
    return jnp.square(outputs.reshape(targets.shape) - targets).mean()
  one_hot = optax.smooth_labels(jax.nn.one_hot(targets, outputs.shape[-1]), LABEL_SMOOTHING)
  return optax.softmax_cross_entropy(outputs, one_hot).mean()


def apply(params, inputs, **options) -> Any:
  """The model's outputs, [batch, sizes['outputs']]."""
  return ConvNet(sizes['outputs']).apply({'params': params}, inputs, **options)


def activation(x):
  return jax.nn.relu(x)


def schedule(progress):
  """Linear warm-up, 1, linear warm-down to FINAL_LR_FRAC."""
  up = progress / WARMUP_RATIO if WARMUP_RATIO > 0 else 1.0
  left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
  down = FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * jnp.minimum(left, 1.0)
  return jnp.minimum(up, down)


def make_optimizer():
  """Its learning rate is the peak of the schedule."""
  return optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
