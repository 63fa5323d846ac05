"""What surrounds the modules of an artifact: every dtype of the contract, loops, and `init`."""

import time

import jax
import numpy as np
import pytest
from helpers.tiny_language import SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.programs.contract import DTYPES
from autoresearch_jax.runner import compile as compiling
from autoresearch_jax.runner import device_calls
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import Status

pytestmark = pytest.mark.slow

CONVOLUTION = """
  kernel = jnp.arange(3 * 16 * 16).reshape(3, 16, 16) / 1e3
  x = x + jnp.tanh(jax.lax.conv_general_dilated(
      x, kernel * x.std(), (1,), [(2, 0)], dimension_numbers=('NWC', 'WIO', 'NWC')))
"""


@pytest.fixture(scope='module')
def runner(tmp_path_factory) -> TrainingRunner:
  dataset = make_dataset(tmp_path_factory.mktemp('data'))
  return TrainingRunner(
    RunnerSetup('cpu', dataset, Limits(), str(tmp_path_factory.mktemp('cache')))
  )


def export(text, folder):
  (folder / 'model.py').write_text(text)
  return export_program(folder, 'model.py', SPEC, evaluation_batch=16)


def run(runner, artifact, folder, budget=STEPS):
  artifact.write(folder / 'artifact')
  runner.load(str(folder / 'artifact'))
  runner.compile()
  return runner.run(0, budget, lambda *news: None)['measurement']


def with_leaf(name, init, update, read):
  """The small program with one more leaf: its initial value, its update, and what is predicted."""
  text = program()
  for old, new in (
    ("return {'table': 0.1", f"return {{'{name}': {init}, 'table': 0.1"),
    ("return {'table': state", f"return {{'{name}': {update}, 'table': state"),
    ("return logits(state['table']", f"return {read} + logits(state['table']"),
  ):
    assert old in text
    text = text.replace(old, new)
  return text


@pytest.mark.parametrize('dtype', sorted(DTYPES))
def test_a_state_of_any_listed_dtype_trains(runner, tmp_path, dtype):
  more = '1j' if dtype == 'complex64' else '1'
  text = with_leaf(
    'count',
    f"jnp.zeros(3, '{dtype}')",
    f"(state['count'].astype(jnp.complex64) + {more}).real.astype('{dtype}')",
    "0 * state['count'].astype(jnp.complex64).real.sum()",
  )
  assert run(runner, export(text, tmp_path), tmp_path).cost.steps == STEPS.amount


def test_steps_with_convolutions_run_one_by_one_and_give_what_a_loop_gives(runner, tmp_path):
  artifact = export(program(mix=CONVOLUTION.strip(), batch=32), tmp_path)
  assert device_calls.dispatch_of(artifact, 0) == 'single'
  template = compiling.ExecutableTemplate.from_artifact(artifact)
  loaded = compiling.compile_template(template, jax.devices(), 0).bind(template)
  key = compiling.prng_key_data(0)
  leaves = loaded.init(key)
  looped = device_calls.jit_train_steps(
    artifact, template.modules[1], 4, loaded.mesh, tuple(leaves)
  )
  single = device_calls.jit_single_step(artifact, template.modules[1], loaded.mesh, tuple(leaves))
  loop = looped[0].lower(*looped[1:]).compile()
  step = device_calls.SingleSteps(single[0].lower(*single[1:]).compile(), ('loss',))
  rng = np.random.default_rng(0)
  batches = [rng.integers(0, 16, (4, 32, 32), np.int32) for _ in range(2)]
  constants = jax.device_put(template.modules[1].values)
  outcomes, seconds = [], []
  for call in (loop, step):
    for _ in range(2):
      leaves = jax.block_until_ready(loaded.init(key))
      began = time.monotonic()
      out = call(constants, leaves, *batches, np.zeros(4, np.float32), np.int32(3))
      outcomes.append(jax.block_until_ready(out))
      seconds.append(time.monotonic() - began)
  for (state, metrics), (other, others) in zip(outcomes[:2], outcomes[2:], strict=True):
    np.testing.assert_allclose(metrics['loss'][:3], others['loss'], rtol=1e-4)
    np.testing.assert_allclose(state[0], other[0], rtol=1e-3, atol=1e-5)
  assert min(seconds[2:]) < min(seconds[:2])


def test_a_large_state_has_time_to_be_drawn(runner, tmp_path):
  """Drawing 64 MiB takes longer than ten of these steps."""
  more = 'jax.random.normal(key, (2**24,))'
  text = with_leaf('more', more, "state['more']", "1e-9 * state['more'][0]")
  assert run(runner, export(text, tmp_path), tmp_path).cost.steps == STEPS.amount


def test_a_small_state_has_no_time_to_be_trained_in_init(runner, tmp_path):
  training = 'jax.lax.fori_loop(0, 4 * 10**7, lambda i, x: jnp.sin(x + i), jnp.ones(16))'
  text = with_leaf('more', training, "state['more']", "1e-9 * state['more'][0]")
  with pytest.raises(RunnerError, match=r'`init` takes .* MiB; it must create the state') as failed:
    run(runner, export(text, tmp_path), tmp_path)
  assert failed.value.status == Status.TIMEOUT
