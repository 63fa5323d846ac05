"""A linear recurrence over time: the starting point of the search for a faster kernel.

A plain baseline on purpose: one step after the other. What is in ALL_CAPS, and the expressions that
functions return, are what edits change.
"""

import jax
import jax.numpy as jnp

UNROLL = 1  # steps in one iteration of the loop
CHUNK = 64  # steps of a chunk, where chunks run side by side; divides their number


def kernel(decay, inputs):
  """Returns h with h[t] = decay[t] * h[t - 1] + inputs[t] and h[-1] = 0, float32 [time, channels].

  Args:
    decay: float32 [time, channels], between 0 and 1.
    inputs: float32 [time, channels].
  """
  return recurrence(decay, inputs)


def recurrence(decay, inputs):
  return in_order(decay, inputs)


def in_order(decay, inputs):
  """One step after the other."""

  def step(state, at):
    state = at[0] * state + at[1]
    return state, state

  return jax.lax.scan(step, jnp.zeros_like(inputs[0]), (decay, inputs), unroll=UNROLL)[1]


def in_chunks(decay, inputs):
  """Chunks side by side, each from 0; what came before is added at the end."""
  chunks = [jnp.swapaxes(x.reshape(-1, CHUNK, x.shape[1]), 0, 1) for x in (decay, inputs)]

  def step(state, at):
    state = (at[0] * state[0], at[0] * state[1] + at[1])
    return state, state

  start = jnp.ones_like(chunks[0][0]), jnp.zeros_like(chunks[1][0])
  products, sums = jax.lax.scan(step, start, tuple(chunks), unroll=UNROLL)[1]
  ends = in_order(products[-1], sums[-1])
  before = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
  return jnp.swapaxes(products * before + sums, 0, 1).reshape(inputs.shape)


def as_tree(decay, inputs):
  """Pairs of steps are combined, then pairs of pairs, and so on."""

  def combine(first, second):
    return first[0] * second[0], second[0] * first[1] + second[1]

  return jax.lax.associative_scan(combine, (decay, inputs))[1]
