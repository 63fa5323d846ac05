"""Causal sliding-window attention, with the fastest implementation of each platform.

Programs call `attention`. Its implementations compute the same formula: `blocked` (any platform,
any shape), `cudnn` (GPU, 16-bit) and `splash` (TPU). All of them can be lowered in a process that
has only a CPU. Each of several devices that share a batch computes its own rows. Not supported:
dropout, key lengths, biases.
"""

import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from autoresearch_jax.ops.data_parallel import by_rows

BLOCK = 128  # query rows of a block in `blocked`; 64 and 256 are not faster
SPLASH_BLOCK = 512  # query and key rows of a TPU tile; less for shorter sequences
SPLASH_KEYS = 2048  # keys that the backward kernel holds in fast memory
CUDNN_HEAD_DIM = 128  # cuDNN's limit on every GPU since Ampere (256 from Hopper on)
CUDNN_TARGETS = ('__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward')


def attention(q: jax.Array, k: jax.Array, v: jax.Array, *, window: int, platform: str) -> jax.Array:
  """softmax(q·kᵀ / √head_dim) · v, over the keys that are visible to each query.

  The query at position i attends to the keys at positions i - window to i; with `window` >= time -
  1, to all earlier keys.

  Args:
    q: Queries, `[batch, time, heads, head_dim]`.
    k: Keys, of the same shape and dtype.
    v: Values, of the same shape and dtype.
    window: Number of earlier positions that a query attends to, at least 0.
    platform: 'cpu', 'gpu' or 'tpu': where the result will run, not where it is traced.

  Returns:
    `[batch, time, heads, head_dim]` in the dtype of q. On accelerators, scores and softmax are
    float32.

  Raises:
    ValueError: the shapes differ, or the window is negative.
  """
  if not q.shape == k.shape == v.shape or q.ndim != 4:
    raise ValueError(
      f'attention needs q, k, v of one shape [batch, time, heads, head_dim], but they have '
      f'{q.shape}, {k.shape}, {v.shape}.'
    )
  if window < 0:
    raise ValueError(f'attention has window {window}; it must be at least 0 (own position only).')
  time, head_dim = q.shape[1], q.shape[3]
  window = min(window, time - 1)

  def kernel(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    if platform == 'gpu' and q.dtype.itemsize == 2 and _fits_cudnn(head_dim):
      return cudnn(q, k, v, window)
    if platform == 'tpu' and time % 128 == 0 and head_dim % 64 == 0:
      return splash(q, k, v, window)
    return blocked(q, k, v, window, BLOCK, platform != 'cpu')

  return by_rows(kernel, q, k, v)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def blocked(
  q: jax.Array, k: jax.Array, v: jax.Array, window: int, block: int, remat: bool
) -> jax.Array:
  """Attention in blocks of query rows, each over the span of keys that are visible to it.

  Blocks of keys that the causal mask and the window hide are skipped.

  Args:
    q: Queries, `[batch, time, heads, head_dim]`, as are k and v.
    k: Keys.
    v: Values.
    window: Number of earlier positions that a query attends to.
    block: Query rows of a block.
    remat: Whether to recompute the weights in the backward pass, so that memory is linear in time.
  """
  return _blocked_forward(q, k, v, window, block, remat)[0]


def _blocked_forward(q, k, v, window: int, block: int, remat: bool):
  heads, folded = q.shape[2], (_fold(q), _fold(k), _fold(v))
  out, kept = [], []
  for rows, span in _spans(q.shape[1], window, block):
    weights = _weights(folded[0][:, rows], folded[1][:, span], rows.start - span.start, window)
    out.append(_dot(weights, folded[2][:, span], 2, 1).astype(v.dtype))
    kept.append(None if remat else weights)
  joined = _unfold(jnp.concatenate(out, axis=1), heads)
  return joined, (q, *folded[1:], joined, kept)


def _blocked_backward(window: int, block: int, remat: bool, residuals, d_out: jax.Array):
  """For weights W = softmax(S): dS = W * (dW - sum(dW * W)), and that sum equals sum(dO * O).

  The gradients of keys and values are computed transposed, so that every product contracts the
  last axis of its left factor; other products take twice as long on XLA's CPU backend.
  """
  q, k, v, out, kept = residuals
  (_, time, heads, head_dim), q_transposed = q.shape, _transposed(q)
  scale = 1 / math.sqrt(head_dim)
  sums = _fold(jnp.sum((d_out * out).astype(jnp.float32), axis=3, keepdims=True))
  d_out_transposed, q, d_out = _transposed(d_out), _fold(q), _fold(d_out)
  dq, dk, dv = [], *(jnp.zeros(x.shape, jnp.float32) for x in (q_transposed, d_out_transposed))
  for (rows, span), weights in zip(_spans(time, window, block), kept, strict=True):
    if weights is None:
      weights = _weights(q[:, rows], k[:, span], rows.start - span.start, window)
    d_weights = _dot(d_out[:, rows], v[:, span], 2, 2)
    d_scores = (weights * (d_weights - sums[:, rows])).astype(q.dtype)
    dq.append(_dot(d_scores, k[:, span], 2, 1))
    dk = dk.at[:, :, span].add(_dot(q_transposed[:, :, rows], d_scores, 2, 1))
    dv = dv.at[:, :, span].add(_dot(d_out_transposed[:, :, rows], weights, 2, 1))
  dq = _unfold((scale * jnp.concatenate(dq, axis=1)).astype(q.dtype), heads)
  return dq, *(_untransposed(g.astype(q.dtype), heads) for g in (scale * dk, dv))


blocked.defvjp(_blocked_forward, _blocked_backward)


def _spans(time: int, window: int, block: int) -> list[tuple[slice, slice]]:
  """Blocks of query rows, each with the span of keys that it needs."""
  starts = range(0, time, block)
  return [(slice(s, e := min(s + block, time)), slice(max(0, s - window), e)) for s in starts]


def _weights(q: jax.Array, k: jax.Array, offset: int, window: int) -> jax.Array:
  """Softmax over the keys for a block of queries.

  Args:
    q: Queries, `[batch * heads, rows, head_dim]`.
    k: Keys of the span, `[batch * heads, keys, head_dim]`.
    offset: Position of the first query within the span.
    window: Number of earlier positions that a query attends to.
  """
  scores = _dot(q, k, 2, 2) / math.sqrt(q.shape[2])
  back = offset + jnp.arange(q.shape[1])[:, None] - jnp.arange(k.shape[1])
  scores = jnp.where((back >= 0) & (back <= window), scores, -jnp.inf)
  exponentials = jnp.exp(scores - jnp.max(scores, axis=2, keepdims=True))
  return (exponentials / jnp.sum(exponentials, axis=2, keepdims=True)).astype(q.dtype)


def _dot(x: jax.Array, y: jax.Array, i: int, j: int) -> jax.Array:
  """Contracts axis i of x with axis j of y, both `[n, ., .]`, batched over n; float32 sums."""
  dimensions = (((i,), (j,)), ((0,), (0,)))
  return lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)


