"""What every problem must do. A new problem adds one line to PROBLEM_CASES."""

import pathlib

import numpy as np
import pytest
from helpers.example_files import NUMBERS, SAMPLE
from helpers.registered import ours

from autoresearch_jax import types
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.problems.verifiers import VERIFIERS

SCAN = {'reference': 'kernels/scan/reference.py:reference', 'inputs': ('float32[4,2]',) * 2}
# (registered name, options that are quick to prepare)
PROBLEM_CASES = [
  ('digits', {}),
  ('digits', {'validation_examples': 40, 'evaluation_batch': 20, 'split_seed': 3}),
  ('digits', {'test_examples': 225}),
  ('packing', {}),
  ('shakespeare', {'source': 'python', 'sequence_length': 64}),
  ('packing', {'circles': 3}),
  ('arrays', {'path': str(SAMPLE), 'test_fraction': 0.2}),
  ('arrays', {'path': str(SAMPLE), 'split': 'time', 'test_fraction': 0.0}),
  ('arrays', {'path': str(NUMBERS), 'evaluation_batch': 3}),
  ('kernel', SCAN),
  ('kernel', {**SCAN, 'gradients': True}),
  ('meta', {}),
  ('meta', {'tuning': ('sphere_10',), 'held_out': ('trap', 'lineage')}),
]
# Prepared for minutes rather than seconds: their own tests do what is done here.
TESTED_ELSEWHERE = {'language_model', 'text', 'fineweb'}


def kind(case):
  return PROBLEMS.make(*case).shapes()['kind']


every_problem = pytest.mark.parametrize(('name', 'options'), PROBLEM_CASES)
every_problem_with_data = pytest.mark.parametrize(
  ('name', 'options'),
  [case for case in PROBLEM_CASES if kind(case) not in ('construction', 'kernel', 'strategy')],
)
every_construction = pytest.mark.parametrize(
  ('name', 'options'), [case for case in PROBLEM_CASES if kind(case) == 'construction']
)


def silent(text):
  del text


def splits(dataset):
  return ['train', 'validation', *(['test'] if dataset.test else [])]


def examples(dataset, split):
  file = 'rows.npy' if dataset.kind == 'language_model' else 'inputs.npy'
  return np.load(pathlib.Path(getattr(dataset, split)) / file, mmap_mode='r')


@every_problem
def test_the_shapes_make_a_spec(name, options):
  shapes = PROBLEMS.make(name, options).shapes()
  types.Spec(platform='cpu', num_devices=1, budget=types.Budget(1.0), **shapes)


@every_problem
def test_the_metrics_are_named(name, options):
  metrics = PROBLEMS.make(name, options).metrics()
  assert len(set(metrics)) == len(metrics) > 0
  assert all(isinstance(metric, str) for metric in metrics)


@every_problem
def test_the_fingerprint_is_that_of_the_options(name, options, tmp_path):
  first, second = (PROBLEMS.make(name, options).prepare(tmp_path, silent) for _ in range(2))
  assert first == second
  assert len(first.fingerprint) == 64
  others = [case for case in PROBLEM_CASES if case[0] == name and case[1] != options]
  for other in others:
    assert PROBLEMS.make(*other).prepare(tmp_path, silent).fingerprint != first.fingerprint


@every_construction
def test_a_construction_needs_no_data_and_names_what_scores_it(name, options, tmp_path):
  problem = PROBLEMS.make(name, options)
  dataset = problem.prepare(tmp_path, silent)
  assert dataset.kind == 'construction'
  assert (dataset.train, dataset.validation, dataset.test) == ('', '', '')
  assert not list(tmp_path.iterdir())
  shape = problem.shapes()['output_shape']
  scores = VERIFIERS.make(dataset.verifier).verify(np.zeros(shape))
  assert list(scores) == list(problem.metrics())


@every_problem_with_data
def test_data_are_prepared_once_and_fingerprinted(name, options, tmp_path):
  said = []
  first = PROBLEMS.make(name, options).prepare(tmp_path, said.append)
  assert said
  before = len(said)
  second = PROBLEMS.make(name, options).prepare(tmp_path, said.append)
  assert second == first
  assert len(said) == before
  assert len(first.fingerprint) == 64


@every_problem_with_data
def test_another_folder_gets_the_same_data(name, options, tmp_path):
  problem = PROBLEMS.make(name, options)
  one, other = (problem.prepare(tmp_path / side, silent) for side in 'ab')
  assert one.fingerprint == other.fingerprint
  for split in splits(one):
    for file in pathlib.Path(getattr(one, split)).iterdir():
      twin = pathlib.Path(getattr(other, split)) / file.name
      assert file.read_bytes() == twin.read_bytes()


@every_problem_with_data
def test_the_evaluation_batch_divides_what_is_held_out(name, options, tmp_path):
  dataset = PROBLEMS.make(name, options).prepare(tmp_path, silent)
  for split in splits(dataset)[1:]:
    size = len(examples(dataset, split))
    assert size > 0
    assert size % dataset.evaluation_batch == 0


@every_problem_with_data
def test_no_example_is_in_two_splits(name, options, tmp_path):
  dataset = PROBLEMS.make(name, options).prepare(tmp_path, silent)
  found = [{row.tobytes() for row in examples(dataset, split)} for split in splits(dataset)]
  assert len(set.union(*found)) == sum(map(len, found))  # a text may repeat itself within one


@every_problem_with_data
def test_hidden_files_are_absolute_paths_below_which_held_out_data_lie(
  name, options, monkeypatch, tmp_path
):
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path))
  problem = PROBLEMS.make(name, options)
  hidden = problem.hidden()
  assert all(path.is_absolute() for path in hidden)
  dataset = problem.prepare(tmp_path, silent)
  for split in splits(dataset)[1:]:
    folder = pathlib.Path(getattr(dataset, split))
    assert any(folder.is_relative_to(path) for path in hidden)


def test_every_registered_problem_is_in_the_battery():
  assert {name for name, _ in PROBLEM_CASES} | TESTED_ELSEWHERE == ours(PROBLEMS)
