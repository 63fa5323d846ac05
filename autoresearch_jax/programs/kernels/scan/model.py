"""A linear recurrence over time: the starting point of the search for a faster kernel.

A plain baseline on purpose: a tree of steps, which suits accelerators. What is in ALL_CAPS, and the
expressions that functions return, are what edits change.
"""

import jax
import jax.numpy as jnp

UNROLL = 1  # steps in one iteration of the loop
BLOCK = 64  # steps of a block, where there are blocks; divides their number


def kernel(decay, inputs):
  """Returns h with h[t] = decay[t] * h[t - 1] + inputs[t] and h[-1] = 0, float32 [time, channels].

  Args:
    decay: float32 [time, channels], between 0 and 1.
    inputs: float32 [time, channels].
  """
  return recurrence(decay, inputs)


def recurrence(decay, inputs):
  return as_tree(decay, inputs)


def step(state, at):
  state = at[0] * state + at[1]
  return state, state


def in_order(decay, inputs):
  """One loop over all steps."""
  return jax.lax.scan(step, jnp.zeros_like(inputs[0]), (decay, inputs), unroll=UNROLL)[1]


def in_blocks(decay, inputs):
  """A loop over blocks of steps, and one over the steps of each."""

  def block(state, of_block):
    return jax.lax.scan(step, state, of_block, unroll=UNROLL)

  steps = min(BLOCK, len(inputs))
  blocks = [x.reshape(-1, steps, x.shape[1]) for x in (decay, inputs)]
  return jax.lax.scan(block, jnp.zeros_like(inputs[0]), blocks)[1].reshape(inputs.shape)


def as_tree(decay, inputs):
  """Pairs of steps are combined, then pairs of pairs, and so on."""

  def combine(first, second):
    return first[0] * second[0], second[0] * first[1] + second[1]

  return jax.lax.associative_scan(combine, (decay, inputs))[1]