def _fold(x: jax.Array) -> jax.Array:
  """From `[batch, time, heads, head_dim]` to `[batch * heads, time, head_dim]`."""
  return jnp.swapaxes(x, 1, 2).reshape(-1, x.shape[1], x.shape[3])


def _unfold(x: jax.Array, heads: int) -> jax.Array:
  return jnp.swapaxes(x.reshape(-1, heads, *x.shape[1:]), 1, 2)


def _transposed(x: jax.Array) -> jax.Array:
  """From `[batch, time, heads, head_dim]` to `[batch * heads, head_dim, time]`."""
  return jnp.transpose(x, (0, 2, 3, 1)).reshape(-1, x.shape[3], x.shape[1])


def _untransposed(x: jax.Array, heads: int) -> jax.Array:
  """The inverse of `_transposed`."""
  return jnp.transpose(x.reshape(-1, heads, *x.shape[1:]), (0, 3, 1, 2))


def splash(q: jax.Array, k: jax.Array, v: jax.Array, window: int) -> jax.Array:
  """JAX's block-sparse TPU kernel; time must be a multiple of 128."""
  # Imported here: it takes a tenth of a second, and only TPUs need it.
  from jax.experimental.pallas.ops.tpu import splash_attention  # noqa: PLC0415

  time, heads, head_dim = q.shape[1:]
  mask = splash_attention.LocalMask((time, time), (window, 0), offset=0)
  block = math.gcd(time, SPLASH_BLOCK)
  kernel = splash_attention.make_splash_mha(
    splash_attention.MultiHeadMask([mask] * heads),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=splash_attention.BlockSizes(
      block_q=block,
      block_kv=block,
      block_q_dkv=block,
      # Each of these blocks makes a partial dq, and XLA adds them up.
      block_kv_dkv=math.gcd(time, SPLASH_KEYS if head_dim <= 128 else SPLASH_KEYS // 2),
      block_kv_dkv_compute=block,
      use_fused_bwd_kernel=True,
      # The layout in which XLA makes them, with rotary embeddings and norms.
      q_layout=splash_attention.QKVLayout.SEQ_MINOR,
      k_layout=splash_attention.QKVLayout.SEQ_MINOR,
      v_layout=splash_attention.QKVLayout.SEQ_MINOR,
    ),
  )
  q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q / math.sqrt(head_dim), k, v))
  out: Any = jax.vmap(kernel)(q.astype(k.dtype), k, v)
  return jnp.swapaxes(out, 1, 2)


def _fits_cudnn(head_dim: int) -> bool:
  return head_dim <= CUDNN_HEAD_DIM and head_dim % 8 == 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, window: int) -> jax.Array:
  """The fused kernel of cuDNN, through XLA's custom call; 16-bit, head_dim a multiple of 8.

  `jax.nn.dot_product_attention(implementation='cudnn')` emits the same call (a test compares the
  two), but needs a visible GPU while it is traced, which the tracer does not have.
  """
  return _cudnn_forward(q, k, v, window)[0]


