"""Attention equals its plain formula on every path that runs here, and lowers for all platforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental.pallas import tpu as pltpu

from autoresearch_jax.ops import attention as ops
from autoresearch_jax.ops.attention import attention

pytestmark = pytest.mark.slow

CUDNN = [export.DisabledSafetyCheck.custom_call(target) for target in ops.CUDNN_TARGETS]


def plain(q, k, v, window):
  """The formula, with all scores at once."""
  scores = jnp.einsum('bqhd,bkhd->bhqk', q, k) / np.sqrt(q.shape[-1])
  back = np.arange(q.shape[1])[:, None] - np.arange(q.shape[1])
  weights = jax.nn.softmax(jnp.where((back >= 0) & (back <= window), scores, -jnp.inf))
  return jnp.einsum('bhqk,bkhd->bqhd', weights, v)


def random_inputs(*shape, dtype=np.float32):
  rng = np.random.default_rng(0)
  return [rng.normal(size=shape).astype(dtype) for _ in range(4)]


def value_and_gradients(function, q, k, v, weight):
  out, vjp = jax.vjp(function, q, k, v)
  return out, *vjp(jnp.asarray(weight, out.dtype))


def assert_equals_plain(function, shape, window):
  inputs = random_inputs(*shape)
  ours = jax.jit(lambda *x: value_and_gradients(function, *x))(*inputs)
  plains = jax.jit(lambda *x: value_and_gradients(lambda *y: plain(*y, window), *x))(*inputs)
  for mine, other in zip(ours, plains, strict=True):
    np.testing.assert_allclose(mine, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
  ('time', 'window'), [(256, 256), (256, 128), (200, 37), (129, 1), (7, 0), (1, 5)]
)
@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_equals_the_plain_formula(time, window, platform):
  """On gpu, float32 takes the blocked form that computes its weights again."""
  assert_equals_plain(
    lambda q, k, v: attention(q, k, v, window=window, platform=platform), (2, time, 3, 8), window
  )


@pytest.mark.parametrize(('time', 'window', 'block'), [(23, 9, 4), (16, 3, 5), (5, 40, 16)])
def test_any_block_size(time, window, block):
  assert_equals_plain(lambda *x: ops.blocked(*x, window, block, False), (1, time, 2, 4), window)


def test_sixteen_bit_inputs_keep_their_dtype_and_stay_close():
  q, k, v, weight = random_inputs(1, 150, 2, 16)
  narrow = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
  run = jax.jit(
    lambda *x: value_and_gradients(lambda *y: attention(*y, window=60, platform='cpu'), *x)
  )
  ours, wide = run(*narrow, weight), run(q, k, v, weight)
  assert [x.dtype for x in ours] == [jnp.bfloat16] * 4
  for mine, other in zip(ours, wide, strict=True):
    np.testing.assert_allclose(mine.astype(np.float32), other, rtol=0.1, atol=0.1)


def test_later_inputs_and_hidden_ones_change_nothing():
  q, k, v, _ = random_inputs(1, 64, 1, 8)
  before = attention(q, k, v, window=10, platform='cpu')
  k[:, 41:], v[:, 41:], k[:, :30], v[:, :30] = 9, 9, -9, -9
  after = attention(q, k, v, window=10, platform='cpu')
  np.testing.assert_array_equal(before[:, 40], after[:, 40])
  assert not np.array_equal(before[:, 39], after[:, 39])


@pytest.mark.parametrize('window', [128, 256])
@pytest.mark.parametrize(
  ('platform', 'target', 'call'),
  [('gpu', 'cuda', 'fmhaSoftmaxBackward'), ('tpu', 'tpu', 'tpu_custom_call'), ('cpu', 'cpu', '')],
)
def test_exports_from_here_with_its_gradient(platform, target, call, window):
  shape = jax.ShapeDtypeStruct((2, 256, 2, 128), jnp.bfloat16)

  def loss(q, k, v):
    return attention(q, k, v, window=window, platform=platform).astype(jnp.float32).sum()

  function = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  exported = export.export(function, platforms=[target], disabled_checks=CUDNN)(shape, shape, shape)
  assert call in exported.mlir_module()


def test_on_gpu_memory_is_linear_in_time():
  """No array of time x time leaves the kernel, or a block of rows where there is no kernel."""
  q = jax.ShapeDtypeStruct((1, 2048, 1, 8), jnp.float32)

  def loss(q):
    return attention(q, q, q, window=2048, platform='gpu').sum()

  jaxpr = str(jax.make_jaxpr(jax.grad(loss))(q))
  assert '2048,2048' not in jaxpr


@pytest.mark.parametrize('window', [100, 256])
def test_the_cudnn_call_is_what_jax_itself_emits(monkeypatch, window):
  """JAX asks for a GPU before it emits the call; told that there is one, it emits the same."""
  from jax._src.cudnn import fused_attention_stablehlo as jax_cudnn  # noqa: PLC0415

  monkeypatch.setattr(jax_cudnn, 'check_cudnn_version', lambda: 91000)
  monkeypatch.setattr(jax_cudnn, 'check_compute_capability', lambda _: True)
  monkeypatch.setattr(jax_cudnn, 'is_cuda_compute_capability_equal', lambda _: False)
  shape = jax.ShapeDtypeStruct((2, 256, 2, 64), jnp.bfloat16)

  def theirs(q, k, v):
    span = {'local_window_size': (window, 0)} if window < 255 else {}
    return jax.nn.dot_product_attention(
      q, k, v, is_causal=True, implementation='cudnn', **span
    ).sum()

  def ours(q, k, v):
    return attention(q, k, v, window=window, platform='gpu').sum()

  assert calls(ours, shape) == calls(theirs, shape)


def calls(function, shape) -> list[tuple]:
  """Target, configuration, layouts and types of the custom calls in the gradient's module."""
  import json  # noqa: PLC0415

  traced = jax.jit(jax.grad(function, argnums=(0, 1, 2))).trace(shape, shape, shape)
  found = []

  def visit(operation):
    if operation.name == 'stablehlo.custom_call' and 'cudnn' in str(operation):
      attributes = operation.attributes
      found.append(
        (
          str(attributes['call_target_name']),
          json.loads(attributes['backend_config'].value),
          str(attributes['result_layouts']),
          str(attributes['operand_layouts']),
          str(attributes['api_version']) if 'api_version' in attributes else '',
          [str(value.type) for value in [*operation.operands, *operation.results]],
        )
      )
    for region in operation.regions:
      for block in region:
        for inner in block:
          visit(inner.operation)

  visit(traced.lower(lowering_platforms=('cuda',)).compiler_ir().operation)
  assert len(found) == 2
  return sorted(found, key=lambda call: call[0])


def test_refuses_what_does_not_fit():
  q, k, v, _ = random_inputs(1, 8, 2, 4)
  with pytest.raises(ValueError, match='one shape'):
    attention(q, k[:, :4], v, window=3, platform='cpu')
  with pytest.raises(ValueError, match='window -1'):
    attention(q, k, v, window=-1, platform='cpu')


@pytest.mark.parametrize('window', [256, 100])
def test_the_tpu_kernel_equals_the_blocked_form(window, monkeypatch):
  """JAX's kernel, interpreted on the CPU, with several blocks of keys and queries."""
  monkeypatch.setattr(ops, 'SPLASH_BLOCK', 128)
  inputs = random_inputs(1, 256, 2, 64)
  with pltpu.force_tpu_interpret_mode():
    ours = value_and_gradients(lambda *x: ops.splash(*x, window), *inputs)
  blocked = value_and_gradients(lambda *x: ops.blocked(*x, window, 128, False), *inputs)
  for mine, other in zip(ours, blocked, strict=True):
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
