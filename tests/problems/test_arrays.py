"""The user's own examples: what is recognised, how it is split, and what is refused with what."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from helpers.example_files import images
from pyarrow import parquet

from autoresearch_jax.problems.arrays import Arrays


def saved(path, **arrays):
  np.savez(path, **arrays)
  return str(path)


def prepared(folder, path, **options):
  """The splits of a dataset as {split: (inputs, targets)}, and what was said."""
  said = []
  dataset = Arrays(str(path), **options).prepare(folder / 'cache', said.append)
  found = {}
  for split in ('train', 'validation', 'test'):
    if place := getattr(dataset, split):
      place = pathlib.Path(place)
      found[split] = (np.load(place / 'inputs.npy'), np.load(place / 'targets.npy'))
  return dataset, found, said


def refused(path, **options):
  """The sentence that refuses a file of examples."""
  with pytest.raises(ValueError) as error:
    problem = Arrays(str(path), **options)
    problem.shapes()
    problem.prepare(pathlib.Path(path).parent / 'refused', lambda line: None)
  text = str(error.value)
  assert text.endswith('.') and '\n' not in text
  return text


def test_images_with_labels_are_a_stratified_classification(tmp_path):
  inputs, labels = images()
  path = saved(tmp_path / 'a.npz', x=inputs, y=labels)
  shapes = Arrays(path).shapes()
  assert shapes == {'kind': 'supervised', 'input_shape': (4, 4, 1), 'num_classes': 3}
  dataset, found, said = prepared(tmp_path, path)
  assert [len(found[split][1]) for split in found] == [42, 12, 6]
  assert all((np.bincount(t) == len(t) / 3).all() for _, t in found.values())
  every = [row.tobytes() for part, _ in found.values() for row in part]
  assert sorted(every) == sorted(row.tobytes() for row in inputs)
  for part, targets in found.values():
    assert part.dtype == np.uint8 and targets.dtype == np.int32
    known = {row.tobytes(): label for row, label in zip(inputs, labels, strict=True)}
    assert [known[row.tobytes()] for row in part] == targets.tolist()
  assert dataset.evaluation_batch == 12 and len(said) == 1


def test_the_fingerprint_is_that_of_the_content_and_not_of_the_path(tmp_path):
  inputs, labels = images()
  one = saved(tmp_path / 'one.npz', x=inputs, y=labels)
  other = tmp_path / 'other.npz'
  other.write_bytes(pathlib.Path(one).read_bytes())
  first = prepared(tmp_path / 'p', one)[0].fingerprint
  assert prepared(tmp_path / 'q', other)[0].fingerprint == first
  assert prepared(tmp_path / 'p', one, evaluation_batch=6)[0].fingerprint == first
  assert prepared(tmp_path / 'p', one, split_seed=1)[0].fingerprint != first
  changed = saved(tmp_path / 'one.npz', x=inputs + 1, y=labels)
  assert prepared(tmp_path / 'p', changed)[0].fingerprint != first


@pytest.mark.parametrize(
  'names',
  [
    ('x_train', 'y_train', 'x_test', 'y_test'),
    ('train_images', 'train_labels', 'test_images', 'test_labels'),
    ('XTrain', 'yTrain', 'XTest', 'yTest'),
    ('inputs', 'targets', 'inputs.test', 'targets.test'),
  ],
)
def test_given_splits_are_used_and_missing_ones_made(tmp_path, names):
  inputs, labels = images()
  values = (inputs[:45], labels[:45], inputs[45:], labels[45:])
  path = saved(tmp_path / 'a.npz', **dict(zip(names, values, strict=True)))
  _, found, _ = prepared(tmp_path, path)
  assert [len(found[split][1]) for split in ('train', 'validation', 'test')] == [36, 9, 15]
  np.testing.assert_array_equal(found['test'][0], inputs[45:])


def test_labels_are_renumbered_and_their_map_is_recorded(tmp_path):
  inputs, labels = images()
  named = np.array(['cat', 'dog', 'owl'])[labels]
  for targets, first in ((named, 'cat'), (labels * 10 + 5, '5')):
    _, found, said = prepared(tmp_path, saved(tmp_path / 'a.npz', x=inputs, y=targets))
    assert set(found['train'][1].tolist()) == {0, 1, 2}
    assert f'0 = {first}' in said[1]
  stored = next((tmp_path / 'cache' / 'arrays').glob('*/arrays.json'))
  assert len(json.loads(stored.read_text())['classes']) == 3


@pytest.mark.parametrize('shape', ['column', 'one-hot', 'floats'])
def test_labels_in_other_forms(tmp_path, shape):
  inputs, labels = images()
  forms = {'column': labels[:, None], 'one-hot': np.eye(3)[labels], 'floats': labels.astype(float)}
  task = 'classification' if shape == 'floats' else 'auto'
  path = saved(tmp_path / 'a.npz', x=inputs, y=forms[shape])
  assert Arrays(path, task=task).shapes()['num_classes'] == 3


def test_a_regression_standardises_and_keeps_its_unit(tmp_path):
  rng = np.random.default_rng(0)
  inputs, targets = rng.normal(5, 3, (50, 6)), rng.normal(100, 20, (50, 2))
  path = saved(tmp_path / 'a.npz', x=inputs, y=targets)
  assert Arrays(path).shapes()['output_shape'] == (2,)
  assert 'val_r2' in Arrays(path).metrics()
  dataset, found, _ = prepared(tmp_path, path, standardize_inputs=True, standardize_targets=True)
  for array in found['train']:
    assert array.dtype == np.float32
    np.testing.assert_allclose(array.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(array.std(0), 1, atol=1e-5)
  back = found['test'][1] * dataset.target_std + dataset.target_mean
  assert all(np.isclose(row, targets).all(axis=1).any() for row in back)


def test_groups_stay_together_and_the_last_are_held_out(tmp_path):
  inputs, labels = images()
  group = np.arange(60) // 4
  path = saved(tmp_path / 'a.npz', x=inputs, y=labels, patient=group)
  known = {row.tobytes(): g for row, g in zip(inputs, group, strict=True)}
  _, found, _ = prepared(tmp_path, path, split='group', split_by='patient')
  groups = [{known[row.tobytes()] for row in part} for part, _ in found.values()]
  assert sum(map(len, groups)) == len(set.union(*groups)) == 15
  _, found, _ = prepared(tmp_path, path, split='time', split_by='patient')
  times = [[known[row.tobytes()] for row in part] for part, _ in found.values()]
  assert max(times[0]) < min(times[1]) <= max(times[1]) < min(times[2])
  _, found, _ = prepared(tmp_path, path, split='time')
  np.testing.assert_array_equal(found['test'][0], inputs[54:])


def test_a_folder_of_npy_files_is_read_like_an_npz_file(tmp_path):
  inputs, labels = images()
  (tmp_path / 'arrays').mkdir()
  np.save(tmp_path / 'arrays' / 'images.npy', inputs)
  np.save(tmp_path / 'arrays' / 'labels.npy', labels)
  sizes = {}
  for path in (tmp_path / 'arrays', tmp_path / 'arrays' / 'images.npy'):
    sizes[path] = {split: len(t) for split, (_, t) in prepared(tmp_path, path)[1].items()}
    assert sizes[path] == {'train': 42, 'validation': 12, 'test': 6}


def test_the_fingerprint_of_an_npy_path_tells_the_inputs(tmp_path):
  labels = np.arange(60) % 3
  np.save(tmp_path / 'labels.npy', labels)
  for name, width in (('a', 3), ('b', 5)):
    np.save(tmp_path / f'{name}.npy', np.random.default_rng(0).normal(size=(60, width)))
  one, of_a, _ = prepared(tmp_path, tmp_path / 'a.npy')
  other, of_b, _ = prepared(tmp_path, tmp_path / 'b.npy')
  assert of_a['train'][0].shape == (42, 3) and of_b['train'][0].shape == (42, 5)
  assert one.fingerprint != other.fingerprint
  assert prepared(tmp_path, tmp_path, inputs=('b',))[0].fingerprint == other.fingerprint


def test_a_folder_of_images(tmp_path):
  image = pytest.importorskip('PIL.Image')
  inputs, labels = images(12)
  names = ('ant', 'bee', 'fly')
  for number, (pixels, label) in enumerate(zip(inputs[..., 0], labels, strict=True)):
    folder = tmp_path / 'pictures' / names[label]
    folder.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(folder / f'{number}.png')
  options = {'validation_fraction': 0.25, 'test_fraction': 0.0}
  problem = Arrays(str(tmp_path / 'pictures'), **options)
  assert problem.shapes()['input_shape'] == (4, 4, 1)
  assert tmp_path / 'pictures' / 'ant' in problem.hidden()
  _, found, _ = prepared(tmp_path, tmp_path / 'pictures', **options)
  assert [len(t) for _, t in found.values()] == [9, 3]
  known = {pixels.tobytes(): label for pixels, label in zip(inputs, labels, strict=True)}
  assert [known[row.tobytes()] for row in found['train'][0]] == found['train'][1].tolist()
  resized = Arrays(str(tmp_path / 'pictures'), image_size=(6, 5), **options)
  assert resized.shapes()['input_shape'] == (6, 5, 1)
  image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / 'pictures' / 'fly' / 'z.png')
  assert 'config.data.image_size' in refused(tmp_path / 'pictures', **options)
  (tmp_path / 'pictures' / 'fly' / 'z.png').unlink()
  for wide in (np.full((4, 4), 30_000, np.uint16), np.full((4, 4), 0.5, np.float32)):
    image.fromarray(wide).save(tmp_path / 'pictures' / 'fly' / 'z.tif')
    text = refused(tmp_path / 'pictures', **options)
    assert 'z.tif has more than 8 bits' in text and 'np.save' in text
  (tmp_path / 'pictures' / 'fly' / 'z.tif').unlink()
  (tmp_path / 'pictures' / 'fly' / 'z.png').write_text('no image')
  assert 'z.png cannot be read as an image' in refused(tmp_path / 'pictures', **options)


def test_tables(tmp_path):
  inputs, labels = images()
  rows = inputs.reshape(60, 16).astype(np.float32)
  path = tmp_path / 'a.parquet'
  parquet.write_table(pa.table({'a': rows[:, 0], 'b': rows[:, 1], 'label': labels}), path)
  assert Arrays(str(path)).shapes() == {
    'kind': 'supervised', 'input_shape': (2,), 'num_classes': 3
  }  # fmt: skip
  parquet.write_table(pa.table({'image': list(rows), 'label': labels, 'id': range(60)}), path)
  assert Arrays(str(path)).shapes()['input_shape'] == (16,)
  _, found, _ = prepared(tmp_path, path, inputs=('image',))
  assert found['train'][0].shape == (42, 16)
  (tmp_path / 'a.csv').write_text('a,city,price\n' + '1,Bonn,2.5\n' * 30)
  assert 'price' in refused(tmp_path / 'a.csv')
  assert "'city' holds string" in refused(tmp_path / 'a.csv', targets='price')
  assert (
    Arrays(str(tmp_path / 'a.csv'), inputs=('a',), targets='price').shapes()['output_shape'] == ()
  )
  (tmp_path / 'a.csv').write_text('a,y\n1,2\n,3\n')
  assert 'no value in row 1' in refused(tmp_path / 'a.csv')


def test_an_image_too_large_for_pillow_is_refused(tmp_path, monkeypatch):
  image = pytest.importorskip('PIL.Image')
  for name in ('ant', 'bee'):
    (tmp_path / 'pictures' / name).mkdir(parents=True)
    image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / 'pictures' / name / 'a.png')
  monkeypatch.setattr(image, 'MAX_IMAGE_PIXELS', 4)
  assert 'a.png cannot be read as an image' in refused(tmp_path / 'pictures')


def saved_dataset(folder, inputs, labels):
  """The files that `DatasetDict.save_to_disk` writes, with class names in the features."""
  for split, part in (('train', slice(0, 45)), ('test', slice(45, 60))):
    (folder / split).mkdir(parents=True)
    table = pa.table({'x': list(inputs[part].reshape(-1, 16)), 'label': labels[part]})
    file = 'data-00000-of-00001.arrow'
    with pa.ipc.new_stream(str(folder / split / file), table.schema) as writer:
      writer.write_table(table)
    state = {'_data_files': [{'filename': file}]}
    (folder / split / 'state.json').write_text(json.dumps(state))
    label = {'names': ['ant', 'bee', 'fly'], '_type': 'ClassLabel'}
    (folder / split / 'dataset_info.json').write_text(json.dumps({'features': {'label': label}}))
  (folder / 'dataset_dict.json').write_text(json.dumps({'splits': ['train', 'test']}))
  return folder


def test_a_dataset_saved_by_hugging_face(tmp_path):
  folder = saved_dataset(tmp_path / 'saved', *images())
  _, found, _ = prepared(tmp_path, folder)
  assert [len(found[split][1]) for split in ('train', 'validation', 'test')] == [36, 9, 15]
  stored = next((tmp_path / 'cache' / 'arrays').glob('*/arrays.json'))
  assert json.loads(stored.read_text())['classes'] == ['ant', 'bee', 'fly']


def test_unlabelled_rows_of_a_hugging_face_dataset_are_refused(tmp_path):
  inputs, labels = images()
  labels = np.where(np.arange(60) < 45, labels, -1)
  folder = saved_dataset(tmp_path / 'saved', inputs, labels)
  text = refused(folder)
  assert '15 of the 15 test examples' in text and '-1' in text and 'filter' in text
  assert Arrays(saved(tmp_path / 'a.npz', x=inputs, y=labels)).shapes()['num_classes'] == 4


def test_names_of_measured_metrics_are_refused_for_own_ones():
  for name in ('val_loss', 'val_r2', 'val_top5_accuracy'):
    with pytest.raises(ValueError, match=name):
      Arrays('a.npz', own_metrics={name: 'minimize'}, own_metrics_file='costs.py')


def test_inputs_that_are_in_two_splits_are_reported(tmp_path):
  inputs, labels = images(30)
  path = saved(
    tmp_path / 'a.npz', x_train=inputs, y_train=labels, x_val=inputs[:9], y_val=labels[:9]
  )
  _, _, said = prepared(tmp_path, path, test_fraction=0.0)
  assert '9 of the 9 validation inputs' in said[1]


X, Y = images(12)


@pytest.mark.parametrize(
  ('arrays', 'options', 'words'),
  [
    ({'a': X, 'b': Y}, {}, ('a, b', 'config.data.inputs')),
    ({'x': X, 'images': X, 'y': Y}, {}, ('images and x', 'config.data.inputs')),
    ({'x': X, 'y': Y}, {'inputs': ('z',)}, ("no 'z'", 'x, y')),
    ({'x': X, 'y': Y[:-1]}, {}, ('12 examples', '11')),
    ({'x_train': X, 'y_train': Y, 'x_test': X}, {}, ('for each split',)),
    ({'x': np.where(np.arange(12) == 7, np.nan, 1.0), 'y': Y}, {}, ('NaN', 'example 7')),
    ({'x': X, 'y': np.where(Y == 1, np.nan, 0.5)}, {}, ('NaN', 'targets')),
    ({'x': X, 'y': np.array([*Y[:-1], 7])}, {}, ("'7' (1)", 'random')),
    ({'x': X, 'y': np.zeros(12, int)}, {}, ('1 class', 'two')),
    ({'x': X, 'y': np.arange(12)}, {}, ('12 different labels', 'regression')),
    ({'x': X, 'y': Y + 0.5}, {'task': 'classification'}, ('0.5', 'regression')),
    ({'x': X, 'y': np.array(['a', 'b'] * 6)}, {'task': 'regression'}, ('numbers',)),
    ({'x': np.array(['a'] * 12), 'y': Y}, {}, ('numbers',)),
    ({'x': np.full((12, 2), 2**30), 'y': Y}, {}, ('float32',)),
    ({'x': np.full((12, 2), -(2**31), np.int32), 'y': Y}, {}, ('float32',)),
    ({'x': np.full((12, 2), 1e300), 'y': Y}, {}, ('float32', 'infinity')),
    ({'x': X[:0], 'y': Y[:0]}, {}, ('[0, 4, 4, 1]',)),
    ({'x': X, 'y': Y.astype(float)}, {'split': 'stratified'}, ('random',)),
    ({'x': X, 'y': Y}, {'split': 'group', 'split_by': 'z'}, ("'z'", 'x, y')),
    ({'x': X, 'y': Y, 'g': Y * 0}, {'split': 'group', 'split_by': 'g'}, ('1 different groups',)),
    ({'x': X, 'y': Y}, {'split': 'group'}, ('split_by',)),
    ({'x': X, 'y': Y}, {'validation_fraction': 0.0}, ('above 0',)),
    ({'x': X, 'y': Y}, {'validation_fraction': 0.6, 'test_fraction': 0.5}, ('below 1',)),
    ({'x_test': X, 'y_test': Y}, {}, ('none for training',)),
  ],
)
def test_what_cannot_be_used_is_refused(tmp_path, arrays, options, words):
  text = refused(saved(tmp_path / 'a.npz', **arrays), **options)
  assert all(word in text for word in words), text


def test_files_that_are_something_else_are_refused(tmp_path):
  assert 'no file or folder' in refused(tmp_path / 'nowhere.npz')
  assert 'config.data.path is empty' in refused('')
  (tmp_path / 'a.npz').write_text('text')
  assert 'cannot be read as an .npz file' in refused(tmp_path / 'a.npz')
  objects = np.empty(12, object)
  objects[:] = [[1] * n for n in range(12)]
  assert 'Python objects' in refused(saved(tmp_path / 'b.npz', x=objects, y=Y))
  (tmp_path / 'empty').mkdir()
  assert 'sub-folder for each class' in refused(tmp_path / 'empty')


def test_arrays_larger_than_the_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
  path = saved(tmp_path / 'a.npz', x=X, y=Y)
  monkeypatch.setattr('autoresearch_jax.data.example_files.available_memory', lambda: 200)
  assert '.npy' in refused(path)
