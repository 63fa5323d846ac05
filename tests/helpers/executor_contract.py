"""What every executor does. A new one is one line in EXECUTOR_CASES."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Sequence

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import EXECUTORS, Executor, finished
from autoresearch_jax.types import Program, Progress, PruningRung, Result, Status, TrialRequest
from helpers import machines
from helpers.tiny_language import SPEC, STEPS, make_dataset, program

# Name -> registered name, and options, which may need a folder.
EXECUTOR_CASES = {
  'local': ('local', lambda _: {}),
  'local_slots': ('local', lambda _: {'slots': 2}),
  'ssh_machines': ('ssh', lambda folder: machines.options(folder, 'a', 'b')),
}


def as_program(text: str) -> Program:
  return Program((('model.py', text),), 'model.py')


def make(case: str, folder: pathlib.Path, **limits) -> Executor:
  if case == 'local_slots' and len(os.sched_getaffinity(0)) < 2:
    pytest.skip('two slots want two cores')
  name, options = EXECUTOR_CASES[case]
  return make_executor(name, options(folder), folder, **limits)


def make_executor(name: str, options: dict, folder: pathlib.Path, **limits) -> Executor:
  (folder / 'data').mkdir()
  dataset = make_dataset(folder / 'data')
  others = {} if name == 'local' else {'problem': machines.PROBLEM}
  return EXECUTORS.make(
    name,
    options,
    **others,
    spec=SPEC,
    dataset=dataset,
    hidden=(pathlib.Path(dataset.validation), pathlib.Path(dataset.test)),
    limits=Limits(**{'trace_seconds': 20.0, 'step_seconds': 20.0, **limits}),
    scratch=folder / 'scratch',
    cache=folder / 'cache',
  )


def result_of(
  executor: Executor, request: TrialRequest, each: Callable[[Progress], None] = lambda _: None
) -> Result:
  """Submits and waits; fails the test rather than waiting for ever."""
  return results_of(executor, [request], each)[0]


def results_of(
  executor: Executor,
  requests: Sequence[TrialRequest],
  each: Callable[[Progress], None] = lambda _: None,
) -> list[Result]:
  """Submits all and waits for all; their results in the order in which they came."""
  for request in requests:
    executor.submit(request)
  return heard(executor, len(requests), each)


def heard(
  executor: Executor, count: int, each: Callable[[Progress], None] = lambda _: None
) -> list[Result]:
  """Waits for so many results."""
  results: list[Result] = []
  deadline = time.monotonic() + 240
  while time.monotonic() < deadline:
    for news in executor.wait(1.0):
      if isinstance(news, Result):
        results.append(news)
      elif isinstance(news, Progress):
        each(news)
    if len(results) == count:
      return results
  raise AssertionError(f'{len(results)} results came of {count} trials')


@pytest.fixture(scope='module', params=sorted(EXECUTOR_CASES))
def executor(request, tmp_path_factory):
  made = make(request.param, tmp_path_factory.mktemp(request.param))
  yield made
  made.close()


class ExecutorContract:
  """The battery; subclass it in a test file to run it."""

  def test_a_trial_ends_in_one_result_with_its_news(self, executor):
    news = []
    result = result_of(executor, TrialRequest(7, as_program(program()), (0, 1), STEPS), news.append)
    assert (result.trial, result.status, result.reason) == (7, Status.OK, '')
    assert [m.seed for m in result.measurements] == [0, 1]
    assert result.measurements[0].metrics['val_bpb'] > 0
    assert result.measurements[0].cost.total_seconds >= result.measurements[0].cost.trace_seconds
    assert result.isolation is not None
    assert {n.phase for n in news} >= {'trace', 'compile', 'train'}
    assert executor.wait(0.2) == []

  def test_the_same_seed_gives_the_same_number(self, executor):
    request = TrialRequest(1, as_program(program()), (5,), STEPS)
    first, second = result_of(executor, request), result_of(executor, request)
    assert first.measurements[0].metrics == second.measurements[0].metrics

  def test_the_locked_data_are_scored_for_a_request_that_says_so_alone(self, executor):
    request = TrialRequest(1, as_program(program()), (5,), STEPS)
    usual = result_of(executor, request).measurements[0]
    final = result_of(executor, dataclasses.replace(request, on_test=True)).measurements[0]
    assert set(usual.metrics) == {'val_bpb', 'val_loss', 'train_loss'}
    assert set(final.metrics) == {'test_bpb', 'test_loss', 'train_loss'}
    assert final.metrics['train_loss'] == usual.metrics['train_loss']
    assert final.metrics['test_bpb'] != usual.metrics['val_bpb']

  def test_a_trial_is_looked_at_where_it_is_asked_for_and_ends_where_it_is_past_the_limits(
    self, executor
  ):
    at = (PruningRung(0.25), PruningRung(0.5))
    request = TrialRequest(1, as_program(program()), (0, 1), STEPS, rungs=at)
    looks = result_of(executor, request).facts['looks']
    assert {seed: [look[0] for look in seen] for seed, seen in looks.items()} == {
      '0': [0.25, 0.5],
      '1': [0.25, 0.5],
    }
    limited = dataclasses.replace(request, rungs=(at[0], PruningRung(0.5, 0.1, 0.1)))
    result = result_of(executor, limited)
    assert (result.status, result.measurements) == (Status.PRUNED, ())
    assert result.reason.startswith('Pruned at 50% of the budget')
    assert result.fingerprint and result.facts['looks'] == {'0': looks['0']}
    assert result.facts['pruned']['saved_seconds'] > 0

  def test_an_edit_without_effect_is_a_duplicate_of_its_parent(self, executor):
    first = result_of(executor, TrialRequest(1, as_program(program()), (0,), STEPS))
    text = '# A comment.\nUNREAD = 3\n' + program().replace('logits', 'scores')
    request = TrialRequest(2, as_program(text), (0,), STEPS, {first.fingerprint: 1}, parents=(1,))
    result = result_of(executor, request)
    assert result.status == Status.DUPLICATE
    assert result.duplicate_of == 1
    assert 'no effect' in result.reason
    assert result.measurements == ()

  def test_a_repeat_of_a_stranger_is_called_that(self, executor):
    first = result_of(executor, TrialRequest(1, as_program(program()), (0,), STEPS))
    request = TrialRequest(
      2, as_program(program()), (0,), STEPS, {first.fingerprint: 1}, parents=(0,)
    )
    assert 'already ran' in result_of(executor, request).reason

  def test_a_broken_program_does_not_stop_the_next(self, executor):
    broken = result_of(executor, TrialRequest(3, as_program('def init(:'), (0,), STEPS))
    assert broken.status == Status.INVALID
    assert 'model.py:1' in broken.reason
    assert result_of(executor, TrialRequest(4, as_program(program()), (0,), STEPS)).status == 'ok'

  def test_a_cancelled_trial_says_so_and_the_next_one_runs(self, executor):
    endless = 'gradient = jax.lax.while_loop(lambda g: g[0, 0] < 9e9, jnp.sin, gradient)'
    request = TrialRequest(8, as_program(program(step=endless)), (0,), STEPS)
    result = result_of(
      executor, request, lambda news: executor.cancel(8) if news.phase == 'train' else None
    )
    assert result.status == Status.CANCELLED
    assert result_of(executor, TrialRequest(9, as_program(program()), (0,), STEPS)).status == 'ok'

  def test_closing_twice_is_harmless(self, tmp_path, executor):
    other = make(next(iter(EXECUTOR_CASES)), tmp_path)
    other.close()
    other.close()

  def test_as_many_trials_as_it_has_slots_give_each_its_own_numbers(self, executor):
    seeds = range(executor.slots + 1)
    requests = [TrialRequest(seed, as_program(program()), (seed,), STEPS) for seed in seeds]
    for request, together in zip(requests, finished(executor, *requests), strict=True):
      alone = result_of(executor, request)
      assert together.trial == request.trial
      assert [(m.seed, m.metrics) for m in together.measurements] == [
        (m.seed, m.metrics) for m in alone.measurements
      ]

  def test_a_trial_that_waits_is_cancelled_and_the_others_are_not(self, executor):
    trials = range(20, 20 + executor.slots + 2)
    requests = [TrialRequest(i, as_program(program()), (i,), STEPS) for i in trials]
    for request in requests:
      executor.submit(request)
    executor.cancel(trials[-1])
    results = {result.trial: result.status for result in heard(executor, len(requests))}
    assert results.pop(trials[-1]) == Status.CANCELLED
    assert set(results.values()) == {Status.OK}
