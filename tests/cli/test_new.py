"""`autoresearch new`: the folder that it writes runs as it is, and with the user's own files."""

import numpy as np
import pytest
from helpers.example_files import NUMBERS, SAMPLE

from autoresearch_jax import __main__ as front
from autoresearch_jax import load_model, run
from autoresearch_jax.cli.new import TEMPLATES, TEXTS
from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.research.build import build


def made(folder, *arguments):
  assert front.main(['new', str(folder), *arguments]) == 0
  return from_config_dict(load(str(folder / 'config.py')))


@pytest.mark.parametrize('name', TEMPLATES)
def test_every_template_makes_a_config_that_builds(name, tmp_path, capsys):
  task = build(made(tmp_path / 'mine', f'--from={name}'))
  assert task.config.name == 'mine' and task.config.metric in task.problem.metrics()
  written, said = sorted(p.name for p in (tmp_path / 'mine').iterdir()), capsys.readouterr().out
  assert {'config.py', 'model.py', 'README.md'} <= {*written}
  assert all(f'mine/{file}\n' in said for file in written)
  assert '$' not in (tmp_path / 'mine' / 'config.py').read_text()


def test_every_folder_of_texts_is_a_template():
  assert {path.name for path in TEXTS.iterdir() if path.is_dir()} == {*TEMPLATES}


def test_data_and_model_of_the_users(tmp_path, capsys):
  (tmp_path / 'layers.py').write_text('WIDTH = 3\n')
  functions = ''.join(f'def {name}(): ...\n' for name in ('init', 'train_step', 'predict'))
  (tmp_path / 'net.py').write_text(f'import layers\n\n{functions}')
  config = made(tmp_path / 'mine', f'--data={SAMPLE}', f'--model={tmp_path / "net.py"}')
  assert 'input_shape (4, 4, 1), num_classes 3' in capsys.readouterr().out
  assert config.data['path'] == str(SAMPLE)
  files = {path.name for path in (tmp_path / 'mine').iterdir()}
  assert files == {'config.py', 'README.md', 'model.py', 'layers.py'}
  assert 'import layers' in (tmp_path / 'mine' / 'model.py').read_text()


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['--data=nowhere.npz'], 'no file or folder'),
    (['--model=nowhere.py'], '--model'),
    (['--from=sounds'], 'arrays'),
  ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, words, tmp_path, capsys):
  assert front.main(['new', str(tmp_path / 'mine'), *arguments]) == 2
  assert words in capsys.readouterr().err
  assert not (tmp_path / 'mine').exists()
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'notes').touch()
  assert front.main(['new', str(tmp_path / 'full')]) == 2


@pytest.mark.slow
@pytest.mark.parametrize('data', [SAMPLE, NUMBERS], ids=['classification', 'regression'])
def test_a_run_measures_every_metric(data, tmp_path):
  made(tmp_path / 'mine', f'--data={data}')
  config = load(str(tmp_path / 'mine' / 'config.py')).unlock()
  config.constants = {'BLOCKS': 1, 'WIDTH': 8, 'HIDDEN': 8, 'BATCH_SIZE': 8}
  result = run(
    config, tmp_path / 'run', max_trials=2, budget__amount=20, final_seeds=2, say=lambda line: None
  )
  measured = result.baseline.result.measurements[0].metrics
  names = build(from_config_dict(config)).problem.metrics()
  assert {*names} <= {*measured} and all(np.isfinite(measured[name]) for name in names)
  others = {*names} - {'val_loss'}
  assert others and all(f'{name} ' in result.summary() for name in others)
  model = load_model(tmp_path / 'run' / 'models' / 'baseline')
  with np.load(data) as arrays:
    outputs = model.predict(arrays['x'])  # as they are in the file
  assert model.classes == (('0', '1', '2') if data == SAMPLE else ())
  assert outputs.shape == ((60, 3) if data == SAMPLE else (60,))
  if data == NUMBERS:  # targets from 100 to 159
    assert 60 < outputs.mean() < 200


