"""Programs that differ in scalar constants share what is compiled, and compute what they should."""

import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_language import SPEC, STEPS, make_dataset, program
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.config import Limits
from autoresearch_jax.runner.client import RunnerSetup
from autoresearch_jax.runner.compile import ExecutableTemplate, compilations
from autoresearch_jax.runner.hoist_constants import hoist_constants
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer import export

X = jax.ShapeDtypeStruct((5,), jnp.float32)
NUMBERS = st.floats(1 / 32, 31 / 32, width=32).filter(lambda x: x != 0.5)


def exported(function, *shapes):
  return jax.export.export(jax.jit(function))(*(shapes or (X,)))


def many_places(a, b, c):
  """Numbers in a loop, a branch, a function that is called twice, and one at several places."""

  def inner(x):
    return jnp.tanh(a * x) + b

  def function(x):
    def body(i, y):
      return jax.jit(inner)(y) * c + jnp.where(y > a, c, y)

    y = jax.lax.fori_loop(0, 3, body, x)
    y = jax.lax.cond(y[0] > b, lambda y: y * a, lambda y: y - c, y)
    return jax.jit(inner)(y) + a, jnp.sum(y.astype(jnp.bfloat16) * jnp.bfloat16(0.7))

  return function


def code(function, *shapes) -> bytes:
  return hoist_constants(exported(function, *shapes)).exported.mlir_module_serialized


@settings(max_examples=15, deadline=None)
@given(st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_what_is_hoisted_for_one_computes_the_other(numbers):
  one, other = (exported(many_places(*each)) for each in ((0.1, 0.2, 0.3), numbers))
  shared, given_ = hoist_constants(one), hoist_constants(other)
  assert shared.exported.mlir_module_serialized == given_.exported.mlir_module_serialized
  x = np.linspace(-1, 1, 5, dtype=np.float32)
  found, wanted = shared.exported.call(x, given_.values), other.call(x)
  np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6, atol=1e-6)
  np.testing.assert_allclose(float(found[1]), float(wanted[1]), rtol=2e-2, atol=2e-2)  # bfloat16


@pytest.mark.parametrize(
  ('before', 'after'),
  [
    (lambda x: x + 0.0, lambda x: x + 0.25),
    (lambda x: 3.0 * x, lambda x: 4.0 * x),
    (lambda x: x**0.75, lambda x: x**0.7),
    (lambda x: jnp.roll(x, 1), lambda x: jnp.roll(x, 2)),
    (lambda x: x * jnp.array([0.1, 0.2, 0.3, 0.4, 0.5]), lambda x: x * jnp.arange(5.0)),
    (lambda x: jnp.where(x > 0.1, x, jnp.inf), lambda x: jnp.where(x > 0.1, x, 0.3)),
  ],
  ids=['zero', 'power of two', 'exponent', 'integers', 'arrays', 'infinity'],
)
def test_what_shapes_the_code_stays(before, after):
  assert code(before) != code(after)


def test_numbers_that_happen_to_be_equal_are_each_their_own():
  def function(a, b):
    return lambda x: jnp.sin(a * x) + b * x

  assert code(function(0.3, 0.3)) == code(function(0.3, 0.7))


def test_no_argument_is_sought_where_none_reaches():
  def function(x):
    return jax.lax.reduce(x, 0.0, lambda a, b: jax.jit(lambda c: c * 0.9)(a) + b, (0,))

  hoisted = hoist_constants(exported(function))
  x = np.arange(5, dtype=np.float32)
  np.testing.assert_allclose(hoisted.exported.call(x, hoisted.values), function(x), rtol=1e-6)


def test_which_arguments_are_taken_is_part_of_the_code():
  one, other = (
    hoist_constants(exported(f, X, X)) for f in (lambda a, b: a * 0.3, lambda a, b: b * 0.3)
  )
  assert one.exported.mlir_module_serialized == other.exported.mlir_module_serialized
  assert one.code != other.code


