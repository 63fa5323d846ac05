"""The executor that plays strategies: results, duplicates, cancelled trials, a player that died."""

import dataclasses
import os
import pathlib
import signal

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import finished
from autoresearch_jax.executors.play import PlayExecutor
from autoresearch_jax.problems.meta import MetaSearch
from autoresearch_jax.programs.strategy_parts import donors
from autoresearch_jax.types import Budget, Program, Spec, Status, TrialRequest

pytestmark = pytest.mark.slow
BUDGET = Budget(4.0, 'steps')
OPTIONS = {'tuning': ('leading_ones',), 'held_out': ('trap',)}


@pytest.fixture(scope='module')
def executor(tmp_path_factory):
  folder = tmp_path_factory.mktemp('play')
  problem = MetaSearch(**OPTIONS)
  dataset = problem.prepare(folder / 'cache', lambda line: None)
  made = PlayExecutor(
    Spec('strategy', 'cpu', 1, BUDGET), dataset, (pathlib.Path(dataset.test),),
    Limits(trace_bytes=2 * 2**30, trace_seconds=300.0), folder / 'scratch', folder,
    ('meta', OPTIONS),
  )  # fmt: skip
  yield made
  made.close()
  made.close()


def request(trial: int, text: str, **fields) -> TrialRequest:
  return TrialRequest(trial, Program((('greedy.py', text),), 'greedy.py'), (0,), BUDGET, **fields)


def test_results_duplicates_and_the_test_split(executor):
  (first,) = finished(executor, request(0, donors()['greedy']))
  assert first.status is Status.OK and first.measurements[0].metrics['regret'] <= 1
  known = {first.fingerprint: 0}
  commented = f'{donors()["greedy"]}\n# the same\n'
  (again,) = finished(executor, request(1, commented, known=known, parents=(0,)))
  assert (again.status, again.duplicate_of) == (Status.DUPLICATE, 0)
  (final,) = finished(executor, request(2, donors()['greedy'], on_test=True))
  assert 'test_regret' in final.measurements[0].metrics
  (broken,) = finished(executor, request(3, 'def init(:'))
  assert broken.status is Status.INVALID and 'greedy.py:1' in broken.reason


def test_a_cancelled_trial_ends_and_the_next_one_runs(executor):
  long = dataclasses.replace(request(4, donors()['tree']), budget=Budget(1e4, 'steps'))
  executor.submit(long)
  while not executor.wait(10.0):
    pass  # it has begun
  executor.cancel(4)
  while not (ended := [e for e in executor.wait(10.0) if getattr(e, 'status', None)]):
    pass
  assert ended[0].status is Status.CANCELLED
  assert finished(executor, request(5, donors()['tree']))[0].status is Status.OK


def test_a_player_that_dies_is_started_again(executor):
  assert finished(executor, request(6, donors()['tree']))[0].status is Status.OK
  os.kill(executor.pids()['player'], signal.SIGKILL)
  results = [finished(executor, request(n, donors()['tree']))[0] for n in (7, 8)]
  assert results[-1].status is Status.OK