LINEN = """
import flax.linen as nn


class Block(nn.Module):
  width: int

  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(self.width)(x))
    return nn.Dropout(0.1, deterministic=not train)(nn.relu(x))


class Net(nn.Module):
  num_classes: int
  width: int = 8

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(self.num_classes)(Block(self.width)(x.reshape(len(x), -1), train))
"""
NNX = """
from flax import nnx


class Net(nnx.Module):
  def __init__(self, in_features, out_features, *, rngs: nnx.Rngs):
    self.hidden = nnx.Linear(in_features, 8, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.dropout = nnx.Dropout(0.1, rngs=rngs)
    self.head = nnx.Linear(8, out_features, rngs=rngs)

  def __call__(self, x):
    return self.head(self.dropout(nnx.relu(self.norm(self.hidden(x)))))
"""


@pytest.mark.slow
@pytest.mark.parametrize(('text', 'data'), [(LINEN, SAMPLE), (NNX, NUMBERS)], ids=['linen', 'nnx'])
def test_a_flax_module_alone_becomes_a_program_that_learns(text, data, tmp_path):
  (tmp_path / 'net.py').write_text(text)
  config = made(tmp_path / 'mine', f'--data={data}', f'--model={tmp_path / "net.py"}')
  assert config.editable == ('model.py', 'net.py')
  values = load(str(tmp_path / 'mine' / 'config.py')).unlock()
  values.constants = {'BATCH_SIZE': 8, 'LEARNING_RATE': 0.02}
  values.acceptance_options.baseline_seeds = 2
  values.metric = 'val_accuracy' if data == SAMPLE else 'val_r2'
  values.final_seeds = 0
  result = run(values, tmp_path / 'run', max_trials=2, budget__amount=100, say=lambda line: None)
  assert result.baseline.metric(values.metric) > 0.5
  assert result.trials[1].result.status == 'ok' or len(result.trials) == 1


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('x = 1\n', 'nor a Flax module'),
    (LINEN.replace('num_classes: int\n', 'num_classes: int\n  depth: int\n'), "needs 'depth'"),
    ('import flax.linen as nn\n\nclass Net(nn.Module):\n  pass\n', 'no __call__'),
    ('class Net(:\n', 'cannot be read'),
  ],
)
def test_a_model_that_is_none_is_refused(text, words, tmp_path, capsys):
  (tmp_path / 'net.py').write_text(text)
  arguments = ['new', str(tmp_path / 'mine'), f'--model={tmp_path / "net.py"}']
  assert front.main(arguments) == 2
  assert words in capsys.readouterr().err


def test_names_of_arrays_are_written_into_the_config(tmp_path, capsys):
  np.savez(tmp_path / 'a.npz', pictures=np.zeros((30, 4)), kind=np.arange(30) % 2)
  data = f'--data={tmp_path / "a.npz"}'
  assert front.main(['new', str(tmp_path / 'mine'), data]) == 2
  assert '--inputs' in capsys.readouterr().err
  config = made(tmp_path / 'mine', data, '--inputs=pictures', '--targets=kind')
  assert (config.data['inputs'], config.data['targets']) == (('pictures',), 'kind')


BIGRAM = """
import flax.linen as nn


class Bigram(nn.Module):
  vocab_size: int

  @nn.compact
  def __call__(self, tokens, deterministic: bool = True):
    return nn.Dense(self.vocab_size)(nn.Embed(self.vocab_size, 16)(tokens))
"""


@pytest.mark.slow
def test_a_language_model_of_ones_own(tmp_path):
  (tmp_path / 'book.txt').write_text('The quick brown fox jumps over the lazy dog.\n' * 900)
  (tmp_path / 'bigram.py').write_text(BIGRAM)
  config = made(
    tmp_path / 'mine', '--from=text', f'--data={tmp_path / "book.txt"}',
    f'--model={tmp_path / "bigram.py"}',
  )  # fmt: skip
  assert config.constants == {}
  values = load(str(tmp_path / 'mine' / 'config.py')).unlock()
  values.constants = {'LEARNING_RATE': 0.05}
  values.acceptance_options.baseline_seeds = 2
  values.final_seeds = 0
  result = run(values, tmp_path / 'run', max_trials=1, budget__amount=60, say=lambda line: None)
  assert result.baseline.metric('val_bpb') < 3  # of 8 at the start
