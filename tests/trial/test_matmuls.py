"""FLOPs read from a module are those of its formula, in kernels that hide their products too."""

import jax
import jax.numpy as jnp
import pytest

from autoresearch_jax.ops import attention as ops
from autoresearch_jax.trial import graph
from autoresearch_jax.trial.matmuls import matmul_flops

CUDNN = [jax.export.DisabledSafetyCheck.custom_call(target) for target in ops.CUDNN_TARGETS]


def flops(function, platform, *shapes):
  exported = jax.export.export(jax.jit(function), platforms=[platform], disabled_checks=CUDNN)
  return matmul_flops(graph.read(exported(*(jax.ShapeDtypeStruct(*s) for s in shapes))))


@pytest.mark.parametrize('window', [0, 100, 255, 400])
def test_cudnn_attention_counts_the_keys_that_queries_see(window):
  batch, time, heads, head_dim = 2, 256, 3, 64
  shape = (batch, time, heads, head_dim), jnp.bfloat16

  def loss(q, k, v):
    return ops.attention(q, k, v, window=window, platform='gpu').astype(jnp.float32).sum()

  pairs = sum(min(i, window) + 1 for i in range(time))
  found = flops(jax.grad(loss, argnums=(0, 1, 2)), 'cuda', shape, shape, shape)
  assert found == {'bfloat16': 12 * batch * heads * head_dim * pairs}
