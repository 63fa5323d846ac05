"""The parameters of a run are saved, exported, loaded without its Python, and score the same."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import autoresearch_jax as ar
from autoresearch_jax.__main__ import main
from autoresearch_jax.models.exported import ModelError
from autoresearch_jax.models.states import runs_of, save_plan
from autoresearch_jax.problems.digits import Digits

pytestmark = pytest.mark.slow
SETTINGS = {'budget.amount': 20, 'final_seeds': 0, 'acceptance_options.baseline_seeds': 3}


@pytest.fixture(scope='module')
def lines():
  return []


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, lines):
  folder = tmp_path_factory.mktemp('run') / 'digits'
  ar.run('digits', folder, max_trials=5, say=lines.append, **SETTINGS)
  return folder


def baseline(workdir):
  return ar.load_model(workdir / 'models' / 'baseline')


def test_a_run_leaves_its_best_model_and_the_baselines(workdir, lines):
  history = ar.load_run(workdir).history
  model = baseline(workdir)
  best_run = max(history.results[0].measurements, key=lambda m: -m.metrics['val_loss'])
  assert (model.info.trial, model.info.seed) == (0, best_run.seed)
  assert model.info.metrics == best_run.metrics and not model.info.retrained
  assert any('baseline model' in line for line in lines)
  best = history.original(history.incumbent.id)
  assert ar.load_model(workdir).info.trial == best
  wanted = {run.state for program in {0, best} for run in runs_of(history, program)[:1]}
  kept = {path.name for path in (workdir / 'scratch' / 'states').iterdir()}
  assert wanted <= kept and len(kept) <= 3  # and at most that of the last trial


def test_a_restored_model_scores_what_it_scored_to_the_bit(workdir):
  model = baseline(workdir)
  metrics = model.score()
  assert metrics == {name: model.info.metrics[name] for name in metrics} and 'val_loss' in metrics
  assert set(model.score('test')) == {'test_loss', 'test_accuracy'}


def test_it_predicts_any_number_of_rows_without_the_programs_python(workdir, tmp_path):
  folder = shutil.copytree(workdir / 'models' / 'baseline', tmp_path / 'moved')
  shutil.rmtree(folder / 'program')
  code = (
    'import sys, json, numpy as np, autoresearch_jax as ar\n'
    f'model = ar.load_model({str(folder)!r})\n'
    'rows = np.linspace(0, 1, 3 * 64).reshape(3, 64)\n'
    'logits = model.predict(rows)\n'
    'assert "flax" not in sys.modules and model.predict(rows[:0]).shape == (0, 10)\n'
    'assert np.array_equal(logits[:1], model.predict(rows[:1]))\n'
    'print(json.dumps([logits.shape, repr(model)]))\n'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  shape, shown = json.loads(done.stdout)
  assert shape == [3, 10] and 'trial 0' in shown and 'val_loss' in shown


def test_its_predictions_have_the_recorded_accuracy(workdir, tmp_path):
  dataset = Digits(test_examples=225).prepare(tmp_path, lambda line: None)
  inputs, targets = (np.load(f'{dataset.validation}/{name}.npy') for name in ('inputs', 'targets'))
  model = baseline(workdir)
  accuracy = (model.predict(inputs).argmax(-1) == targets).mean()
  assert accuracy == pytest.approx(model.info.metrics['val_accuracy'])


def test_a_trial_whose_parameters_are_gone_is_trained_again(workdir, tmp_path, capsys):
  copy = shutil.copytree(workdir, tmp_path / 'copy')
  shutil.rmtree(copy / 'scratch')
  assert main(['export-model', str(copy), '--trial=0', f'--to={tmp_path / "again"}']) == 0
  out = capsys.readouterr().out
  assert 'training it again for 20 steps' in out and 'the same val_loss' in out
  again = ar.load_model(tmp_path / 'again')
  assert again.info.retrained
  assert again.info.metrics['val_loss'] == baseline(workdir).info.metrics['val_loss']
  for index, array in baseline(workdir).parameters.items():
    assert np.array_equal(array, again.parameters[index])


def test_a_repeated_run_with_another_score_is_not_exported(workdir, tmp_path, capsys, monkeypatch):
  from autoresearch_jax.cli import export_model  # noqa: PLC0415

  copy = shutil.copytree(workdir, tmp_path / 'copy')
  shutil.rmtree(copy / 'scratch')
  monkeypatch.setattr(export_model, 'finished', lambda executor, request: [_worse(copy)])
  assert main(['export-model', str(copy), '--trial=0', f'--to={tmp_path / "again"}']) == 1
  assert 'differ by more than the noise' in capsys.readouterr().err
  assert not (tmp_path / 'again').exists()


def _worse(workdir):
  result = ar.load_run(workdir).history.results[0]
  for run in result.measurements:
    run.metrics['val_loss'] += 100.0
  return result


def test_only_runs_that_may_be_the_best_are_saved(workdir):
  history = ar.load_run(workdir).history
  best = max(run.score for run in runs_of(history, 0))
  plan = save_plan(history, 0)
  assert plan.above == best and not plan.wants({'val_loss': -best})
  assert plan.wants({'val_loss': -best - 0.01}) and not plan.wants({})


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['--trial=99'], 'no trial 99'),
    (['--trial=0', '--seed=77'], 'not trained with seed 77'),
    (['--trial=-1'], 'trial'),
  ],
)
def test_what_cannot_be_exported_is_a_sentence(workdir, arguments, words, capsys):
  assert main(['export-model', str(workdir), *arguments]) == 2
  assert words in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_replaced(workdir, tmp_path, capsys):
  (tmp_path / 'thesis.tex').write_text('years of work')
  for name in ('notes.txt', 'model.json', 'program.artifact'):  # also if it has names of a model's
    (tmp_path / name).write_text('{}')
    assert main(['export-model', str(workdir), f'--to={tmp_path}']) == 2
    assert 'other files' in capsys.readouterr().err
  assert (tmp_path / 'thesis.tex').read_text() == 'years of work'


def test_damaged_models_are_sentences(workdir, tmp_path):
  with pytest.raises(ModelError, match='export-model'):
    ar.load_model(tmp_path)
  folder = shutil.copytree(workdir / 'models' / 'baseline', tmp_path / 'model')
  model = ar.load_model(folder)
  with pytest.raises(ModelError, match='63'):
    model.predict(np.zeros((2, 63)))
  with pytest.raises(ModelError, match='validation, test'):
    model.score('train')
  with pytest.raises(ModelError, match='tokenizer'):
    model.tokenizer  # noqa: B018
  shutil.rmtree(folder / 'parameters')
  with pytest.raises(ModelError, match='no parameters'):
    ar.load_model(folder)
  data = bytearray((folder / 'program.artifact').read_bytes())
  data[-1] ^= 1
  (folder / 'program.artifact').write_bytes(data)
  with pytest.raises(ModelError, match='checksum'):
    ar.load_model(folder)
  info = json.loads((folder / 'model.json').read_text())
  (folder / 'model.json').write_text(json.dumps({**info, 'format': 99}))
  with pytest.raises(ModelError, match='99'):
    ar.load_model(folder)


def test_saving_can_be_turned_off(tmp_path):
  settings = {**SETTINGS, 'acceptance_options.baseline_seeds': 2, 'save_models': False}
  ar.run('digits', tmp_path / 'run', max_trials=1, say=lambda line: None, **settings)
  assert not (tmp_path / 'run' / 'models').exists()
  assert not (tmp_path / 'run' / 'scratch' / 'states').exists()
