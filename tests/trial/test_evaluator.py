"""The proof that a score was earned, where validation has few batches to deal rows between."""

import dataclasses

import pytest
from tiny_language import ROWS, SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.trial import exporting
from autoresearch_jax.trial.runner import Failed, Runner
from autoresearch_jax.trial.running import Setup

CHEATS = {
  'looks ahead': 'x = x + 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])',
  'the other rows of its batch': 'x = x + x[:, :1].mean(axis=0, keepdims=True)',
}


@pytest.mark.parametrize('batches', [1, 2, ROWS])
def test_the_proof_needs_no_more_than_one_batch(tmp_path, batches):
  size = ROWS // batches
  dataset = dataclasses.replace(make_dataset(tmp_path), evaluation_batch=size)
  runner = Runner(Setup('cpu', dataset, Limits(), str(tmp_path / 'cache')))

  def run(name: str, mix: str = ''):
    folder = tmp_path / name
    folder.mkdir()
    text = program(mix=mix, step='gradient = 0.01 * gradient')
    (folder / 'model.py').write_text(text)
    exporting.export_program(folder, 'model.py', SPEC, size).write(folder / 'artifact')
    runner.load(str(folder / 'artifact'))
    runner.compile()
    return runner.run(0, STEPS, lambda *news: None)['measurement'].metrics

  assert run('innocent')['val_bpb'] > 0
  for sentence, mix in CHEATS.items():
    if size == 1 and 'rows' in sentence:
      continue  # there are none
    with pytest.raises(Failed, match=sentence):
      run(sentence, mix)
