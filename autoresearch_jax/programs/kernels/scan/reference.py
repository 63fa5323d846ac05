"""What the kernel must compute: a linear recurrence over time."""

import jax
import jax.numpy as jnp


def reference(decay, inputs):
  """Returns h with h[t] = decay[t] * h[t - 1] + inputs[t] and h[-1] = 0, float32 [time, channels].

  Args:
    decay: float32 [time, channels], between 0 and 1.
    inputs: float32 [time, channels].
  """

  def step(state, at):
    state = at[0] * state + at[1]
    return state, state

  return jax.lax.scan(step, jnp.zeros_like(inputs[0]), (decay, inputs))[1]
