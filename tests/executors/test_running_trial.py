"""A trial in a slot goes on after the seeds that are on record."""

import pathlib

from autoresearch_jax.executors.running_trial import RunningTrial
from autoresearch_jax.types import (
  Budget,
  Cost,
  Measurement,
  Program,
  ReferenceStep,
  Result,
  SeedResult,
  Status,
  TrialRequest,
)

PROGRAM = Program((('model.py', ''),), 'model.py')


def seed_result(seed, fingerprint='same', loss=1.0):
  facts = {'curves': {str(seed): [[1, loss]]}, 'looks': {str(seed): []}}
  measurement = Measurement(seed, {'val_loss': loss}, Cost(training_seconds=4.0))
  return SeedResult(0, fingerprint, measurement, {**facts, 'reference_step_seconds': 0.125})


def running(done):
  request = TrialRequest(0, PROGRAM, (3, 1, 2), Budget(4.0), done=done)
  trial = RunningTrial(request, pathlib.Path('artifact'), Result(0, Status.CRASH), 0.0, 0.5)
  trial.record_load('same', {'device': 'cpu', 'reference_step_seconds': 9.0})
  return trial


def test_it_trains_what_is_missing_and_returns_all_in_the_order_of_the_seeds():
  done = (seed_result(2), seed_result(3, loss=3.0))
  trial = running(done)
  assert trial.missing_seeds == [1]
  measured = {'seed': 1, 'metrics': {'val_loss': 2.0}, 'cost': {}}
  report = trial.record_run({'measurement': measured, 'curve': [[1, 2.0]], 'rungs': []}, 0.25)
  assert (report.trial, report.fingerprint, report.measurement.seed) == (0, 'same', 1)
  assert report.facts['curves'] == {'1': [[1, 2.0]]}
  assert report.measurement.cost.trace_seconds == 0.5
  result = trial.finished()
  assert [m.seed for m in result.measurements] == [3, 1, 2]
  assert result.measurements[::2] == (done[1].measurement, done[0].measurement)
  assert list(result.facts['curves']) == ['3', '1', '2']
  assert result.facts['device'] == 'cpu'


def test_runs_of_another_artifact_are_trained_again():
  trial = running((seed_result(2, 'other'), seed_result(3)))
  assert trial.missing_seeds == [1, 2]


def test_the_missing_seeds_are_calibrated_as_the_finished_ones_were():
  unmeasured = ReferenceStep(PROGRAM)
  assert running((seed_result(2),)).reference(unmeasured).step_seconds == 0.125
  assert running(()).reference(unmeasured).step_seconds == 9.0
