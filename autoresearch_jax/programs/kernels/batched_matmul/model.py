"""Products of many small matrices: the starting point of the search for a faster kernel.

A plain baseline on purpose: one einsum. What is in ALL_CAPS, and the expressions that functions
return, are what edits change.
"""

import jax
import jax.numpy as jnp

BLOCK = 64  # products that are computed at a time, where blocks are; divides their number


def kernel(left, right):
  """Returns the products, float32 [batch, n, m].

  Args:
    left: float32 [batch, n, k].
    right: float32 [batch, k, m].
  """
  return all_products(left, right)


def all_products(left, right):
  return products(left, right)


def products(left, right):
  return jnp.einsum('bnk,bkm->bnm', left, right)


def outer_products(left, right):
  """A sum of outer products, [batch, n, m]."""
  total = left[:, :, 0, None] * right[:, 0, None, :]
  for k in range(1, left.shape[2]):
    total = total + left[:, :, k, None] * right[:, k, None, :]
  return total


def batch_last(left, right):
  """The same with the batch as the last axis, along which it is vectorised."""
  left, right = jnp.transpose(left, (1, 2, 0)), jnp.transpose(right, (1, 2, 0))
  total = left[:, 0, None] * right[None, 0]
  for k in range(1, left.shape[1]):
    total = total + left[:, k, None] * right[None, k]
  return jnp.transpose(total, (2, 0, 1))


def in_blocks(left, right):
  """Blocks of products, one after the other."""
  size = min(BLOCK, len(left))
  blocks = [x.reshape(-1, size, *x.shape[1:]) for x in (left, right)]
  found = jax.lax.map(lambda block: products(*block), tuple(blocks))
  return found.reshape(-1, *found.shape[2:])
