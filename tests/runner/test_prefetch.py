"""What a runner prepares beside a training: the same bits, and nothing to its disadvantage."""

import dataclasses
import pathlib
import threading

import jax
import jax.numpy as jnp
import pytest
from helpers.tiny_language import SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.runner import program_cache
from autoresearch_jax.runner.client import (
  COMPILE_CACHE_SIZE,
  RunnerClient,
  RunnerError,
  RunnerSetup,
)
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.tracer.export import export_program
from autoresearch_jax.types import Budget, Status

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def setup(tmp_path_factory) -> RunnerSetup:
  folder = tmp_path_factory.mktemp('setup')
  return RunnerSetup('cpu', make_dataset(folder), Limits(), str(folder / 'cache'))


@pytest.fixture
def runner(setup) -> TrainingRunner:
  return TrainingRunner(setup)


def export(text: str, folder: pathlib.Path, name: str = 'program') -> str:
  (folder / name).mkdir()
  (folder / name / 'model.py').write_text(text)
  path = folder / f'{name}.artifact'
  export_program(folder / name, 'model.py', SPEC, evaluation_batch=16).write(path)
  return str(path)


def prepared(runner: TrainingRunner, path: str) -> None:
  done = threading.Event()
  runner.programs.prefetch(path, True, done.set)
  assert done.wait(60)


def turn(runner: TrainingRunner, path: str, budget: Budget = STEPS, say=lambda *news: None):
  loaded = runner.load(path)
  compiled = runner.compile()
  done = runner.run(0, budget, say)
  return loaded, compiled, done['measurement']


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
  """Digests of the artifacts that are compiled from now on, in that order."""
  real, digests = program_cache.compile_template, []

  def compile_template(template, *rest):
    digests.append(template.artifact.digest)
    return real(template, *rest)

  monkeypatch.setattr(program_cache, 'compile_template', compile_template)
  return digests


def test_what_was_prepared_is_not_compiled_again_and_measures_the_same(setup, tmp_path, compiled):
  path = export(program(), tmp_path)
  ahead = TrainingRunner(setup)
  prepared(ahead, path)
  assert len(compiled) == 1
  loaded, facts, measured = turn(ahead, path)
  assert len(compiled) == 1
  fresh = dataclasses.replace(setup, cache=str(tmp_path / 'another cache'))
  other_loaded, other_facts, other = turn(TrainingRunner(fresh), path)
  assert len(compiled) == 2
  assert (loaded, measured.metrics) == (other_loaded, other.metrics)
  assert {**facts, 'seconds': 0} == {**other_facts, 'seconds': 0}


def test_what_was_read_ahead_alone_is_not_read_again(runner, tmp_path, compiled, monkeypatch):
  real, read = program_cache.reader.read, []
  monkeypatch.setattr(program_cache.reader, 'read', lambda *args: read.append(args) or real(*args))
  path, done = export(program(), tmp_path), threading.Event()
  runner.programs.prefetch(path, False, done.set)
  assert done.wait(60)
  assert (len(read), len(compiled)) == (1, 0)
  turn(runner, path)
  assert (len(read), len(compiled)) == (1, 1)


def test_a_turn_that_comes_early_waits_for_the_rest(runner, tmp_path, compiled):
  path = export(program(), tmp_path)
  done = threading.Event()
  runner.programs.prefetch(path, True, done.set)
  while not compiled:
    done.wait(0.01)
  turn(runner, path)
  assert len(compiled) == 1
  assert done.wait(10)


def test_what_has_not_begun_is_done_in_its_turn(runner, tmp_path, monkeypatch):
  """A prepared program that never compiles to the end holds up its own trial alone."""
  real, hung, go = program_cache.compile_template, threading.Event(), threading.Event()

  def compile_template(template, *rest):
    if threading.current_thread().name.startswith('prefetch'):
      hung.set()
      go.wait(60)
    return real(template, *rest)

  monkeypatch.setattr(program_cache, 'compile_template', compile_template)
  over = [threading.Event(), threading.Event()]
  runner.programs.prefetch(export(program(), tmp_path, 'first'), True, over[0].set)
  second = export(program(batch=4), tmp_path, 'second')
  runner.programs.prefetch(second, True, over[1].set)
  assert hung.wait(60)
  assert turn(runner, second)[2].cost.steps == 20
  assert over[1].is_set() and not over[0].is_set()
  go.set()
  assert over[0].wait(60)


