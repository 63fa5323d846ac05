"""Cross-entropies over a large vocabulary: the starting point of the search for a faster kernel.

A plain baseline on purpose: the textbook formula, in one piece. What is in ALL_CAPS, and the
expressions that functions return, are what edits change.
"""

import jax
import jax.numpy as jnp

ROWS = 256  # rows that are processed at a time; divides their number
LANES = 64  # partial sums of a row, where there are some; divides its length


def kernel(logits, labels):
  """Returns the cross-entropy of each row in nats, float32 [rows].

  Args:
    logits: float32 [rows, classes].
    labels: int32 [rows].
  """
  rows = min(ROWS, labels.size)
  blocks = logits.reshape(-1, rows, logits.shape[1]), labels.reshape(-1, rows)
  return each_block(*blocks).reshape(-1)


def each_block(logits, labels):
  return jax.vmap(cross_entropy)(logits, labels)


def cross_entropy(logits, labels):
  return log_softmax_of_all(logits, labels)


def log_softmax_of_all(logits, labels):
  """Of one block: logits [rows, classes], labels [rows]."""
  return -chosen(jax.nn.log_softmax(logits, axis=1), labels)


def log_of_sum(logits, labels):
  """The same without the logarithms of all probabilities."""
  top = largest(logits)
  return jnp.log(total(jnp.exp(logits - top[:, None]))) + top - chosen(logits, labels)


def chosen(x, labels):
  """The element of each row that its label names."""
  return jnp.take_along_axis(x, labels[:, None], axis=1)[:, 0]


def largest(x):
  """Largest value of each row."""
  return jnp.max(x, axis=1)


def total(x):
  """Sum of each row."""
  return jnp.sum(x, axis=1)