def _cudnn_forward(q: jax.Array, k: jax.Array, v: jax.Array, window: int):
  batch, time, heads, head_dim = q.shape
  out, log_sums = _cudnn_call(
    CUDNN_TARGETS[0],
    (q, k, v),
    [((batch, heads, time, head_dim), q.dtype), ((batch, heads, time), jnp.float32)],
    _cudnn_config(q, window, backward=False),
  )
  out = jnp.swapaxes(out, 1, 2)
  return out, (q, k, v, log_sums, out)


def _cudnn_backward(window: int, residuals, d_out: jax.Array):
  q, k, v, log_sums, out = residuals
  batch, time, heads, head_dim = q.shape
  gradients = _cudnn_call(
    CUDNN_TARGETS[1],
    (q, k, v, log_sums, d_out, out),
    [((batch, heads, time, head_dim), q.dtype)] * 3,
    _cudnn_config(q, window, backward=True),
  )
  return tuple(jnp.swapaxes(g, 1, 2) for g in gradients)


cudnn.defvjp(_cudnn_forward, _cudnn_backward)


def _cudnn_call(target: str, operands, results, config: str) -> list[jax.Array]:
  """The custom call; its 4-D results have the memory layout [batch, time, heads, head_dim]."""
  call = jax.ffi.ffi_call(
    target,
    [*(jax.ShapeDtypeStruct(*r) for r in results), jax.ShapeDtypeStruct((0,), jnp.uint8)],
    vmap_method='sequential',
    output_layouts=[*((0, 2, 1, 3) if len(s) == 4 else None for s, _ in results), None],
    custom_call_api_version=2,
    legacy_backend_config=config,
  )
  *out, _workspace = call(*operands)
  return out


def _cudnn_config(q: jax.Array, window: int, backward: bool) -> str:
  """XLA's `CudnnfMHABackendConfig` as JSON (xla/service/gpu, 2024)."""
  batch, time, heads, head_dim = q.shape
  # (contracting, batch) dimensions, lhs and rhs, of the products inside: scores are
  # [batch, heads, time, time], the operands [batch, time, heads, head_dim].
  products = {
    'bmm1': ((3, 3), ((0, 2), (0, 2))),
    'bmm2': ((3, 1), ((0, 1), (0, 2))),
  }
  if backward:
    products = {
      'bmm1_grad_gemm1': ((2, 1), ((0, 1), (0, 2))),
      'bmm1_grad_gemm2': ((3, 1), ((0, 1), (0, 2))),
      'bmm2_grad_gemm1': ((2, 1), ((0, 1), (0, 2))),
      'bmm2_grad_gemm2': ((3, 3), ((0, 2), (0, 2))),
    }
  fused: dict[str, Any] = {
    'algorithm': {
      'algo_id': '0',
      'math_type': 'TENSOR_OP_MATH',
      'tuning_knobs': {'17': '1', '24': '0'},
      'is_cudnn_frontend': True,
      'workspace_size': '0',
    },
    'fmha_scale': 1 / math.sqrt(head_dim),
    'intermediate_tensor_shape': _score_shape(q.dtype, batch, heads, time),
    'is_flash_attention': True,
    'mask_type': 'CAUSAL',
    'dropout_rate': 0.0,
    'seed': 42,
    'sliding_window_length': window + 1 if window < time - 1 else 0,
    'max_seg_per_batch': 1,
    'is_paged_attention': False,
  }
  for name, ((left, right), (left_batch, right_batch)) in products.items():
    fused[f'{name}_dot_dimension_numbers'] = {
      'lhs_contracting_dimensions': [str(left)],
      'rhs_contracting_dimensions': [str(right)],
      'lhs_batch_dimensions': [str(d) for d in left_batch],
      'rhs_batch_dimensions': [str(d) for d in right_batch],
    }
  return json.dumps({'operation_queue_id': '0', 'cudnn_fmha_backend_config': fused})


def _score_shape(dtype, batch: int, heads: int, time: int) -> dict[str, Any]:
  """XLA's ShapeProto of the scores as JSON, where 64-bit integers are strings."""
  return {
    'element_type': {'bfloat16': 'BF16', 'float16': 'F16'}[dtype.name],
    'dimensions': [str(batch), str(heads), str(time), str(time)],
    'tuple_shapes': [],
    'layout': {
      'dim_level_types': [],
      'dim_unique': [],
      'dim_ordered': [],
      'minor_to_major': ['3', '2', '1', '0'],
      'tiles': [],
      'element_size_in_bits': '0',
      'memory_space': '0',
      'index_primitive_type': 'PRIMITIVE_TYPE_INVALID',
      'pointer_primitive_type': 'PRIMITIVE_TYPE_INVALID',
      'dynamic_shape_metadata_prefix_bytes': '0',
    },
    'is_dynamic_dimension': [False, False, False, False],
  }
