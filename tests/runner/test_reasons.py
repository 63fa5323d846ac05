"""Every reason with which the runner ends a trial says what was measured, and what to do."""

import pytest
from helpers.tiny_language import SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner.client import RunnerError, RunnerSetup, seconds_left
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program

pytestmark = pytest.mark.slow

SLOW = 'x = jax.lax.fori_loop(0, 10**5, lambda i, x: jnp.sin(x), x)'
WIDE = "return logits(state['table'], inputs) * 1e38 * 1e38"

# Name -> (program, limits, what is wrong, what to do).
REASONS = {
  'not a number': (
    program(step='gradient = gradient * jnp.nan'), {}, 'loss was nan at step', 'Lower a learning'),
  'a large loss': (program(), {'max_loss': 1e-3}, 'the limit is 0.001', 'Lower a learning rate'),
  'predictions that are not finite': (
    program().replace("return logits(state['table'], inputs)", WIDE), {}, 'not finite',
    'bound what `predict` returns'),
  'rows that see each other': (
    program(mix='x = x - x.mean(0)'), {}, 'depends on the other rows', 'normalise and mix over'),
  'a look ahead': (
    program(mix='x = x + jnp.roll(x, -1, 1)'), {}, 'depends on inputs after it', 'Mask attention'),
  'a slow predict': (
    program().replace('return logits(state', f'x = state["table"]\n  {SLOW}\n  return 0 * x[0] + '
                      'logits(state'), {'predict_seconds': 1e-6},
    '`predict` takes', 'raise limits.predict_seconds'),
  'too little memory': (program(), {'device_bytes': 1000}, 'The program needs', 'a smaller batch'),
  'too large an artifact': (program(), {'artifact_bytes': 1000},
                            'limits.artifact_bytes allows', 'or raise limits.artifact_bytes'),
  'too large a table': (
    'import numpy\nTABLE = numpy.random.rand(999)\n' + program(mix='x = x + TABLE[:16]'),
    {'constant_bytes': 8}, 'limits.constant_bytes allows', 'or raise limits.constant_bytes'),
}  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runner')


@pytest.fixture(scope='module')
def dataset(folder):
  return make_dataset(folder)


@pytest.mark.parametrize('name', REASONS)
def test_a_reason_says_what_is_wrong_and_what_to_do(dataset, folder, tmp_path, name):
  text, limits, what, remedy = REASONS[name]
  (tmp_path / 'model.py').write_text(text)
  export_program(tmp_path, 'model.py', SPEC, 16).write(tmp_path / 'artifact')
  runner = TrainingRunner(RunnerSetup('cpu', dataset, Limits(**limits), str(folder / 'cache')))
  with pytest.raises(RunnerError) as failed:
    runner.load(str(tmp_path / 'artifact'))
    runner.compile()
    runner.run(0, STEPS, lambda *news: None)
  reason = str(failed.value)
  assert what in reason and remedy in reason, reason
  assert reason.index(what) < reason.index(remedy) and reason.endswith('.') and '\n' not in reason


@pytest.mark.parametrize(
  ('wall', 'cpu', 'left'),
  [
    (100, 100, 200),  # within the limit
    (100, 900, 200),  # many threads: the wall clock counts
    (900, 200, 100),  # a busy machine: as much CPU time
    (900, 300, 0),
    (900, 1, 0),  # hangs
    (400, 0, 0),  # or the system does not say
  ],
)
def test_a_starved_compilation_has_its_cpu_time(wall, cpu, left):
  assert seconds_left(300, wall, cpu) == left
