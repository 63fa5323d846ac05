"""Language modelling on the text that ships with Python, as a run prepares it."""

import itertools
import pathlib
import time

import numpy as np
import pytest

from autoresearch_jax.data import corpus, loader, shards
from autoresearch_jax.problems.language_model import LanguageModel

pytestmark = pytest.mark.slow

SMALL = {'vocab_size': 270, 'sequence_length': 64, 'validation_tokens': 1024, 'evaluation_batch': 4}


def quiet(sentence):
  pass


@pytest.fixture(scope='module')
def default(tmp_path_factory):
  """The defaults, prepared, with the seconds that took."""
  cache = tmp_path_factory.mktemp('cache')
  start = time.process_time()
  dataset = LanguageModel().prepare(cache, quiet)
  return dataset, time.process_time() - start, cache


def rows(folder):
  return np.load(pathlib.Path(folder, 'rows.npy'))


def test_it_is_prepared_in_seconds(default):
  assert default[1] < 20  # 1.5 s where it was written, on an idle machine


def test_rows_are_the_corpus_in_tokens(default):
  dataset = default[0]
  tokens = LanguageModel().tokenizer(dataset)
  text = '\0'.join(corpus.PythonLibrary().train()).encode()
  for row in rows(dataset.train)[::500]:
    assert row.shape == (257,) and row[0] == tokens.document_start
    starts = [*np.flatnonzero(row == tokens.document_start), len(row)]
    for start, end in itertools.pairwise(starts):
      assert tokens.decode(row[start + 1 : end]) in text


def test_hardly_any_text_is_lost_to_packing(default):
  dataset = default[0]
  table = np.load(dataset.token_bytes)
  kept = table[rows(dataset.train)].sum()
  assert kept > 0.98 * sum(len(text.encode()) for text in corpus.PythonLibrary().train())


def test_the_validation_slice_is_held_out_text(default):
  dataset = default[0]
  tokens = LanguageModel().tokenizer(dataset)
  text = '\0'.join(corpus.PythonLibrary().validation()).encode()
  validation = rows(dataset.validation)
  assert validation.shape == (512, 257)
  pieces = [tokens.decode(row) for row in validation if (row[1:] < tokens.document_start).all()]
  assert len(pieces) > 400 and all(piece in text for piece in pieces)


def test_token_bytes_are_stored_for_the_metric(default):
  dataset = default[0]
  table = np.load(dataset.token_bytes)
  assert table.dtype == np.int32 and table.shape == (1024,)
  assert not table[-4:].any() and table[:-4].all()
  targets = np.concatenate([batch['targets'] for batch in loader.validation(dataset)])
  assert 2 < table[targets].mean() < 4


def test_another_option_is_another_dataset(tmp_path):
  prints = set()
  for options in ({}, {'vocab_size': 271}, {'validation_tokens': 768}, {'test_tokens': 256}):
    prints.add(LanguageModel(**{**SMALL, **options}).prepare(tmp_path, quiet).fingerprint)
  assert len(prints) == 4


@pytest.fixture(scope='module')
def with_test(tmp_path_factory):
  problem = LanguageModel(**SMALL, test_tokens=512)
  return problem, problem.prepare(tmp_path_factory.mktemp('test'), quiet)


def test_the_test_split_is_of_documents_of_its_own(with_test):
  problem, dataset = with_test
  tokens = problem.tokenizer(dataset)
  held_out = [text.encode() for text in corpus.PythonLibrary().validation()]
  sources = {}
  for split, count in (('validation', 16), ('test', 8)):
    found = rows(getattr(dataset, split))
    assert found.shape == (count, 65)
    pieces = [tokens.decode(row) for row in found if (row[1:] < tokens.document_start).all()]
    assert len(pieces) > count // 2
    sources[split] = {d for piece in pieces for d in held_out if piece in d}
    assert all(any(piece in d for d in sources[split]) for piece in pieces)
  assert not sources['validation'] & sources['test']


def test_the_test_split_takes_nothing_of_the_other_two(with_test, tmp_path):
  dataset, without = with_test[1], LanguageModel(**SMALL).prepare(tmp_path, quiet)
  assert not without.test
  for split in ('train', 'validation'):
    np.testing.assert_array_equal(*(rows(getattr(d, split)) for d in (dataset, without)))


def test_more_test_text_than_there_is_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r'The test text .* gives \d+ tokens.*Lower it'):
    LanguageModel(**SMALL, test_tokens=64 * 4 * 10_000).prepare(tmp_path, quiet)


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'validation_tokens': 1000}, r'validation_tokens is 1000.*multiple.*= 256; 768 would be'),
    ({'test_tokens': 300}, r'test_tokens is 300.*= 256; 256 would be'),
    ({'test_tokens': -256}, r'test_tokens is -256'),
    ({'sequence_length': 0}, r'config\.data\.sequence_length is 0'),
    ({'shards': -1}, r'config\.data\.shards is -1'),
  ],
)
def test_options_that_do_not_fit_are_refused(options, sentence):
  with pytest.raises(ValueError, match=sentence):
    LanguageModel(**{**SMALL, **options})


def test_more_validation_than_there_is_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r'gives \d+ tokens.*Lower it'):
    LanguageModel(**{**SMALL, 'validation_tokens': 64 * 4 * 100_000}).prepare(tmp_path, quiet)
  assert not [p for p in tmp_path.rglob('*') if p.name.startswith('python-') and p.suffix == '']


def test_climbmix_without_shards_names_the_command(tmp_path):
  with pytest.raises(shards.MissingShards, match=r'autoresearch prepare.*shards=10'):
    LanguageModel('climbmix').prepare(tmp_path, quiet)


def test_hidden_has_the_held_out_sources_for_the_corpus_that_uses_them():
  mailbox = corpus.PythonLibrary().root / 'mailbox.py'
  assert mailbox in LanguageModel('python').hidden()
  assert mailbox not in LanguageModel('climbmix').hidden()
