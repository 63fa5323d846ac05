"""What every problem must do. A new problem adds one line to PROBLEM_CASES."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.data import loader
from autoresearch_jax.problems import PROBLEMS

# (registered name, options to test it with: small ones)
PROBLEM_CASES = [
  (
    'language_model',
    {'vocab_size': 270, 'sequence_length': 128, 'validation_tokens': 4096, 'evaluation_batch': 8},
  ),
  ('digits', {}),
]
PREPARE = """
import json, pathlib, sys
from autoresearch_jax import types
from autoresearch_jax.problems import PROBLEMS
problem = PROBLEMS.make(sys.argv[1], json.loads(sys.argv[2]))
dataset = problem.prepare(pathlib.Path(sys.argv[3]), lambda sentence: None)
print(types.to_json(dataset).decode())
print('jax' in sys.modules)
"""

every_problem = pytest.mark.parametrize(
  'case', PROBLEM_CASES, ids=[name for name, _ in PROBLEM_CASES]
)


class Prepared:
  """A problem that two processes have prepared at the same time, in one cache."""

  def __init__(self, case, cache):
    name, options = case
    command = [sys.executable, '-c', PREPARE, name, json.dumps(options), str(cache)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    self.outputs = [process.communicate(timeout=120)[0].splitlines() for process in started]
    self.problem = PROBLEMS.make(name, options)
    self.cache = cache
    self.dataset = types.from_json(self.outputs[0][0], types.Dataset)

  def again(self):
    """The dataset from the filled cache, and what was said about it."""
    said = []
    return self.problem.prepare(self.cache, said.append), said


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Prepares each case once."""
  known = {}

  def prepare(case):
    if case[0] not in known:
      known[case[0]] = Prepared(case, tmp_path_factory.mktemp('cache'))
    return known[case[0]]

  return prepare


def files(folder):
  return {p: p.stat().st_mtime_ns for p in pathlib.Path(folder).rglob('*') if p.is_file()}


@every_problem
def test_two_processes_at_once_prepare_the_same(case, made):
  outputs = made(case).outputs
  assert outputs[0] == outputs[1]
  assert not list(made(case).cache.rglob('*.making'))


@every_problem
def test_preparing_does_not_import_jax(case, made):
  assert made(case).outputs[0][1] == 'False'


@every_problem
def test_prepared_data_are_used_again_as_they_are(case, made):
  before = files(made(case).cache)
  dataset, said = made(case).again()
  assert dataset == made(case).dataset
  assert not said
  assert files(made(case).cache) == before


@every_problem
def test_damaged_data_are_made_again_and_come_out_equal(case, made):
  before = [batch['inputs'] for batch in loader.validation(made(case).dataset)]
  for path in files(made(case).dataset.validation):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
  dataset, said = made(case).again()
  assert dataset == made(case).dataset
  assert any('damaged' in sentence for sentence in said)
  after = [batch['inputs'] for batch in loader.validation(dataset)]
  assert all((a == b).all() for a, b in zip(before, after, strict=True))


@every_problem
def test_shapes_fit_a_spec_and_the_batches(case, made):
  spec = types.Spec(
    platform='cpu', num_devices=1, budget=types.Budget(1), **made(case).problem.shapes()
  )
  dataset = made(case).dataset
  assert spec.kind == dataset.kind
  feed = loader.batches(dataset, 3, spec.sequence_length or 0, seed=0)
  for batch in (next(feed), next(loader.validation(dataset))):
    _check_batch(batch, spec)


def _check_batch(batch, spec):
  assert set(batch) == {'inputs', 'targets'}
  assert batch['targets'].dtype == np.int32
  if spec.kind == 'language_model':
    assert batch['inputs'].shape == (len(batch['inputs']), spec.sequence_length)
    assert batch['inputs'].dtype == np.int32 and batch['inputs'].shape == batch['targets'].shape
    assert batch['inputs'].min() >= 0 and batch['inputs'].max() < spec.vocab_size
  else:
    assert batch['inputs'].shape[1:] == spec.input_shape
    assert batch['inputs'].dtype == np.float32 and np.isfinite(batch['inputs']).all()
    assert batch['targets'].shape == (len(batch['inputs']),)
    assert batch['targets'].min() >= 0 and batch['targets'].max() < spec.num_classes


@every_problem
def test_validation_comes_in_whole_batches(case, made):
  dataset = made(case).dataset
  sizes = {len(batch['inputs']) for batch in loader.validation(dataset)}
  assert sizes == {dataset.evaluation_batch}


@every_problem
def test_nothing_that_is_scored_was_trained_on(case, made):
  dataset = made(case).dataset
  name = 'rows.npy' if dataset.kind == 'language_model' else 'inputs.npy'
  train, validation = (
    {row.tobytes() for row in np.load(pathlib.Path(folder, name))}
    for folder in (dataset.train, dataset.validation)
  )
  assert validation and not train & validation


@every_problem
def test_the_fingerprint_is_a_sha256(case, made):
  fingerprint = made(case).dataset.fingerprint
  assert len(fingerprint) == 64 and int(fingerprint, 16)


@every_problem
def test_the_evaluation_batch_is_no_part_of_what_is_stored(case, made):
  problem = PROBLEMS.make(case[0], {**case[1], 'evaluation_batch': 1})
  dataset = problem.prepare(made(case).cache, lambda sentence: None)
  assert dataset.fingerprint == made(case).dataset.fingerprint
  assert dataset.train == made(case).dataset.train


@every_problem
def test_hidden_paths_are_absolute_and_cover_the_default_cache(case, made, monkeypatch):
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(made(case).cache))
  hidden = made(case).problem.hidden()
  assert hidden and all(path.is_absolute() for path in hidden)
  validation = pathlib.Path(made(case).dataset.validation)
  assert any(path in (validation, *validation.parents) for path in hidden)


@every_problem
def test_an_evaluation_batch_of_none_is_refused(case):
  with pytest.raises(ValueError, match=r'config\.data\.evaluation_batch is 0'):
    PROBLEMS.make(case[0], {**case[1], 'evaluation_batch': 0})


@every_problem
def test_an_option_that_is_not_there_is_refused(case):
  with pytest.raises(ValueError, match='has no option'):
    PROBLEMS.make(case[0], {**case[1], 'nonsense': 1})


def test_every_registered_problem_is_in_the_battery():
  assert {name for name, _ in PROBLEM_CASES} == set(PROBLEMS.names())