def test_calls_of_a_library_can_be_written_again():
  def function(x):
    return jnp.linalg.cholesky(jnp.eye(3) * 0.7 + 0.1) * x[0] * 0.3

  hoisted = hoist_constants(exported(function))
  x = np.ones(5, np.float32)
  np.testing.assert_allclose(hoisted.exported.call(x, hoisted.values), function(x), rtol=1e-5)


def test_an_exponent_is_known_however_often_it_was_spread_out():
  def function(x):
    exponent = jnp.full((1, 5), 0.7)
    for turn in range(1200):
      exponent = exponent.reshape((5, 1) if turn % 2 == 0 else (1, 5))
    return x ** exponent[0]

  assert not hoist_constants(exported(function)).values.size


def test_complex_numbers_stay():
  def function(x):
    return jnp.abs(jnp.fft.fft(x) * (0.3 + 0.7j)) * 0.9

  hoisted = hoist_constants(exported(function))
  x = np.arange(5, dtype=np.float32)
  np.testing.assert_allclose(hoisted.exported.call(x, hoisted.values), function(x), rtol=1e-5)


def artifact_of(text: str, folder: pathlib.Path) -> Artifact:
  folder.mkdir()
  (folder / 'model.py').write_text(text)
  return export.export_program(folder, 'model.py', SPEC, evaluation_batch=16)


def tuned(rate: float) -> str:
  return program().replace('5.0 *', f'{rate} *')


def cache_key(text: str, folder: pathlib.Path) -> str:
  return ExecutableTemplate.from_artifact(artifact_of(text, folder)).cache_key


def test_programs_that_differ_only_in_constants_share_a_cache_key(tmp_path):
  key = cache_key(tuned(5.3), tmp_path / 'a')
  assert key == cache_key(tuned(1.7), tmp_path / 'b')
  other = tuned(5.3).replace('nats.mean()', 'jnp.square(nats).mean()')
  assert key != cache_key(other, tmp_path / 'c')
  assert key != cache_key(program(batch=4), tmp_path / 'd')


def test_a_prediction_from_another_leaf_has_another_cache_key(tmp_path):
  """The weights or their moving average: the module is the same, and takes another argument."""
  averaged = (
    tuned(5.3)
    .replace("return {'table': 0.1", "return {'average': jnp.zeros((16, 16)), 'table': 0.1")
    .replace("return {'table': state", "return {'average': state['table'], 'table': state")
  )
  other = averaged.replace("logits(state['table'], inputs)", "logits(state['average'], inputs)")
  assert 'average' in averaged and other != averaged
  first, second = (
    ExecutableTemplate.from_artifact(artifact_of(text, tmp_path / name))
    for name, text in (('a', averaged), ('b', other))
  )
  assert first.modules[-1].exported.mlir_module_serialized == (
    second.modules[-1].exported.mlir_module_serialized
  )
  assert first.cache_key != second.cache_key


def test_another_number_compiles_nothing_and_measures_the_same(tmp_path):
  """To the bit what a runner measures that never saw the first program."""
  paths = []
  for rate in (5.3, 1.7):
    paths.append(tmp_path / f'{rate}.artifact')
    artifact_of(tuned(rate), tmp_path / f'{rate}').write(paths[-1])
  setup = RunnerSetup('cpu', make_dataset(tmp_path), Limits(), str(tmp_path / 'cache'))

  def run(runner, path):
    loaded = runner.load(str(path))
    runner.compile()
    return loaded['fingerprint'], runner.run(0, STEPS, lambda *news: None)['measurement'].metrics

  warm = TrainingRunner(setup)
  first = run(warm, paths[0])
  before = compilations()
  second = run(warm, paths[1])
  assert compilations() == before
  assert first[0] != second[0] and first[1] != second[1]
  assert run(TrainingRunner(setup), paths[1]) == second
  assert run(warm, paths[0]) == first
