"""The product and its gradients equal those of `@`, in every shape and dtype that programs use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from autoresearch_jax.ops.linear import linear, over_rows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('shape', [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_equals_the_matrix_product(shape):
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=shape).astype(np.float32), rng.normal(size=(5, 7)).astype(np.float32)
  ours, vjp = jax.vjp(linear, x, w)
  plain, plain_vjp = jax.vjp(jnp.matmul, x, w)
  np.testing.assert_allclose(ours, plain, rtol=1e-5)
  for mine, other in zip(vjp(2 * ours), plain_vjp(2 * plain), strict=True):
    assert mine.shape == other.shape
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_works_in_the_dtype_of_x_and_gives_the_weight_a_gradient_of_its_own():
  x, w = jnp.ones((4, 8), jnp.bfloat16), jnp.ones((8, 2), jnp.float32)
  out, vjp = jax.vjp(linear, x, w)
  dx, dw = vjp(out)
  assert (out.dtype, dx.dtype, dw.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)


def test_large_matrix_products_are_narrow_on_accelerators():
  """Both gradients multiply bfloat16 by bfloat16; nothing is promoted on the way."""
  x, w = jax.ShapeDtypeStruct((64, 32), jnp.bfloat16), jax.ShapeDtypeStruct((32, 16), jnp.float32)

  def loss(x, w):
    return linear(x, w).astype(jnp.float32).sum()

  module = export.export(jax.jit(jax.grad(loss, (0, 1))), platforms=['tpu'])(x, w).mlir_module()
  products = [line for line in module.splitlines() if 'stablehlo.dot_general ' in line]
  assert products
  assert all(line.split(': (')[1].split('->')[0].count('bf16') == 2 for line in products)


@pytest.mark.parametrize(('inputs', 'outputs'), [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1)])
@pytest.mark.parametrize('rows', [(7,), (2, 4), (1,)])
def test_over_rows_is_the_sum_of_outer_products(rows, inputs, outputs):
  rng = np.random.default_rng(0)
  x, y = (rng.normal(size=(*rows, n)).astype(np.float32) for n in (inputs, outputs))
  expected = x.reshape(-1, inputs).T @ y.reshape(-1, outputs)
  np.testing.assert_allclose(over_rows(x, y), expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(jax.jit(over_rows)(x, y), expected, rtol=1e-5, atol=1e-5)


def test_over_rows_sums_narrow_numbers_in_float32():
  x = jnp.full((4096, 2), 1.0, jnp.bfloat16)  # in bfloat16, 256 + 1 is 256
  total = jax.jit(over_rows)(x, x)
  assert total.dtype == jnp.float32
  np.testing.assert_array_equal(total, np.full((2, 2), 4096))


def test_models_in_parallel_have_the_gradients_of_each():
  rng = np.random.default_rng(0)
  x, w = (rng.normal(size=size).astype(np.float32) for size in ((3, 6, 4), (3, 4, 2)))
  gradient = jax.grad(lambda x, w: jnp.sum(linear(x, w) ** 2), (0, 1))
  together = jax.vmap(gradient)(x, w)
  for i in range(3):
    for whole, one in zip(together, gradient(x[i], w[i]), strict=True):
      np.testing.assert_allclose(whole[i], one, rtol=1e-5, atol=1e-5)


def test_nothing_is_transposed_on_accelerators():
  x, w = jax.ShapeDtypeStruct((64, 32), jnp.bfloat16), jax.ShapeDtypeStruct((32, 16), jnp.float32)
  function = jax.jit(jax.grad(lambda x, w: linear(x, w).astype(jnp.float32).sum(), (0, 1)))
  for platform in ('cuda', 'tpu'):
    module = export.export(function, platforms=[platform])(x, w).mlir_module()
    assert 'stablehlo.dot_general' in module
    assert 'stablehlo.transpose' not in module
