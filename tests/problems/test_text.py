"""The user's own text: what is held out, and what is refused with what."""

import pathlib
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from autoresearch_jax.data.tokenizer import Tokenizer
from autoresearch_jax.problems.text import Text

SENTENCES = [f'This is sentence {number}, which is short.\n' for number in range(900)]


def prepared(folder, path, **options):
  """The decoded text of each split, the dataset, and what was said."""
  said = []
  options = {'sequence_length': 32, 'evaluation_batch': 4, **options}
  dataset = Text(str(path), **options).prepare(folder / 'cache', said.append)
  tokens = Tokenizer.load(pathlib.Path(dataset.train).parent / 'tokenizer.json')
  found = {}
  for split in ('train', 'validation', 'test'):
    if place := getattr(dataset, split):
      rows = np.load(pathlib.Path(place) / 'rows.npy')
      found[split] = [tokens.decode(row.tolist()).decode(errors='replace') for row in rows]
      assert split == 'train' or len(rows) % dataset.evaluation_batch == 0
  return dataset, found, said


def numbers(rows):
  return {int(n) for row in rows for n in re.findall(r'sentence (\d+),', row)}


@pytest.mark.parametrize('tokenizer', ['bytes', 'bpe'])
def test_the_end_of_a_file_is_held_out(tmp_path, tokenizer):
  (tmp_path / 'a.txt').write_text(''.join(SENTENCES))
  options = {'tokenizer': tokenizer, 'vocab_size': 280}
  size = {'bytes': 260, 'bpe': 280}[tokenizer]
  assert Text(str(tmp_path / 'a.txt'), **options).shapes()['vocab_size'] == size
  dataset, found, _ = prepared(tmp_path, tmp_path / 'a.txt', **options)
  assert max(numbers(found['train'])) < min(numbers(found['validation']))
  assert max(numbers(found['validation'])) < min(numbers(found['test']))
  assert len(np.load(dataset.token_bytes)) == size
  moved = tmp_path / 'moved.txt'
  (tmp_path / 'a.txt').rename(moved)
  assert prepared(tmp_path, moved, **options)[0] == dataset
  moved.write_text('More. ' + moved.read_text())
  assert prepared(tmp_path, moved, **options)[0].fingerprint != dataset.fingerprint


@pytest.mark.parametrize('kind', ['folder', 'parquet'])
def test_whole_documents_are_held_out_where_there_are_many(tmp_path, kind):
  documents = [''.join(SENTENCES[i : i + 9]) for i in range(0, 900, 9)]
  path = tmp_path / 'texts'
  if kind == 'parquet':
    path = tmp_path / 'a.parquet'
    parquet.write_table(pa.table({'text': documents, 'id': range(100)}), path)
  else:
    path.mkdir()
    (path / 'picture.png').write_bytes(b'\x89PNG\x00\xff')
    for number, text in enumerate(documents):
      (path / f'{number}.md').write_text(text)
  _, found, said = prepared(tmp_path, path, validation_fraction=0.2, test_fraction=0.2)
  sets = [{n // 9 for n in numbers(rows)} for rows in found.values()]
  assert not any(a & b for i, a in enumerate(sets) for b in sets[:i])
  assert ('picture.png' in said[0]) == (kind == 'folder')


@pytest.mark.parametrize(
  ('content', 'options', 'words'),
  [
    (b'', {}, 'no text'),
    (b'caf\xe9', {}, 'UTF-8'),
    (b'short', {}, 'more text'),
    (b'a' * 10**4, {'validation_fraction': 0.0}, 'above 0'),
    (b'a' * 10**4, {'split': 'documents'}, "'end'"),
    (b'a' * 10**4, {'tokenizer': 'bpe', 'vocab_size': 99}, 'vocab_size'),
    (b'abc ' * 10**3, {'tokenizer': 'bpe', 'vocab_size': 5000}, 'smaller vocabulary'),
  ],
)
def test_what_cannot_be_used_is_refused(tmp_path, content, options, words):
  (tmp_path / 'a.txt').write_bytes(content)
  with pytest.raises(ValueError, match=words):
    prepared(tmp_path, tmp_path / 'a.txt', **options)


def test_there_must_be_a_path(tmp_path):
  for path in ('', tmp_path / 'nowhere', tmp_path):
    with pytest.raises(ValueError, match=r'config\.data\.path'):
      Text(str(path)).prepare(tmp_path / 'cache', lambda line: None)
