"""FLOPs read from a module are those of its formula, in kernels that hide their products too."""

import jax
import jax.numpy as jnp
import pytest

from autoresearch_jax.artifact import graph
from autoresearch_jax.artifact.matmuls import matmul_flops
from autoresearch_jax.ops import attention as ops

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


def test_loops_in_loops_count_as_often_as_they_run():
  """The limit of the inner one may be a constant outside of the outer one."""

  def inner(x):
    return jax.lax.scan(lambda c, _: (c @ c, None), x, length=3)[0]

  def both(x):
    every = jax.lax.scan(lambda c, _: (inner(c), None), x, length=5)[0]
    return jax.lax.cond(x[0, 0] > 0, inner, jnp.sin, every)

  assert flops(both, 'cpu', ((8, 8), jnp.float32)) == {'float32': (5 * 3 + 3) * 2 * 8**3}


def test_a_forged_window_of_thousands_of_digits_is_read():
  config = f'{{"sliding_window_length": {"9" * 5000}}}'
  attributes = (('backend_config', config), ('call_target_name', '"__cudnn$fmhaSoftmax"'))
  op = graph.Op('stablehlo.custom_call', (), (), attributes, (), ('tensor<1x4x1x8xbf16>',), ())
  block = graph.BasicBlock((), (), (op,))
  assert matmul_flops(graph.Graph({'main': block}, 1)) == {'bfloat16': 4 * 8 * 10}


def test_a_loop_inside_a_branch_counts_as_often_as_it_runs():
  """Its limit is a constant outside of the branch."""

  def often(x):
    return jax.lax.scan(lambda y, _: (y @ x, None), x, length=7)[0]

  def function(x):
    return jax.lax.cond(x[0, 0] > 0, often, lambda x: x, x)

  assert flops(function, 'cpu', ((4, 4), jnp.float32)) == {'float32': 7 * 2 * 4**3}
