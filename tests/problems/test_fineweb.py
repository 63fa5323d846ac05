"""FineWeb's rows are the shards' tokens, and broken shards are refused."""

import pathlib

import numpy as np
import pytest

from autoresearch_jax.data import shards
from autoresearch_jax.problems.fineweb import FineWeb

OPTIONS = {
  'shards': 2, 'sequence_length': 8, 'validation_tokens': 32, 'test_tokens': 16,
  'evaluation_batch': 2,
}  # fmt: skip
TOKENS = 203


def write_shard(path, seed):
  tokens = np.random.default_rng(seed).integers(0, 50257, TOKENS).astype(np.uint16)
  header = np.zeros(256, np.int32)
  header[:3] = 20240520, 1, TOKENS
  path.write_bytes(header.tobytes() + tokens.tobytes())
  return tokens


@pytest.fixture
def cache(tmp_path):
  """A cache with two training shards and the validation shard, and their tokens."""
  folder = tmp_path / 'fineweb'
  folder.mkdir()
  manifest = shards.Manifest.read(folder)
  tokens = {}
  for index in shards.FINEWEB.wanted(2):
    path = folder / shards.FINEWEB.name(index)
    tokens[index] = write_shard(path, index)
    manifest.add(path.name, shards.digest(path))
  return tmp_path, tokens


def rows(folder):
  return np.load(pathlib.Path(folder, 'rows.npy'))


def silent(text):
  del text


def test_rows_are_windows_of_the_stream(cache):
  dataset = FineWeb(**OPTIONS).prepare(cache[0], silent)
  validation, first, second = (cache[1][index] for index in (0, 1, 2))
  assert rows(dataset.train).shape == (2 * 25, 9)
  np.testing.assert_array_equal(rows(dataset.train)[1], first[8:17])
  np.testing.assert_array_equal(rows(dataset.train)[25], second[:9])
  np.testing.assert_array_equal(rows(dataset.validation)[:, :-1].ravel(), validation[:32])
  np.testing.assert_array_equal(rows(dataset.test)[:, 1:].ravel(), validation[-16:])
  assert not dataset.token_bytes


def test_the_data_are_made_once_and_named_by_their_content(cache):
  said = []
  made = [FineWeb(**OPTIONS).prepare(cache[0], said.append) for _ in range(2)]
  assert made[0] == made[1] and len(said) == 1
  other = FineWeb(**OPTIONS | {'shards': 1}).prepare(cache[0], silent)
  assert other.fingerprint != made[0].fingerprint


def test_missing_shards_name_the_command(tmp_path):
  with pytest.raises(shards.MissingShards, match=r'prepare --corpus=fineweb --shards=2'):
    FineWeb(**OPTIONS).prepare(tmp_path, silent)


def test_a_shard_with_other_tokens_than_its_header_says_is_refused(cache):
  path = cache[0] / 'fineweb' / shards.FINEWEB.name(1)
  path.write_bytes(path.read_bytes()[:-2])
  shards.Manifest.read(path.parent).add(path.name, shards.digest(path))
  with pytest.raises(ValueError, match=r'does not hold the 203 tokens of its header.*Delete it'):
    FineWeb(**OPTIONS).prepare(cache[0], silent)


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    ({'shards': 104}, r'at most 103'),
    ({'validation_tokens': 33}, r'not a multiple .*16; 32 would be'),
    ({'validation_tokens': 320}, r'test_tokens need 338\. Lower them'),
    ({'sequence_length': 0}, r'at least 1'),
  ],
)
def test_bad_options_are_refused(cache, changed, message):
  with pytest.raises(ValueError, match=message):
    FineWeb(**OPTIONS | changed).prepare(cache[0], silent)


def test_files_of_another_format_do_not_look_right(cache, tmp_path):
  path = cache[0] / 'fineweb' / shards.FINEWEB.name(1)
  assert shards.FINEWEB.looks_right(path) and not shards.CLIMBMIX.looks_right(path)
  other = tmp_path / 'other'
  other.write_bytes(b'PAR1' + 2000 * b'x' + b'PAR1')
  assert shards.CLIMBMIX.looks_right(other) and not shards.FINEWEB.looks_right(other)
