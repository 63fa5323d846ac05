"""The proof that a score was earned, where validation has few batches to deal rows between."""

import dataclasses
import itertools
import time
import types

import numpy as np
import pytest
from helpers.tiny_language import ROWS, SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner import evaluate
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer import export

NO_OUTPUTS = np.zeros((), np.float32)
CHEATS = {
  'looks ahead': 'x = x + 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])',
  'the other rows of its batch': 'x = x + x[:, :1].mean(axis=0, keepdims=True)',
}


@pytest.mark.parametrize('batches', [1, 2, ROWS])
def test_the_proof_needs_no_more_than_one_batch(tmp_path, batches):
  size = ROWS // batches
  dataset = dataclasses.replace(make_dataset(tmp_path), evaluation_batch=size)
  runner = TrainingRunner(RunnerSetup('cpu', dataset, Limits(), str(tmp_path / 'cache')))

  def run(name: str, mix: str = ''):
    folder = tmp_path / name
    folder.mkdir()
    text = program(mix=mix, step='gradient = 0.01 * gradient')
    (folder / 'model.py').write_text(text)
    export.export_program(folder, 'model.py', SPEC, size).write(folder / 'artifact')
    runner.load(str(folder / 'artifact'))
    runner.compile()
    return runner.run(0, STEPS, lambda *news: None)['measurement'].metrics

  assert run('innocent')['val_bpb'] > 0
  for sentence, mix in CHEATS.items():
    if size == 1 and 'rows' in sentence:
      continue  # there are none
    with pytest.raises(RunnerError, match=sentence):
      run(sentence, mix)


def prove(score, tokens, seed=0):
  """Proves a model that gives `score(inputs)` as losses, on int tokens [batches, rows, time]."""
  compiled = types.SimpleNamespace(
    device_put=lambda array: array,
    score=lambda leaves, inputs, targets: (score(inputs), targets, NO_OUTPUTS),
  )
  batches = [
    evaluate.ScoredBatch(batch, batch, score(batch), batch, NO_OUTPUTS) for batch in tokens
  ]
  rng = np.random.default_rng(seed)
  evaluate._check_leakage(compiled, None, batches, rng, lambda: None)


def ahead(inputs):
  return np.roll(inputs, -1, axis=1).astype(np.float32)


@pytest.mark.parametrize(('batches', 'rows'), [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2), (4, 5)])
@pytest.mark.parametrize('same', [False, True])
def test_looking_ahead_is_found_in_one_row_and_where_all_are_the_same(batches, rows, same):
  tokens = np.random.default_rng(1).integers(1, 99, (batches, rows, 64))
  if same:
    tokens[:] = tokens[0, 0]
  prove(lambda inputs: inputs.astype(np.float32), tokens)
  with pytest.raises(evaluate.EvaluationError, match='looks ahead'):
    prove(ahead, tokens)


@pytest.mark.parametrize(('batches', 'rows'), [(1, 2), (8, 16)])
def test_one_row_that_sees_one_other_is_found(batches, rows):
  def score(inputs):
    nats = inputs.astype(np.float32)
    nats[0, 0] += inputs[1, 0]
    return nats

  tokens = np.random.default_rng(1).integers(1, 10**6, (batches, rows, 4))
  for seed in range(50):
    with pytest.raises(evaluate.EvaluationError, match='other rows'):
      prove(score, tokens, seed)


def test_outputs_that_depend_on_other_rows_are_found_where_no_loss_does():
  rows = np.random.default_rng(1).normal(size=(3, 6, 2)).astype(np.float32)

  def score(inputs, leak):
    outputs = inputs + leak * np.flip(inputs, 0)
    return np.zeros(len(inputs), np.float32), np.zeros(()), outputs

  def prove_outputs(leak):
    compiled = types.SimpleNamespace(
      device_put=lambda array: array, score=lambda leaves, inputs, targets: score(inputs, leak)
    )
    batches = [evaluate.ScoredBatch(batch, batch, *score(batch, leak)) for batch in rows]
    evaluate._check_leakage(compiled, None, batches, np.random.default_rng(0), lambda: None)

  prove_outputs(0.0)
  with pytest.raises(evaluate.EvaluationError, match='other rows'):
    prove_outputs(0.5)


@pytest.mark.parametrize('unit', [1e-5, 1.0, 1e5])
def test_the_unit_of_a_regression_hides_no_leak(unit):
  targets = (unit * np.random.default_rng(1).normal(size=(3, 6, 2))).astype(np.float32)

  def prove_unit(leak):
    def score(leaves, inputs, targets):
      outputs = inputs + np.float32(leak) * np.flip(inputs, 0)
      return np.square(outputs - targets).mean(axis=1), np.zeros(()), outputs

    compiled = types.SimpleNamespace(device_put=lambda array: array, score=score)
    batches = [evaluate.ScoredBatch(b, b, *score(None, b, b)) for b in targets]
    evaluate._check_leakage(compiled, None, batches, np.random.default_rng(0), lambda: None)

  for rounding in (0.0, 1e-6):
    prove_unit(rounding)
  with pytest.raises(evaluate.EvaluationError, match='other rows'):
    prove_unit(0.5)


def test_each_row_is_scored_again_once():
  places = evaluate._reshuffle(5, 7, np.random.default_rng(0))
  assert (np.sort(places, axis=0) == np.arange(5)[:, None]).all()


@pytest.mark.parametrize('naps', [1, 3, 99])
def test_one_slow_call_of_predict_is_the_machines_and_only_slow_calls_are_the_programs(
  tmp_path, naps
):
  dataset = dataclasses.replace(make_dataset(tmp_path), evaluation_batch=ROWS)
  calls = itertools.count()

  def score(leaves, inputs, targets):
    time.sleep(0.2 * (next(calls) < naps))
    return np.ones(targets.shape, np.float32), targets, NO_OUTPUTS

  compiled = types.SimpleNamespace(device_put=lambda array: array, score=score)
  evaluated = (compiled, None, dataset, np.random.default_rng(0), lambda: None, 0.001, 10**6)
  if naps == 99:
    with pytest.raises(evaluate.EvaluationError, match='`predict` takes'):
      evaluate.evaluate(*evaluated)
  else:
    assert evaluate.evaluate(*evaluated)['val_loss'] == 1.0
