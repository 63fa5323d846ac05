"""Circles in the unit square, packed by descent: the starting point of the research on packing.

A plain baseline on purpose: many random starts side by side, Adam on a penalised objective whose
penalty grows (Nocedal and Wright, Numerical Optimization, 2006, chapter 17.1), the best of them
returned. Three pure functions are all that the trial engine uses, traced and exported:

    init(key, spec) -> state
    train_step(state, batch, progress) -> (state, metrics)
    predict(state, inputs) -> construction

A construction is one row (x, y, radius) a circle. What is scored is the sum of the radii that are
left when no circle overlaps another or leaves the square. Letters in shapes: b starts, n circles.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# Starts.
BATCH_SIZE = 16  # random starts that are improved side by side
START_MARGIN = 0.05  # of the starting centres from the sides
START_RADIUS = 0.08  # of every circle

# Objective: the sum of radii, less a penalty for every overlap.
PENALTY_START = 10.0  # weight of the overlaps' cost at progress 0
PENALTY_END = 1000.0  # at progress 1: what is left of overlaps is about 1 / PENALTY_END wide

# Optimizer: Adam (arXiv 1412.6980).
LEARNING_RATE = 0.01  # in sides of the square
ADAM_BETAS = (0.9, 0.999)
WARMDOWN_RATIO = 0.15  # share of progress, at the end, over which the learning rate falls
FINAL_LR_FRAC = 0.0  # what it falls to, as a fraction of its peak


class Packing(NamedTuple):
  """Circles of all starts: centres [b, n, 2], radii [b, n]."""

  centres: jax.Array
  radii: jax.Array


class State(NamedTuple):
  """All that training carries from step to step."""

  packing: Packing
  optimizer: Any


def init(key: jax.Array, spec) -> State:
  circles, _ = spec.output_shape
  packing = Packing(start_centres(key, circles), jnp.full((BATCH_SIZE, circles), START_RADIUS))
  return State(packing, make_optimizer().init(packing))


def train_step(state: State, batch: dict[str, jax.Array], progress: jax.Array):
  """One step of every start; `batch` is empty, progress in [0, 1)."""
  del batch
  loss, gradients = jax.value_and_grad(mean_loss)(state.packing, penalty(progress))
  updates, optimizer = make_optimizer().update(gradients, state.optimizer, state.packing)
  rate = schedule(progress)
  packing: Any = optax.apply_updates(state.packing, jax.tree.map(lambda u: rate * u, updates))
  best = feasible_radii(packing).sum(axis=1).max()
  return State(packing, optimizer), {'loss': loss, 'sum_of_radii': best}


def predict(state: State, inputs: jax.Array) -> jax.Array:
  """The best start's circles without their overlaps, [n, 3]; `inputs` is empty."""
  del inputs
  radii = feasible_radii(state.packing)
  best = jnp.argmax(radii.sum(axis=1))
  return jnp.concatenate([state.packing.centres[best], radii[best][:, None]], axis=1)


def start_centres(key: jax.Array, circles: int) -> jax.Array:
  """Random centres, [b, n, 2]."""
  shape = (BATCH_SIZE, circles, 2)
  return jax.random.uniform(key, shape, minval=START_MARGIN, maxval=1 - START_MARGIN)


def mean_loss(packing: Packing, weight: jax.Array) -> jax.Array:
  """Minus the sum of radii plus `weight` times what overlaps cost, mean over the starts."""
  pairs, sides = overlaps(packing)
  costs = cost(pairs).sum(axis=(1, 2)) / 2 + cost(sides).sum(axis=(1, 2))
  costs += cost(jax.nn.relu(-packing.radii)).sum(axis=1)
  return jnp.mean(weight * costs - packing.radii.sum(axis=1))


def cost(overlap: jax.Array) -> jax.Array:
  return jnp.square(overlap)


def overlaps(packing: Packing) -> tuple[jax.Array, jax.Array]:
  """How far circles reach into each other, [b, n, n], and across the sides, [b, n, 4]."""
  centres, radii = packing
  pairs = jax.nn.relu(radii[:, :, None] + radii[:, None, :] - distances(centres))
  sides = jnp.concatenate([centres, 1 - centres], axis=2)
  return without_self(pairs), jax.nn.relu(radii[:, :, None] - sides)


def distances(centres: jax.Array) -> jax.Array:
  """Between the centres of each start, [b, n, n]; a centre's own is 0, with a finite slope."""
  apart = centres[:, :, None] - centres[:, None, :]
  return jnp.sqrt(jnp.square(apart).sum(axis=3) + 1e-12)


def without_self(pairs: jax.Array) -> jax.Array:
  """Zero where a circle meets itself."""
  return pairs * (1 - jnp.eye(pairs.shape[1]))


def feasible_radii(packing: Packing) -> jax.Array:
  """Each radius shrunk by its own worst overlap, so that none is left (up to rounding), [b, n]."""
  centres, radii = packing
  sides = jnp.concatenate([centres, 1 - centres], axis=2).min(axis=2)
  radii = jnp.clip(radii, 0, jnp.maximum(sides, 0))
  both = radii[:, :, None] + radii[:, None, :]
  share = jnp.where(jnp.eye(radii.shape[1], dtype=bool), 1.0, distances(centres) / (both + 1e-12))
  return radii * jnp.minimum(share.min(axis=2), 1.0)


def penalty(progress: jax.Array) -> jax.Array:
  """Geometric from PENALTY_START to PENALTY_END."""
  return PENALTY_START * (PENALTY_END / PENALTY_START) ** progress


def schedule(progress: jax.Array) -> jax.Array:
  """1, then a linear warm-down to FINAL_LR_FRAC."""
  left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
  return FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * jnp.minimum(left, 1.0)


def make_optimizer() -> optax.GradientTransformation:
  """Its learning rate is the peak of the schedule."""
  return optax.adam(LEARNING_RATE, *ADAM_BETAS)
