"""What the kernel must compute: the cross-entropy of each row."""

import jax
import jax.numpy as jnp


def reference(logits, labels):
  """Returns the cross-entropy in nats, float32 [rows].

  Args:
    logits: float32 [rows, classes].
    labels: int32 [rows], the right class of each row.
  """
  log_probabilities = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]
