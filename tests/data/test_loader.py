"""Batches: the same for the same seed everywhere, every row once an epoch, shapes as promised."""

import hashlib
import itertools
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.data import loader

ROWS, LENGTH = 37, 9
IN_ANOTHER_PROCESS = """
import sys, itertools, hashlib
from autoresearch_jax import types
from autoresearch_jax.data import loader
assert 'jax' not in sys.modules and 'grain' not in sys.modules
dataset = types.from_json(sys.argv[1], types.Dataset)
digest = hashlib.sha256()
for batch in itertools.islice(loader.batches(dataset, 5, 8, 3), 20):
  digest.update(batch['inputs'].tobytes() + batch['targets'].tobytes())
print(digest.hexdigest())
"""


@pytest.fixture
def language(tmp_path):
  """Row r holds r * 100 + 0, 1, 2, ...: every token says where it comes from."""
  for split, rows in (('train', ROWS), ('validation', 12)):
    (tmp_path / split).mkdir()
    tokens = np.arange(rows)[:, None] * 100 + np.arange(LENGTH)
    np.save(tmp_path / split / 'rows.npy', tokens.astype(np.uint16))
  return types.Dataset(
    'language_model', str(tmp_path / 'train'), str(tmp_path / 'validation'), evaluation_batch=4
  )


@pytest.fixture
def supervised(tmp_path):
  for split in ('train', 'validation'):
    (tmp_path / split).mkdir()
    inputs = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    np.save(tmp_path / split / 'inputs.npy', inputs)
    np.save(tmp_path / split / 'targets.npy', np.arange(20, dtype=np.int32))
  return types.Dataset(
    'supervised', str(tmp_path / 'train'), str(tmp_path / 'validation'), evaluation_batch=5
  )


def take(count, batches):
  return list(itertools.islice(batches, count))


def test_shapes_and_types_of_language_batches(language):
  (batch,) = take(1, loader.batches(language, 4, 8, 0))
  assert batch['inputs'].shape == batch['targets'].shape == (4, 8)
  assert batch['inputs'].dtype == batch['targets'].dtype == np.int32
  np.testing.assert_array_equal(batch['inputs'] + 1, batch['targets'])


def test_rows_are_cut_to_a_shorter_sequence(language):
  (batch,) = take(1, loader.batches(language, 4, 3, 0))
  np.testing.assert_array_equal(batch['inputs'] % 100, [[0, 1, 2]] * 4)
  np.testing.assert_array_equal(batch['targets'] % 100, [[1, 2, 3]] * 4)


@pytest.mark.parametrize('time', [0, 9])
def test_a_longer_sequence_than_there_is_is_refused(language, time):
  with pytest.raises(ValueError, match=f'{time} tokens'):
    loader.batches(language, 4, time, 0)


def test_supervised_batches_keep_inputs_and_targets_together(supervised):
  inputs = np.load(pathlib.Path(supervised.train) / 'inputs.npy')
  for batch in take(9, loader.batches(supervised, 8, 0, 0)):
    assert batch['inputs'].dtype == np.float32 and batch['targets'].dtype == np.int32
    np.testing.assert_array_equal(batch['inputs'], inputs[batch['targets']])


def test_every_row_comes_once_an_epoch_in_another_order(language):
  rows = [
    int(r) // 100
    for b in take(ROWS * 2, loader.batches(language, 1, 8, 0))
    for r in b['inputs'][:, 0]
  ]
  first, second = rows[:ROWS], rows[ROWS:]
  assert sorted(first) == sorted(second) == list(range(ROWS))
  assert first != second != sorted(second)


def test_a_seed_has_its_own_order_in_every_epoch(language):
  orders = set()
  for seed in range(4):
    batches = loader.batches(language, ROWS, 8, seed)
    orders |= {tuple(b['inputs'][:, 0]) for b in take(3, batches)}
  assert len(orders) == 12


@pytest.mark.parametrize('threads', [0, 1, 4])
def test_threads_change_nothing(language, threads):
  expected = take(30, loader.batches(language, 5, 8, 7))
  for batch, other in zip(
    expected, loader.batches(language, 5, 8, 7, threads=threads), strict=False
  ):
    np.testing.assert_array_equal(batch['inputs'], other['inputs'])


@pytest.mark.slow
def test_another_process_sees_the_same_batches(language):
  digest = hashlib.sha256()
  for batch in take(20, loader.batches(language, 5, 8, 3)):
    digest.update(batch['inputs'].tobytes() + batch['targets'].tobytes())
  command = [sys.executable, '-c', IN_ANOTHER_PROCESS, types.to_json(language)]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == digest.hexdigest()


def test_skipped_examples_are_those_of_earlier_batches(language):
  whole = take(12, loader.batches(language, 5, 8, 1))
  rest = take(6, loader.batches(language, 5, 8, 1, skip=30))
  for batch, other in zip(whole[6:], rest, strict=True):
    np.testing.assert_array_equal(batch['inputs'], other['inputs'])


def test_validation_is_in_order_and_the_same_each_time(language):
  for _ in range(2):
    batches = list(loader.validation(language))
    assert [b['inputs'].shape for b in batches] == [(4, 8)] * 3
    rows = np.concatenate([b['inputs'][:, 0] for b in batches]) // 100
    np.testing.assert_array_equal(rows, range(12))


def test_supervised_validation(supervised):
  batches = list(loader.validation(supervised))
  np.testing.assert_array_equal(np.concatenate([b['targets'] for b in batches]), range(20))


def test_an_evaluation_batch_that_does_not_divide_is_refused(language):
  uneven = types.Dataset('language_model', '', language.validation, evaluation_batch=5)
  with pytest.raises(ValueError, match='12 rows, which batches of 5 do not divide'):
    list(loader.validation(uneven))


def test_closing_ends_the_threads(language):
  before = set(threading.enumerate())
  batches = loader.batches(language, 5, 8, 1)
  next(batches)
  started = set(threading.enumerate()) - before
  assert started
  batches.close()
  for thread in started:
    thread.join(timeout=120)
    assert not thread.is_alive()


def test_batches_come_much_faster_than_a_small_model_takes_them(tmp_path):
  (tmp_path / 'train').mkdir()
  np.save(tmp_path / 'train' / 'rows.npy', np.zeros((10_000, 257), np.uint16))
  batches = loader.batches(types.Dataset('language_model', str(tmp_path / 'train')), 16, 256, 0)
  next(batches)
  start = time.process_time()
  take(200, batches)
  assert time.process_time() - start < 1  # 0.07 s where it was written


def test_constructions_are_fed_empty_batches_without_grain():
  code = (
    'import itertools, sys\nfrom autoresearch_jax.data import loader\n'
    'from autoresearch_jax.types import Dataset\n'
    "feed = loader.batches(Dataset('construction'), 4, 0, seed=0)\n"
    'for batch in itertools.islice(feed, 3):\n'
    "  assert [batch[n].shape for n in ('inputs', 'targets')] == [(0,), (0,)]\n"
    "  assert batch['inputs'].dtype == batch['targets'].dtype == 'float32'\n"
    "assert 'grain' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120)
