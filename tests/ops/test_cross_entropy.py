"""The chunked loss and its gradients equal the plain formula's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from autoresearch_jax.ops.cross_entropy import by_chunks, softcap, softcap_cross_entropy

pytestmark = pytest.mark.slow


def plain(x, head, targets, cap):
  logits = softcap(x @ head, cap)
  return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets])


def random_inputs(rows, width, vocab):
  rng = np.random.default_rng(rows)
  x = rng.normal(size=(rows, width)).astype(np.float32)
  head = (3 * rng.normal(size=(width, vocab))).astype(np.float32)
  return x, head, rng.integers(0, vocab, rows)


@pytest.mark.parametrize(
  ('rows', 'vocab', 'chunk'), [(24, 30, 6), (30, 7, 4), (13, 5, 12), (1, 2, 9)]
)
def test_equals_the_plain_formula(rows, vocab, chunk):
  x, head, targets = random_inputs(rows, 6, vocab)

  def ours(x, head):
    return softcap_cross_entropy(x, head, targets, 15.0, chunk)

  loss, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, head)
  expected, plain_gradients = jax.jit(jax.value_and_grad(plain, (0, 1)))(x, head, targets, 15.0)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(jax.jit(ours)(x, head), expected, rtol=1e-5)
  for mine, other in zip(gradients, plain_gradients, strict=True):
    np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_the_gradient_of_a_tpu_is_that_of_other_platforms(dtype, tolerance):
  x, head, targets = random_inputs(24, 6, 30)
  x = x.astype(dtype)
  plain, factored = (
    jax.jit(by_chunks, static_argnums=(3, 4, 5, 6))(x, head, targets, 15.0, 6, True, each)
    for each in (False, True)
  )
  assert factored[1].dtype == dtype and not np.array_equal(plain[1], factored[1])
  for one, other in zip(plain, factored, strict=True):
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    np.testing.assert_allclose(one, other, atol=tolerance * np.abs(one).max())


def test_logits_at_the_cap_stay_finite():
  x, head = np.full((2, 4), 1e3, np.float32), np.full((4, 5), 1e3, np.float32)
  loss, gradient = jax.value_and_grad(softcap_cross_entropy)(x, head, np.array([0, 1]), 15.0)
  np.testing.assert_allclose(loss, np.log(5), rtol=1e-6)
  assert np.isfinite(gradient).all()


def test_never_holds_all_logits():
  x = jax.ShapeDtypeStruct((65536, 64), jnp.bfloat16)
  head = jax.ShapeDtypeStruct((64, 500), jnp.float32)
  targets = jax.ShapeDtypeStruct((65536,), jnp.int32)
  function = jax.grad(lambda x, h, t: softcap_cross_entropy(x, h, t, 15.0), (0, 1))
  assert '65536,500' not in str(jax.make_jaxpr(function)(x, head, targets))
  for platform in ('cpu', 'cuda', 'tpu'):
    export.export(jax.jit(function), platforms=[platform])(x, head, targets)


@pytest.mark.parametrize('cap', [0.0, 100.0])
def test_refuses_a_cap_that_would_overflow(cap):
  x, head, targets = random_inputs(3, 6, 4)
  with pytest.raises(ValueError, match='between 0 and 80'):
    softcap_cross_entropy(x, head, targets, cap)
