"""Three convolutions with residual connections and batch normalisation, in Flax NNX."""

from typing import Any, NamedTuple

import jax
import optax
from flax import nnx

BATCH_SIZE = 64
WIDTH = 32
LEARNING_RATE = 1e-3


class CNN(nnx.Module):
  """A stem and two residual convolutions of WIDTH channels, then the mean over the image."""

  def __init__(self, num_classes, rngs):
    self.stem = nnx.Conv(1, WIDTH, (3, 3), rngs=rngs)
    self.convs = nnx.List([nnx.Conv(WIDTH, WIDTH, (3, 3), rngs=rngs) for _ in range(2)])
    self.norms = nnx.List([nnx.BatchNorm(WIDTH, rngs=rngs) for _ in range(2)])
    self.head = nnx.Linear(WIDTH, num_classes, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.stem(x.reshape(-1, 8, 8, 1)))
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = x + nnx.relu(norm(conv(x)))
    return self.head(x.mean((1, 2)))


class State(NamedTuple):
  """Parameters, batch statistics, and the optimizer's state."""

  parameters: Any
  statistics: Any
  optimizer: Any


OPTIMIZER = optax.adam(LEARNING_RATE)
STRUCTURE: dict[str, Any] = {}


def init(key, spec):
  model = CNN(spec.num_classes, nnx.Rngs(key))
  STRUCTURE['graph'], parameters, statistics = nnx.split(model, nnx.Param, ...)
  return State(parameters, statistics, OPTIMIZER.init(parameters))


def train_step(state, batch, progress):
  def loss_of(parameters):
    model = nnx.merge(STRUCTURE['graph'], parameters, state.statistics, copy=True)
    model.train()
    logits = model(batch['inputs'])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets'])
    return losses.mean(), nnx.split(model, nnx.Param, ...)[2]

  (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.parameters)
  updates, optimizer = OPTIMIZER.update(gradients, state.optimizer, state.parameters)
  parameters = optax.apply_updates(state.parameters, updates)
  return State(parameters, statistics, optimizer), {'loss': loss}


def predict(state, inputs):
  model = nnx.merge(STRUCTURE['graph'], state.parameters, state.statistics)
  model.eval()
  return model(inputs)
