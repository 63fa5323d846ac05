"""What the kernel must compute: a linear recurrence, as state-space models are written."""

import jax


def reference(decay, inputs):
  """Returns h with h[t] = decay[t] * h[t - 1] + inputs[t] and h[-1] = 0, float32 [time, channels].

  Args:
    decay: float32 [time, channels], between 0 and 1.
    inputs: float32 [time, channels].
  """

  def combine(first, second):
    return first[0] * second[0], second[0] * first[1] + second[1]

  return jax.lax.associative_scan(combine, (decay, inputs))[1]
