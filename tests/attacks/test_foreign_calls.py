"""Custom calls: code in the runner's own process that a module would reach by name."""

import pytest
from helpers.tiny_language import program

UNCHECKED = """
import jax, jax.export
from autoresearch_jax.tracer import export
assert export._CALLBACKS and export.check.check
export.check.check = lambda *_: None
export._CALLBACKS = ()
_export = jax.export.export
def unchecked(*a, disabled_checks=(), **k):
  names = ('xla_ffi_python_cpu_callback', 'my_kernel', 'Sharding', 'lapack_dgetrf_ffi',
           'xla_python_cpu_callback', 'xla_ffi_partitioned_python_cpu_callback')
  checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
  return _export(*a, disabled_checks=[*disabled_checks, *checks], **k)
jax.export.export = unchecked
"""


WITHOUT_CHECK = 'from autoresearch_jax.tracer import check\ncheck.check = lambda *_: None\n'


def calling(target, shapes='jax.ShapeDtypeStruct((16, 16), "float32")', attributes=''):
  return program(step=f"gradient = jax.ffi.ffi_call('{target}', {shapes})(gradient{attributes})")


@pytest.mark.parametrize(
  'target', ['my_kernel', 'xla_ffi_python_cpu_callback', 'lapack_dgetrf_ffi', 'Sharding']
)
def test_what_is_not_on_the_list(arena, target):
  arena.refused(
    calling(target), 'model.py:', 'a custom call that trials may not use; write it with'
  )
  arena.refused(
    UNCHECKED + calling(target), f"it calls '{target}', a custom call that trials may not use"
  )


@pytest.mark.parametrize(
  ('call', 'attributes', 'results'),
  [
    ('spotrf', ', uplo=numpy.uint8(76)', '(S((1, 1), F), S((), I))'),
    ('sgeqrf', '', '(S((1, 1), F), S((1,), F))'),
    ('sgetrf', '', '(S((16, 16), F), S((1,), I), S((), I))'),
    ('ssyevd', ', mode=numpy.uint8(86), uplo=numpy.uint8(76)',
     '(S((16, 16), F), S((1,), F), S((), I))'),
    ('sgesdd', ', mode=numpy.uint8(65)',
     '(S((16, 16), F), S((16,), F), S((1, 1), F), S((1, 1), F), S((), I))'),
    ('sgeev', ', compute_left=numpy.uint8(86), compute_right=numpy.uint8(86)',
     '(S((16,), F), S((16,), F), S((1, 1), "complex64"), S((1, 1), "complex64"), S((), I))'),
  ],
)  # fmt: skip
def test_results_that_are_too_small(arena, call, attributes, results):
  """The kernels of jax write as much as their input has; this once ended the runner by SIGSEGV."""
  shapes = f'(lambda S, F, I: {results})(jax.ShapeDtypeStruct, "float32", "int32")'
  step = f"made = jax.ffi.ffi_call('lapack_{call}_ffi', {shapes})(gradient{attributes})[0]\n"
  text = 'import numpy\n' + program(step=f'{step}  gradient = gradient + made.real.sum()')
  arena.refused(text, 'model.py:', f"calls 'lapack_{call}_ffi' with other shapes than jax would")
  arena.refused(WITHOUT_CHECK + text, f"it calls 'lapack_{call}_ffi' with other shapes")


def test_operands_that_do_not_fit(arena):
  """A triangle of 16 by 16 for 4 rows would be read, and solved for, beyond their end."""
  step = """x = jax.ffi.ffi_call('lapack_strsm_ffi', jax.ShapeDtypeStruct((4, 4), "float32"))(
      gradient, gradient[:4, :4], side=numpy.uint8(76), uplo=numpy.uint8(76),
      trans_x=numpy.uint8(78), diag=numpy.uint8(78))
  gradient = gradient + x.sum()"""
  text = WITHOUT_CHECK + 'import numpy\n' + program(step=step)
  arena.refused(text, "it calls 'lapack_strsm_ffi' with other shapes")


def test_memory_shared_with_what_is_smaller(arena):
  step = """x = jax.ffi.ffi_call('lapack_sgetrf_ffi', (lambda S: (S((16, 16), "float32"),
      S((16,), "int32"), S((), "int32")))(jax.ShapeDtypeStruct),
      input_output_aliases={0: 1})(gradient)[1]
  gradient = gradient + x.sum()"""
  arena.refused(WITHOUT_CHECK + program(step=step))


def test_what_jax_calls_itself_passes(arena):
  step = """low = jnp.linalg.cholesky(gradient @ gradient.T + jnp.eye(16))
  more = jnp.linalg.qr(low)[0] + jnp.linalg.inv(low) + jnp.linalg.svd(low)[0]
  gradient = gradient + 1e-30 * (more + jnp.linalg.eigh(low)[1]).sum()"""
  result = arena.attack(program(step=step))
  assert result.measurements, result.reason
