"""A small MLP and its optimizer: the starting point of the research on supervised problems.

A plain baseline on purpose, with constants and structure left to improve. Three pure functions
are all that the trial engine uses, in this order, traced and exported:

    init(key, spec) -> state
    train_step(state, batch, progress) -> (state, metrics)
    predict(state, inputs) -> logits

Letters in shapes: b examples, i inputs, d width, c classes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

# Model.
DEPTH = 2  # hidden layers
WIDTH = 64  # of each hidden layer
DROPOUT_RATE = 0.0  # share of hidden activations set to zero in training (Srivastava, 2014)
HEAD_STD = 0.01  # standard deviation of the head at the start: near-uniform predictions

# Batch.
BATCH_SIZE = 32  # examples per train step, all devices together

# Optimizer: AdamW (arXiv 1711.05101).
LEARNING_RATE = 0.001
ADAM_BETAS = (0.9, 0.999)
WEIGHT_DECAY = 0.0001  # decoupled, of everything
LABEL_SMOOTHING = 0.0  # probability mass that the target gives to all classes alike
WARMUP_RATIO = 0.0  # share of progress over which the learning rate rises from 0
WARMDOWN_RATIO = 0.0  # share of progress, at the end, over which it falls
FINAL_LR_FRAC = 0.0  # what it falls to, as a fraction of its peak


class State(NamedTuple):
  """All that training carries from step to step; `key` is for dropout."""

  model: Any  # an MLP, which is a pytree; optax's types know none
  optimizer: Any
  key: jax.Array


def init(key: jax.Array, spec) -> State:
  model_key, key = jax.random.split(key)
  model: Any = MLP(model_key, spec)
  return State(model, make_optimizer().init(model), key)


def train_step(state: State, batch: dict[str, jax.Array], progress: jax.Array):
  """One optimizer step on `batch`: inputs float32 [b, i], targets int32 [b]; progress in [0, 1)."""
  key, dropout_key = jax.random.split(state.key)
  loss, gradients = jax.value_and_grad(mean_loss)(state.model, batch, dropout_key)
  updates, optimizer = make_optimizer().update(gradients, state.optimizer, state.model)
  rate = schedule(progress)
  model = optax.apply_updates(state.model, jax.tree.map(lambda u: rate * u, updates))
  return State(model, optimizer, key), {'loss': loss}


def predict(state: State, inputs: jax.Array) -> jax.Array:
  """Logits, float32 [b, c]."""
  return state.model(inputs)


def mean_loss(model: 'MLP', batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
  """Cross-entropy in nats an example."""
  logits = model(batch['inputs'], key)
  targets = optax.smooth_labels(jax.nn.one_hot(batch['targets'], logits.shape[-1]), LABEL_SMOOTHING)
  return optax.softmax_cross_entropy(logits, targets).mean()


class MLP(nnx.Module):
  """Hidden layers with an activation each, then a linear head."""

  def __init__(self, key: jax.Array, spec):
    sizes = [*spec.input_shape, *[WIDTH] * DEPTH]
    *keys, head_key = jax.random.split(key, DEPTH + 1)
    self.hidden = nnx.List(
      [Linear(k, i, o) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True)]
    )
    self.head = Linear(head_key, sizes[-1], spec.num_classes, HEAD_STD)

  def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
    """float32 [b, i] to [b, c]; without a key nothing is dropped."""
    for i, layer in enumerate(self.hidden):
      x = activation(layer(x))
      if dropout_key is not None and DROPOUT_RATE > 0:
        x = dropout(x, jax.random.fold_in(dropout_key, i))
    return self.head(x)


class Linear(nnx.Module):
  """x·W + b; W normal with standard deviation (2 / inputs)^½ (He, arXiv 1502.01852) or `std`."""

  def __init__(self, key: jax.Array, inputs: int, outputs: int, std: float = 0.0):
    std = std or (2 / inputs) ** 0.5
    self.weight = nnx.Param(std * jax.random.normal(key, (inputs, outputs)))
    self.bias = nnx.Param(jnp.zeros(outputs))

  def __call__(self, x: jax.Array) -> jax.Array:
    return x @ self.weight[...] + self.bias[...]


def activation(x: jax.Array) -> jax.Array:
  return jax.nn.relu(x)


def dropout(x: jax.Array, key: jax.Array) -> jax.Array:
  """Zeroes a share of the entries and scales the others, so that the mean stays."""
  kept = jax.random.bernoulli(key, 1 - DROPOUT_RATE, x.shape)
  return jnp.where(kept, x / (1 - DROPOUT_RATE), 0.0)


def schedule(progress: jax.Array) -> jax.Array:
  """Linear warm-up, 1, linear warm-down to FINAL_LR_FRAC."""
  up = progress / WARMUP_RATIO if WARMUP_RATIO > 0 else 1.0
  left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
  down = FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * jnp.minimum(left, 1.0)
  return jnp.minimum(up, down)


def make_optimizer() -> optax.GradientTransformation:
  """Its learning rate is the peak of the schedule."""
  return optax.adamw(LEARNING_RATE, *ADAM_BETAS, weight_decay=WEIGHT_DECAY)
