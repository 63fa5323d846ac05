"""Work where no clock runs: in `predict`, in `init`, at import."""

from helpers.tiny_language import program

from autoresearch_jax.types import Status

KEEPING = """
_init, _step = init, train_step
def init(key, spec):
  kept = jnp.zeros((20, BATCH_SIZE, 32), jnp.int32)
  return {**_init(key, spec), 'inputs': kept, 'targets': kept, 'at': 0}

def train_step(state, batch, progress):
  kept = {n: jax.lax.dynamic_update_index_in_dim(state[n], batch[n], state['at'], 0)
          for n in ('inputs', 'targets')}
  _, metrics = _step(state, batch, progress)
  return {'table': state['table'], 'at': state['at'] + 1, **kept}, metrics

def predict(state, inputs):
  def step(i, table):
    batch = {n: state[n][i % 20] for n in ('inputs', 'targets')}
    return table - jax.grad(loss)(table, batch)
  return logits(jax.lax.fori_loop(0, 60000, step, state['table']), inputs)
"""


def test_training_in_predict(arena):
  """It keeps the batches and trains on them once the clock has stopped.

  It ends by the time of `predict`, or by its silence where the machine is slow.
  """
  result = arena.attack(program() + KEEPING)
  assert not result.measurements
  if result.status == Status.TIMEOUT:
    assert 'no progress for' in result.reason, result
  else:
    assert result.status == Status.INVALID, result
    assert '`predict` takes' in result.reason
    assert 'move the work to `train_step`' in result.reason


def test_training_in_init(arena):
  """It ends by its time, or by its silence where the machine is slow."""
  text = (
    program()
    + """
_init = init
def init(key, spec):
  state = _init(key, spec)
  wide = jax.lax.fori_loop(0, 8000, lambda i, w: jnp.tanh(w @ w), jnp.eye(256))
  return {'table': state['table'] + 0 * wide[:16, :16]}
"""
  )
  reason = arena.refused(text, status=Status.TIMEOUT)
  assert 'create the state, not train it' in reason or 'no progress for' in reason


def test_training_at_import_has_no_data(arena):
  """What is computed at import is a constant, whose size is limited; and time is, too."""
  arena.at_import(
    'import numpy\nwhile True: numpy.linalg.svd(numpy.ones((99, 99)))',
    'tracing',
    status=Status.TIMEOUT,
  )
