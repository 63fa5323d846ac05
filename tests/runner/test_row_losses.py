"""Recorded losses of rows add up to the metrics of the same training, on both held-out splits."""

import math

import numpy as np
from helpers.tiny_language import ROWS, SPEC, STEPS, TIME, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner.client import RunnerSetup
from autoresearch_jax.runner.row_losses import BLOCK_TOKENS
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer import export
from autoresearch_jax.types import PruningRung


def test_the_losses_of_rows_add_up_to_the_metric(tmp_path):
  dataset = make_dataset(tmp_path)
  folder, rows = tmp_path / 'program', tmp_path / 'rows.npz'
  folder.mkdir()
  (folder / 'model.py').write_text(program(step='gradient = 0.01 * gradient'))
  artifact = folder / 'artifact'
  export.export_program(folder, 'model.py', SPEC, dataset.evaluation_batch).write(artifact)
  runner = TrainingRunner(RunnerSetup('cpu', dataset, Limits(), str(tmp_path / 'cache')))
  runner.load(str(artifact))
  runner.compile()
  rungs = (PruningRung(0.5, max_train_loss=0.0, max_val_loss=0.0),)  # would prune
  found = runner.run(0, STEPS, lambda *news: None, rungs=rungs, rows=str(rows))
  on_test = runner.run(0, STEPS, lambda *news: None, on_test=True)['measurement'].metrics

  with np.load(rows) as stored:
    assert stored['progress'].tolist() == [0.5, 1.0]
    assert 0 < stored['seconds'][0] < stored['seconds'][1]
    assert stored['validation'].shape == (2, ROWS * TIME // BLOCK_TOKENS)
    for split, value in (
      ('validation', found['measurement'].metrics['val_bpb']),
      ('test', on_test['test_bpb']),
    ):
      nats = stored[split].reshape(-1, len(stored[f'{split}_bytes']))[-1].sum(dtype=np.float64)
      assert math.isclose(nats / stored[f'{split}_bytes'].sum() / math.log(2), value, rel_tol=1e-5)
  assert not rows.with_name('rows.npz.part').exists()
