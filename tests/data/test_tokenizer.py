"""The tokenizer: every text comes back, lengths add up to bytes, specials are never in text."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.data import tokenizer

TEXT = [
  'The cat sat on the mat. ' * 20,
  'def cat(mat):\n  return mat + 2024\n' * 20,
  'Zürich 東京 🙂' * 9,
]
VOCAB = 300


@pytest.fixture(scope='module')
def tokens():
  return tokenizer.train(TEXT, VOCAB, 10**6)


def encode(tokens, *texts, threads=1):
  return list(tokens.encode(texts, threads))


def test_the_vocabulary_is_bytes_merges_and_four_specials(tokens):
  assert tokens.vocab_size == VOCAB
  assert len(tokens.tokens) == VOCAB - 4
  assert tokens.document_start == VOCAB - 4
  assert tokenizer.SPECIALS == (
    '<|reserved_0|>', '<|reserved_1|>', '<|reserved_2|>', '<|reserved_3|>'
  )  # fmt: skip


@given(st.text())
def test_every_text_comes_back_behind_one_document_start(text):
  tokens = trained()
  (encoded,) = encode(tokens, text)
  assert encoded.dtype == np.uint16
  assert encoded[0] == tokens.document_start
  assert (encoded[1:] < tokens.document_start).all()
  assert tokens.decode(encoded) == text.encode()


@given(st.text())
def test_token_bytes_add_up_to_the_text(text):
  tokens = trained()
  (encoded,) = encode(tokens, text)
  assert tokens.token_bytes[encoded].sum() == len(text.encode())


def test_half_a_character_counts_its_own_bytes(tokens):
  """Decoding would give a replacement sign, of three bytes."""
  (encoded,) = encode(tokens, '\u0416')
  assert [tokens.token_bytes[t] for t in encoded] == [0, 1, 1]


def test_specials_have_no_bytes(tokens):
  table = tokens.token_bytes
  assert table.dtype == np.int32 and table.shape == (VOCAB,)
  assert not table[-4:].any() and table[:-4].all()


def test_what_looks_special_in_text_is_text(tokens):
  (encoded,) = encode(tokens, '<|reserved_0|>')
  assert len(encoded) > 2
  assert tokens.decode(encoded) == b'<|reserved_0|>'


def test_runs_of_digits_have_at_most_two():
  tokens = tokenizer.train(['2024 ' * 150 + 'abcdefghi ' * 9], 266, 10**6)
  assert not [t for t in tokens.tokens if t.strip().isdigit() and len(t.strip()) > 2]
  assert b'20' in tokens.tokens


def test_order_is_kept_over_batches_and_threads(tokens):
  texts = [f'{i} cats' for i in range(3 * tokenizer.BATCH // 2)]
  one, four = encode(tokens, *texts), encode(tokens, *texts, threads=4)
  assert [tokens.decode(e) for e in four] == [text.encode() for text in texts]
  assert all((a == b).all() for a, b in zip(one, four, strict=True))


def test_it_is_the_same_after_a_way_through_a_file(tokens, tmp_path):
  tokens.save(tmp_path / 'tokenizer.json')
  assert tokenizer.Tokenizer.load(tmp_path / 'tokenizer.json') == tokens


@pytest.mark.parametrize('content', ['', '{}', '{"tokens": ["YQ=="]}', '{"tokens": 5}'])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
  (tmp_path / 'x.json').write_text(content)
  with pytest.raises(ValueError, match=r'x\.json is not a tokenizer'):
    tokenizer.Tokenizer.load(tmp_path / 'x.json')


def test_training_is_the_same_in_another_process(tokens):
  script = (
    'from autoresearch_jax.data import tokenizer\n'
    f'print(tokenizer.train({TEXT!r}, {VOCAB}, 10**6).tokens)'
  )
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == repr(tokens.tokens)
  assert not done.stderr


def test_only_the_first_characters_are_learned_from():
  documents = ['ab' * 100, 'xy' * 100]
  assert b'xy' not in tokenizer.train(documents, 262, 200).tokens
  assert b'xy' in tokenizer.train(documents[::-1], 262, 200).tokens
  late = 'ab' * (tokenizer.DOCUMENT_CHARACTERS // 2) + 'xy' * 50_000
  assert b'xy' not in tokenizer.train([late], 262, 10**9).tokens


@pytest.mark.parametrize('size', [0, 260, 65_537])
def test_a_vocabulary_out_of_range_is_refused(size):
  with pytest.raises(ValueError, match=f'vocab_size is {size}'):
    tokenizer.train(TEXT, size, 10**6)


def test_too_little_text_is_refused():
  with pytest.raises(ValueError, match=r'only .* tokens; vocab_size'):
    tokenizer.train(['abc'], 1000, 10**6)


def trained(made=[]):  # noqa: B006 - hypothesis does not take a fixture per module
  return made[0] if made else made.append(tokenizer.train(TEXT, VOCAB, 10**6)) or made[0]
