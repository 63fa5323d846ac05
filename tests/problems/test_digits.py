"""The digits: a fixed, stratified split of what ships with scikit-learn."""

import pathlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from autoresearch_jax.problems.digits import Digits


def arrays(dataset, split):
  folder = pathlib.Path(getattr(dataset, split))
  return np.load(folder / 'inputs.npy'), np.load(folder / 'targets.npy')


def prepare(folder, **options):
  return Digits(**options).prepare(folder, lambda text: None)


def test_the_two_splits_are_all_digits_and_share_none(tmp_path):
  dataset = prepare(tmp_path)
  (train, train_targets), (held, held_targets) = (
    arrays(dataset, split) for split in ('train', 'validation')
  )
  assert (train.shape, held.shape) == ((1347, 64), (450, 64))
  assert (train.dtype, train_targets.dtype) == (np.float32, np.int32)
  assert train.min() >= 0 and train.max() == 1
  everything = sorted([*map(bytes, train), *map(bytes, held)])
  assert everything == sorted(map(bytes, (load_digits().data / 16).astype(np.float32)))
  shares = [np.bincount(t, minlength=10) / len(t) for t in (train_targets, held_targets)]
  np.testing.assert_allclose(*shares, atol=0.005)


def test_test_examples_are_taken_from_training_and_leave_validation_alone(tmp_path):
  without, dataset = prepare(tmp_path), prepare(tmp_path, test_examples=225)
  assert without.fingerprint != dataset.fingerprint and not without.test
  np.testing.assert_array_equal(*(arrays(d, 'validation')[0] for d in (without, dataset)))
  train, test = arrays(dataset, 'train'), arrays(dataset, 'test')
  assert (len(train[0]), len(test[0])) == (1122, 225)
  before = sorted(map(bytes, arrays(without, 'train')[0]))
  assert sorted([*map(bytes, train[0]), *map(bytes, test[0])]) == before
  np.testing.assert_allclose(np.bincount(test[1]) / 225, np.bincount(train[1]) / 1122, atol=0.005)


def test_data_without_a_locked_part_are_those_of_earlier_runs(tmp_path):
  assert Digits()._key() == Digits(test_examples=0)._key()


def test_the_split_follows_its_seed(tmp_path):
  first, second = (prepare(tmp_path, split_seed=seed) for seed in (0, 1))
  assert first.fingerprint != second.fingerprint
  assert (arrays(first, 'validation')[1] != arrays(second, 'validation')[1]).any()


def test_the_packaged_file_is_hidden():
  packaged = Digits().hidden()[0]
  assert packaged.name == 'digits.csv.gz' and packaged.is_file()


@pytest.mark.parametrize(
  ('options', 'field'),
  [
    ({'evaluation_batch': 100}, 'evaluation_batch is 100'),
    ({'evaluation_batch': 0}, 'evaluation_batch is 0'),
    ({'validation_examples': 1797}, 'validation_examples is 1797'),
    ({'test_examples': 100}, 'divide the 100 test_examples'),
    ({'test_examples': -225}, 'test_examples is -225'),
    ({'test_examples': 1350}, 'less 1350 test_examples'),
    ({'split_seed': -1}, 'split_seed is -1'),
  ],
)
def test_options_that_cannot_work_are_refused(options, field):
  with pytest.raises(ValueError, match=field):
    Digits(**options)
