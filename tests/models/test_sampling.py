"""Text from a language model whose next token is known: a table of bigrams."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.synthetic_run import config
from helpers.tiny_language import SPEC, program

from autoresearch_jax.__main__ import main
from autoresearch_jax.data.tokenizer import Tokenizer
from autoresearch_jax.models.exported import INFO, TOKENIZER, ModelInfo
from autoresearch_jax.models.loaded import load_model
from autoresearch_jax.models.sampling import sample
from autoresearch_jax.report.samples import ModelText, TextSample, format_samples, read_samples
from autoresearch_jax.runner.saved_state import StateSaver
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import to_builtins, to_json

BYTES = tuple(bytes([i]) for i in range(256))
TOKENS = Tokenizer((*BYTES, b'he'))  # 257 tokens, and 4 special ones
BATCH = 4
pytestmark = pytest.mark.slow


def saved_model(root, text, num_devices=1):
  """After 'a' comes 'b', after 'b' 'c', after 'c' the document ends; after 'x' 'y' or 'z'."""
  (root / 'model.py').write_text(text)
  spec = dataclasses.replace(SPEC, vocab_size=TOKENS.vocab_size, num_devices=num_devices)
  artifact = export_program(root, 'model.py', spec, evaluation_batch=BATCH)
  table = np.zeros((TOKENS.vocab_size, TOKENS.vocab_size), np.float32)
  for before, after in zip(b'ab', b'bc', strict=True):
    table[before, after] = 50.0
  table[ord('c'), TOKENS.document_start] = 50.0
  for before in b'xyz':
    table[before, [ord('y'), ord('z')]] = 50.0
  saver = StateSaver()
  saver.save(artifact, [jnp.asarray(table)], root / 'model')
  saver.wait()
  TOKENS.save(root / 'model' / TOKENIZER)
  info = ModelInfo(
    run='letters', trial=3, seed=0, description='Letters.', metric='val_bpb', metrics={},
    retrained=False, steps=1, tokens=1, parameters=table.size, platform='cpu', dataset='',
    config=to_builtins(config()), versions={},
  )  # fmt: skip
  (root / 'model' / INFO).write_bytes(to_json(info))
  return root / 'model'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return saved_model(tmp_path_factory.mktemp('model'), program())


def test_parameters_that_cannot_be_written_leave_nothing_behind(folder, tmp_path):
  saver = StateSaver()
  saver.save(load_model(folder).artifact, [np.array([object()])], tmp_path / 'state')
  saver.wait()
  assert not list(tmp_path.iterdir())


def test_it_continues_each_prompt_until_its_document_ends(folder):
  model = load_model(folder)
  assert sample(model, ('a', 'b', 'c'), tokens=10) == ('bc', 'c', '')
  assert sample(model, ('a',), tokens=1) == ('b',)


def test_seeds_decide_and_the_other_prompts_do_not(folder):
  model = load_model(folder)
  first = sample(model, ('x', 'x'), tokens=40)
  assert set(first[0]) == {'y', 'z'} and len(first[0]) == 40  # longer than a row of the model
  assert sample(model, ('x',), tokens=40) == first[:1]
  assert sample(model, ('x', 'x'), tokens=40) == first and first[0] != first[1]
  assert sample(model, ('x',), tokens=40, seed=1) != first[:1]
  greedy = sample(model, ('x',), tokens=5, temperature=0)
  assert greedy == ('yyyyy',) == sample(model, ('x',), tokens=5, temperature=0, seed=9)


def test_more_prompts_than_rows_of_a_batch_and_more_tokens_than_a_row(folder):
  model = load_model(folder)
  assert sample(model, ['a'] * (2 * BATCH + 1), tokens=5) == ('bc',) * (2 * BATCH + 1)
  assert sample(model, ('q' * 100 + 'a',), tokens=5) == ('bc',)


def test_next_logits_are_those_of_predict(folder):
  model = load_model(folder)
  row = [ord('x'), ord('a')]
  assert np.array_equal(model.next_logits([row])[0], model.predict([row])[0, -1])


def test_a_model_of_several_devices_works_on_one(folder, tmp_path):
  by_rows = 'autoresearch_jax.ops.data_parallel.by_rows'
  text = 'import autoresearch_jax.ops.data_parallel\n' + program(
    mix=f'x = {by_rows}(jnp.sinh, x / 9)'
  )
  model = load_model(saved_model(tmp_path, text, num_devices=BATCH))
  assert {graph.num_devices for graph in model.artifact.graphs} == {1, BATCH}
  row = [ord('x'), ord('a')]
  expected = np.sinh(load_model(folder).predict([row]) / 9)
  np.testing.assert_allclose(model.predict([row]), expected, rtol=1e-6)
  assert sample(model, ('a', 'b', 'c'), tokens=10) == ('bc', 'c', '')


def test_the_command_stores_the_texts_of_a_run_for_its_report(folder, tmp_path, capsys):
  run = tmp_path / 'run'
  (run / 'models').mkdir(parents=True)
  (run / 'ledger.db').write_bytes(b'')
  for name in ('best', 'baseline'):
    (run / 'models' / name).symlink_to(folder)
  assert main(['sample', str(run), '--prompt=a', '--tokens=5']) == 0
  assert '--- best, trial 3\nabc' in capsys.readouterr().out
  (stored,) = read_samples(run)
  assert stored.prompt == 'a' and stored.seed == 0
  assert [(t.model, t.text) for t in stored.texts] == [('best', 'bc'), ('baseline', 'bc')]
  assert main(['sample', str(folder), '--prompt=b']) == 0
  assert '\nbc' in capsys.readouterr().out
  assert len(read_samples(run)) == 1


@pytest.mark.parametrize('text', ['', '{', '[{"prompt": 3}]'])
def test_samples_that_cannot_be_read_are_none(tmp_path, text):
  (tmp_path / 'models').mkdir()
  (tmp_path / 'models' / 'samples.json').write_text(text)
  assert read_samples(tmp_path) == ()


def test_control_characters_of_a_model_do_not_reach_the_terminal():
  text = ModelText('best', 1, 'red \x1b[31m\n\tend')
  shown = format_samples((TextSample('p', 0, 0.8, (text,)),))
  assert '\x1b' not in shown and '\n\tend' in shown


def test_what_is_no_language_model_is_a_sentence(folder, tmp_path, capsys):
  assert main(['sample', str(tmp_path)]) == 2
  assert 'no model' in capsys.readouterr().err
  (tmp_path / 'ledger.db').write_bytes(b'')
  assert main(['sample', str(tmp_path)]) == 2
  assert 'export-model' in capsys.readouterr().err
  assert main(['sample', str(folder), '--temperature=-1']) == 2
  broken = shutil.copytree(folder, tmp_path / 'broken')
  (broken / TOKENIZER).unlink()
  assert main(['sample', str(broken)]) == 2
  assert 'no tokenizer' in capsys.readouterr().err