def test_a_compile_beside_a_training_is_none_inside_its_clock(runner, tmp_path, compiled):
  paths = [export(program(batch=batch), tmp_path, f'{batch}') for batch in (8, 4)]
  alone = turn(runner, paths[0])[2]
  done = threading.Event()

  def say(fraction, step, loss, phase='train'):
    if phase == 'train' and len(compiled) == 1:
      prepared(runner, paths[1])
      done.set()

  measured = turn(runner, paths[0], say=say)[2]
  assert done.is_set() and len(compiled) == 2
  assert measured.cost.compilations_in_clock == 0
  assert measured.metrics == alone.metrics


def test_a_compile_in_the_thread_that_trains_is_one(runner, tmp_path):
  path = export(program(), tmp_path)

  def say(fraction, step, loss, phase='train'):
    jax.jit(lambda x: x * step)(jnp.ones(3))

  with pytest.raises(RunnerError, match=r'compiled \d times while the trial was timed') as failed:
    turn(runner, path, say=say)
  assert failed.value.status == Status.CRASH


def test_what_trains_stays_compiled_whatever_is_prepared(runner, tmp_path, compiled):
  trains = export(program(), tmp_path)
  turn(runner, trains)
  others = [
    export(program(batch=batch), tmp_path, f'{batch}') for batch in range(1, COMPILE_CACHE_SIZE + 2)
  ]
  for path in others:
    prepared(runner, path)
  assert len(compiled) == 1 + len(others)
  assert len(runner.programs._compiled) == len(runner.programs._templates) == COMPILE_CACHE_SIZE
  turn(runner, trains)
  turn(runner, others[-1])
  assert len(compiled) == 1 + len(others)


def failure(runner: TrainingRunner, path: str) -> tuple[Status, str]:
  with pytest.raises(RunnerError) as failed:
    turn(runner, path)
  return failed.value.status, str(failed.value)


def test_what_is_wrong_with_it_is_said_in_its_turn(setup, tmp_path):
  (tmp_path / 'garbage.artifact').write_bytes(b'garbage')
  fits = export(program(batch=1), tmp_path, 'fits')
  just_enough = turn(TrainingRunner(setup), fits)[1]['analysis_bytes']
  small = dataclasses.replace(setup, limits=Limits(device_bytes=just_enough))
  for path in (
    export(program(batch=64), tmp_path, 'large'),
    str(tmp_path / 'garbage.artifact'),
    str(tmp_path / 'none.artifact'),
  ):
    ahead = TrainingRunner(small)
    prepared(ahead, path)
    assert turn(ahead, fits)[2].cost.steps == 20
    assert failure(ahead, path) == failure(TrainingRunner(small), path)


def test_a_process_trains_and_answers_as_ever_while_it_prepares(setup, tmp_path):
  process = RunnerClient(setup, tmp_path / 'runner.log')
  first, second = (export(program(batch=b), tmp_path, f'{b}') for b in (8, 4))
  process.start()
  try:
    process.wait_until_ready()
    process.request('load', 60, artifact=first)
    process.request('compile', 60)
    process.prefetch(pathlib.Path(second), compile=True)
    process.prefetch(tmp_path / 'none.artifact', compile=False)
    measured = []
    while process.prefetching:  # it is said between two answers, or while it trains
      measured.append(process.request('run', 60, seed=3, budget=STEPS)['measurement']['metrics'])
    assert measured and all(metrics == measured[0] for metrics in measured)
    loaded = process.request('load', 60, artifact=second)
    assert loaded['facts']['batch_size'] == 4
    process.request('compile', 60)
    process.request('run', 60, seed=3, budget=STEPS)
  finally:
    process.close()
