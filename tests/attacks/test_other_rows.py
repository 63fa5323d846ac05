"""Predictions that draw on the other rows of the batch."""

import numpy as np
import pytest
from helpers.tiny_language import program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer import export
from autoresearch_jax.types import Budget, Dataset, Spec

WAYS = {
  'statistics of the batch': 'x = (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-3)',
  'attention over rows': """
  y = x.reshape(-1, x.shape[2])
  x = x + (jax.nn.softmax(y @ y.T, axis=-1) @ y).reshape(x.shape)""",
  # Rows lie one after the other in the text, so this is what the last position must predict.
  'how the next row begins': """
  begins = jax.nn.one_hot(jnp.roll(inputs[:, 0], -1), x.shape[2])
  x = x.at[:, -1].add(9 * begins)""",
  'the first tokens of all rows': 'x = x + x[:, :1].mean(axis=0, keepdims=True)',
  'the row before the last': 'x = x + jnp.roll(x, 2, axis=0)',
  'the first row': 'x = x + x[:1]',
  'the order of the rows': 'x = x + jnp.sort(x, axis=0)',
}


@pytest.mark.parametrize('way', WAYS)
def test_other_rows_are_proved(arena, way):
  arena.refused(
    program(mix=WAYS[way], step='gradient = 0.01 * gradient'),
    'depends on the other rows of its batch',
  )


@pytest.mark.parametrize('rows', ['jnp.roll(inputs, 2, axis=0)', 'inputs[::-1]', 'inputs[:1]'])
def test_other_examples_are_proved(tmp_path, rows):
  """Rows two apart were once always exchanged together."""
  rng = np.random.default_rng(0)
  for split in ('train', 'validation'):
    (tmp_path / split).mkdir()
    np.save(tmp_path / split / 'inputs.npy', rng.normal(size=(32, 6)).astype(np.float32))
    np.save(tmp_path / split / 'targets.npy', rng.integers(0, 3, 32).astype(np.int32))
  train, validation = str(tmp_path / 'train'), str(tmp_path / 'validation')
  dataset = Dataset('supervised', train, validation, '', evaluation_batch=16, fingerprint='test')
  spec = Spec('supervised', 'cpu', 1, Budget(4, 'steps'), input_shape=(6,), num_classes=3)
  (tmp_path / 'model.py').write_text(f"""
import jax, jax.numpy as jnp
BATCH_SIZE = 8
def init(key, spec):
  return jax.random.normal(key, (6, 3))
def train_step(state, batch, progress):
  return state * 0.99, {{'loss': jnp.mean(batch['inputs'] @ state) ** 2}}
def predict(state, inputs):
  return (inputs + {rows}) @ state
""")
  export.export_program(tmp_path, 'model.py', spec, 16).write(tmp_path / 'artifact')
  runner = TrainingRunner(RunnerSetup('cpu', dataset, Limits(), str(tmp_path / 'cache')))
  runner.load(str(tmp_path / 'artifact'))
  runner.compile()
  with pytest.raises(RunnerError, match='depends on the other rows of its batch'):
    runner.run(0, spec.budget, lambda *news: None)
