"""Cross-entropy of soft-capped logits, computed in chunks so that memory stays small."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from autoresearch_jax.ops.data_parallel import AXIS, num_shares, shard
from autoresearch_jax.ops.linear import over_rows, product

# Rows of a chunk, whose logits are in memory at the same time. On a CPU, what fits into its caches.
# On an H100, a step of the gpu variant is 4 % longer with 1024 rows, 1 % longer with 4096, and the
# same with 65536.
CHUNK = 1024
CHUNK_CUDA = 16384  # at a vocabulary of 8192: 512 MiB
CHUNK_TPU = 2048  # by XLA's estimate for a v6e, 1024 are 9 % slower and 4096 60 %


def softcap(logits: jax.Array, cap: float) -> jax.Array:
  """Soft-capped logits: cap · tanh(logits / cap), in float32 (Gemma 2, arXiv 2408.00118)."""
  return cap * jnp.tanh(logits.astype(jnp.float32) / cap)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def softcap_cross_entropy(
  x: jax.Array, head: jax.Array, targets: jax.Array, cap: float, chunk: int = 0
) -> jax.Array:
  """Mean over rows of -log softmax(softcap(x · head))[target]: a loss in nats per target, float32.

  Rows are processed in chunks, and the gradient of a chunk is computed while its logits are in
  memory. No maximum is subtracted before the exponential, so `cap` must be below 80 (e⁸⁰ fits into
  float32).

  Args:
    x: Activations, `[rows, width]`.
    head: Weights of the output layer, `[width, vocab]`.
    targets: Integers below vocab, `[rows]`.
    cap: Bound of the logits, in (0, 80).
    chunk: Maximum rows of a chunk, 0 for the platform's default. All chunks have the same size, a
      divisor of rows.
  """
  return _chunked(x, head, targets, cap, chunk, want_gradient=False)[0]


def _forward(x: jax.Array, head: jax.Array, targets: jax.Array, cap: float, chunk: int):
  loss, dx, d_head = _chunked(x, head, targets, cap, chunk, want_gradient=True)
  return loss, (dx, d_head.astype(head.dtype))


def _backward(cap: float, chunk: int, residuals, g: jax.Array):
  dx, d_head = residuals
  return (g * dx).astype(dx.dtype), (g * d_head).astype(d_head.dtype), None


softcap_cross_entropy.defvjp(_forward, _backward)


def _chunked(x, head, targets, cap: float, chunk: int, want_gradient: bool):
  """Loss, and the gradients of x and head; zeros unless `want_gradient`."""
  if not 0 < cap < 80:
    raise ValueError(f'softcap_cross_entropy has cap {cap}; it must be between 0 and 80.')

  def by(default: int, factored: bool = False) -> Callable[..., Any]:
    return functools.partial(
      by_chunks,
      cap=cap,
      chunk=chunk or default,
      want_gradient=want_gradient,
      factored=factored,
    )

  def all_rows(x, head, targets):
    return lax.platform_dependent(
      x, head, targets, cuda=by(CHUNK_CUDA), tpu=by(CHUNK_TPU, True), default=by(CHUNK)
    )

  devices = num_shares(x.shape[0])
  if devices == 1:
    return all_rows(x, head, targets)

  def own_rows(x, head, targets):
    loss, dx, d_head = all_rows(x, head, targets)
    loss, d_head = lax.psum((loss, d_head), AXIS)
    dx = dx / devices if want_gradient else jnp.zeros(())
    return loss / devices, dx, d_head / devices

  return shard(own_rows, (True, False, True), (False, want_gradient, False))(x, head, targets)


def by_chunks(
  x: jax.Array,
  head: jax.Array,
  targets: jax.Array,
  cap: float,
  chunk: int,
  want_gradient: bool,
  factored: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Loss, and the gradients of x and head, as `softcap_cross_entropy` computes them.

  Args:
    x: As there, as are `head`, `targets` and `cap`.
    head: As there.
    targets: As there.
    cap: As there.
    chunk: Maximum rows of a chunk.
    want_gradient: Whether to compute gradients; else they are zeros.
    factored: Whether to store the gradient of the logits without its factors for each row. On a
      TPU, XLA would else compute the exponentials again for both products that need it.
  """
  rows, width = x.shape
  count = math.ceil(rows / chunk)
  while rows % count:
    count += 1
  weight = head.astype(x.dtype)

  def step(carry, part):
    loss, d_head = carry
    x, targets = part
    squashed = jnp.tanh(product(x, weight, 1, 0, jnp.float32) / cap)
    exponentials = jnp.exp(cap * squashed)
    sums = jnp.sum(exponentials, axis=1, keepdims=True)
    hit = targets[:, None] == jnp.arange(head.shape[1])
    own = jnp.sum(jnp.where(hit, cap * squashed, 0.0), axis=1)
    loss += jnp.sum(jnp.log(sums[:, 0]) - own) / rows
    if not want_gradient:
      return (loss, d_head), jnp.zeros((), x.dtype)
    if factored:
      inverse = 1 / (rows * sums)
      d_own = (jnp.exp(own[:, None]) * inverse - 1 / rows) * (1 - (own[:, None] / cap) ** 2)
      stored = (exponentials * (1 - squashed * squashed)).astype(x.dtype)
      d_logits = jnp.where(hit, d_own, lax.optimization_barrier(stored) * inverse)
    else:
      d_logits = (exponentials / sums - hit) * (1 - squashed * squashed) / rows
    d_logits = d_logits.astype(x.dtype)
    dx = product(d_logits, weight, 1, 1, x.dtype)
    return (loss, d_head + over_rows(x, d_logits)), dx

  parts = (x.reshape(count, -1, width), targets.reshape(count, -1))
  first = (jnp.zeros(()), jnp.zeros(head.shape if want_gradient else ()))
  (loss, d_head), dx = lax.scan(step, first, parts)
  return loss, dx.reshape(x.shape) if want_gradient else dx, d_head
