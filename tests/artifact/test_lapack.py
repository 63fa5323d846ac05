"""Every LAPACK call that jax lowers is accepted, and none with other shapes or options."""

import itertools

import jax
import jax.lax.linalg as lax_linalg
import jax.numpy as jnp
import jax.scipy.linalg as scipy_linalg
import numpy as np
import pytest

from autoresearch_jax.artifact import graph, lapack

pytestmark = pytest.mark.slow
DTYPES = ('float32', 'complex64')
SQUARE = ((3, 3), (2, 3, 3))
ANY = ((3, 3), (4, 3), (2, 3, 5), (0, 3, 1))


def calls(function, *shapes, dtype='float32'):
  """(target, operation) of each custom call that jax lowers a function to on a CPU."""
  checks = [jax.export.DisabledSafetyCheck.custom_call('ALL')]
  structs = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
  exporting = jax.export.export(jax.jit(function), platforms=['cpu'], disabled_checks=checks)
  return [
    (dict(op.attributes)['call_target_name'].strip('"'), op)
    for op in graph.read(exporting(*structs)).ops()
    if op.name == 'stablehlo.custom_call'
  ]


def svd(options):
  full, vectors, algorithm = options
  return lambda x: lax_linalg.svd(
    x, full_matrices=full, compute_uv=vectors, algorithm=lax_linalg.SvdAlgorithm[algorithm]
  )


def triangular(options):
  left, lower, transposed, unit = options
  return lambda x: lax_linalg.triangular_solve(
    x,
    x[..., :2] if left else x[..., :2, :],
    left_side=left,
    lower=lower,
    transpose_a=transposed,
    conjugate_a=transposed,
    unit_diagonal=unit,
  )


def eig(options):
  left, right = options
  return lambda x: lax_linalg.eig(
    x, compute_left_eigenvectors=left, compute_right_eigenvectors=right
  )


def multiplied(x):
  raw, taus = jnp.linalg.qr(x, mode='raw')
  return lax_linalg.ormqr(raw.mT, taus, x)


def flags(count):
  return itertools.product((False, True), repeat=count)


DECOMPOSITIONS = {
  **{f'svd {o}': svd(o) for o in itertools.product((False, True), (False, True),
                                                   ('DEFAULT', 'QR', 'DIVIDE_AND_CONQUER'))},
  **{f'qr {m}': lambda x, m=m: jnp.linalg.qr(x, mode=m) for m in ('reduced', 'complete', 'r')},
  'qr pivoting': lambda x: scipy_linalg.qr(x, pivoting=True),
  'ormqr': multiplied,
  'lu': lax_linalg.lu,
  'pinv': jnp.linalg.pinv,
  'svdvals': jnp.linalg.svdvals,
}  # fmt: skip
SOLVERS = {
  **{f'triangular {o}': triangular(o) for o in flags(4)},
  **{f'eig {o}': eig(o) for o in flags(2)},
  **{f'cholesky {o}': lambda x, o=o: scipy_linalg.cholesky(x, lower=o) for o in (False, True)},
  **{f'eigh {o}': lambda x, o=o: lax_linalg.eigh(x, lower=o) for o in (False, True)},
  **{f'tridiagonal {o}': lambda x, o=o: lax_linalg.tridiagonal(x, lower=o) for o in (False, True)},
  **{f'schur {o}': lambda x, o=o: lax_linalg.schur(x, compute_schur_vectors=o) for o in (0, 1)},
  'eigvalsh': jnp.linalg.eigvalsh,
  'hessenberg': lax_linalg.hessenberg,
  'solve': lambda x: jnp.linalg.solve(x, x),
  'inv': jnp.linalg.inv,
  'expm': scipy_linalg.expm,
}


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', [*DECOMPOSITIONS, *SOLVERS])
def test_what_jax_lowers_is_accepted(name, dtype):
  function = (DECOMPOSITIONS | SOLVERS)[name]
  found = [
    call
    for shape in (ANY if name in DECOMPOSITIONS else SQUARE)
    for call in calls(function, shape, dtype=dtype)
  ]
  assert found
  for target, op in found:
    assert target in lapack.TARGETS
    assert lapack.is_valid(target, op), (target, op.types, op.attributes)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('perturbed', [False, True])
@pytest.mark.parametrize('batch', [(), (2,)])
def test_tridiagonal_solves_are_accepted(dtype, perturbed, batch):
  def solve(lower, diagonal, upper, right):
    return lax_linalg.tridiagonal_solve(lower, diagonal, upper, right, perturb_singular=perturbed)

  diagonals = [(*batch, 4)] * 3
  ((target, op),) = calls(solve, *diagonals, (*batch, 4, 2), dtype=dtype)
  assert lapack.is_valid(target, op)


def test_the_matrix_functions_of_scipy_are_accepted():
  for function in (scipy_linalg.sqrtm, scipy_linalg.schur, lambda x: scipy_linalg.funm(x, jnp.exp)):
    for target, op in calls(function, (3, 3)):
      assert lapack.is_valid(target, op)


@pytest.mark.parametrize(
  ('target', 'options', 'shape'),
  [
    ('sgees', {'mode': 86, 'sort': 83}, [(3, 3), (3, 3), (3,), (3,), (), ()]),
    ('sgees', {'mode': 88, 'sort': 78}, [(3, 3), (3, 3), (3,), (3,), (), ()]),
    ('ssyevd', {'mode': 88, 'uplo': 76}, [(3, 3), (3,), ()]),
    ('sgesdd', {'mode': 78}, [(3, 3), (3,), (1, 1), (1, 1), ()]),
    ('sgesvd', {'mode': 65}, [(3, 3), (3,), (3, 3), (3, 1), ()]),
    ('sgehrd', {'low': 1, 'high': 9}, [(3, 3), (2,), ()]),
    ('ssytrd', {'uplo': 76}, [(3, 3), (3,), (2,), (1,), ()]),
  ],
)
def test_other_options_and_shapes_are_refused(target, options, shape):
  kind = np.int32 if 'low' in options else np.uint8
  attributes = {name: kind(value) for name, value in options.items()}
  types = [jax.ShapeDtypeStruct(s, 'float32' if s else 'int32') for s in shape]
  call = jax.ffi.ffi_call(f'lapack_{target}_ffi', types)
  ((name, op),) = calls(lambda x: call(x, **attributes), (3, 3))
  assert not lapack.is_valid(name, op)
