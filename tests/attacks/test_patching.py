"""Patching jax, the exporter, the clock or the ledger at import: of the tracer's child alone.

Where the exporter's checks are gone, the artifact's reader in the runner makes them again.
"""

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Status

HARMLESS = {
  'the clock': 'import time\ntime.monotonic = time.time = time.perf_counter = lambda: 0.0',
  'the evaluator': """
from autoresearch_jax.runner import evaluate, training_runner
assert training_runner.evaluate is evaluate.evaluate and evaluate._check_leakage
evaluate.evaluate = training_runner.evaluate = lambda *a, **k: {'val_bpb': 0.0, 'val_loss': 0.0}
evaluate._check_leakage = lambda *a: None""",
  'the ledger': """
from autoresearch_jax import ledger
for name in dir(ledger):
  if isinstance(getattr(ledger, name), type) and not name.startswith('_'):
    setattr(ledger, name, None)""",
  'the acceptance': """
import autoresearch_jax.acceptance as acceptance
for name in list(vars(acceptance)):
  if not name.startswith('_'): setattr(acceptance, name, None)""",
  'random numbers': 'import numpy\nnumpy.random.default_rng = lambda *a: 1 / 0',
  'the sandbox': """
from autoresearch_jax.sandbox import tracer_policy as policy
assert policy.enter and policy.check and policy.available_isolation
policy.enter = policy.check = policy.available_isolation = lambda *a: None""",
  'limits': 'from autoresearch_jax import config\nconfig.Limits.constant_bytes = 2**40',
  'hashes': 'import hashlib\nhashlib.blake2b = None',
}


@pytest.mark.parametrize('what', HARMLESS)
def test_what_runs_elsewhere_is_out_of_reach(arena, what):
  """The very bits of the innocent."""
  result = arena.attack(f'{HARMLESS[what]}\n{program()}')
  assert result.status == Status.OK, result.reason
  assert result.measurements[0].metrics == arena.bits


EXPORTER = """
import jax
from autoresearch_jax.programs import contract
from autoresearch_jax.tracer import export
assert export._CALLBACKS and export.FlatProgram
export._CALLBACKS = ()
export.check.check = lambda *_: None
"""


@pytest.mark.parametrize(
  'step',
  [
    'jax.debug.callback(print, value)',
    'value = jax.pure_callback(float, jax.ShapeDtypeStruct((), "float32"), value)',
  ],
)
def test_callbacks_past_the_exporter(arena, step):
  """They are objects of this process, which no artifact can hold."""
  reason = arena.refused(f'{EXPORTER}{program(step=step)}')
  assert 'callback' in reason or 'effects' in reason, reason


def test_a_batch_size_that_changes_after_it_was_checked(arena):
  patch = 'contract.check_batch_size = lambda size: 2**40\n'
  arena.refused(f'{EXPORTER}{patch}{program()}', 'BATCH_SIZE')


@pytest.mark.parametrize(
  ('of', 'words'),
  [
    ('lambda state, inputs: jnp.float32(0)', 'predict returns float32[]'),
    ('lambda state, inputs: jnp.zeros((*inputs.shape, 17))', 'predict returns float32[16,32,17]'),
    ('lambda state, inputs: jnp.zeros((*inputs.shape, 16), "int32")', 'predict returns int32'),
    (
      'lambda state, inputs: jnp.zeros((*inputs.shape, 16), "complex64")',
      'predict returns complex',
    ),
  ],
)
def test_outputs_of_the_wrong_shape_or_type(arena, of, words):
  """First with the exporter's check, then without it."""
  text = f'{program()}\npredict = {of}\n'
  arena.refused(text, 'predict returns')
  patch = f"""
import jax, jax.numpy as jnp
export.FlatProgram.predict = lambda self, *a: ({of})(self._state(list(a[:-1])), a[-1])
"""
  reason = arena.refused(f'{EXPORTER}{patch}{program()}', 'The artifact is rejected: predict')
  assert words.partition('[')[0] in reason


def test_metrics_that_are_not_there(arena):
  patch = """
honest = export.FlatProgram._metrics
def forged(self, metrics):
  found = honest(self, metrics)
  self.metric_names = ('loss', 'val_bpb')
  return found
export.FlatProgram._metrics = forged
"""
  arena.refused(f'{EXPORTER}{patch}{program()}', 'train_step returns other arrays')


def test_an_easier_problem(arena):
  """Two tokens a row in place of the problem's."""
  patch = """
import dataclasses
for name in ('predict_inputs', 'predict_outputs'):
  def forged(spec, batch, honest=getattr(contract, name)):
    return honest(dataclasses.replace(spec, sequence_length=2), batch)
  setattr(contract, name, forged)
"""
  arena.refused(f'{EXPORTER}{patch}{program()}', 'predict takes other arrays')
