"""Cross-entropies over a large vocabulary: the starting point of the search for a faster kernel.

A plain baseline on purpose: the textbook formula, in one piece. What is in ALL_CAPS, and the
expressions that functions return, are what edits change.
"""

import jax
import jax.numpy as jnp

ROWS = 256  # rows that are processed at a time; divides their number
LANES = 1  # partial sums of a row; divides its length


def kernel(logits, labels):
  """Returns the cross-entropy of each row in nats, float32 [rows].

  Args:
    logits: float32 [rows, classes].
    labels: int32 [rows].
  """
  blocks = logits.reshape(-1, ROWS, logits.shape[1]), labels.reshape(-1, ROWS)
  return each_block(*blocks).reshape(-1)


def each_block(logits, labels):
  return jax.vmap(cross_entropy)(logits, labels)


def cross_entropy(logits, labels):
  """Of one block: logits [rows, classes], labels [rows]."""
  top = largest(logits)
  chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
  return jnp.log(total(jnp.exp(logits - top[:, None]))) + top - chosen


def largest(x):
  """Largest value of each row."""
  return jnp.max(x, axis=1)


def total(x):
  """Sum of each row."""
  return jnp.sum(x, axis=1)
