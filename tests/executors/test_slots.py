"""Several slots of the local executor: what befalls one of them leaves the others alone."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers.executor_contract import as_program, heard, make, result_of, results_of
from helpers.tiny_language import STEPS, program

from autoresearch_jax.executors import Unavailable, sharing, slot
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import Budget, Status, TrialRequest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
ENDLESS = 'gradient = jax.lax.while_loop(lambda g: g[0, 0] < 9e9, jnp.sin, gradient)'
LONG = Budget(1000, 'steps')
# With it LONG takes half a second, so that what is done to a trial that trains finds it there.
SLOW = 'gradient = jax.lax.fori_loop(0, 1000, lambda i, g: g + 1e-9 * jnp.sin(g @ g), gradient)'


@pytest.fixture(scope='module')
def local(tmp_path_factory):
  made = make('local_slots', tmp_path_factory.mktemp('slots'), step_seconds=60.0)
  yield made
  made.close()


def request(trial, text=None, budget=STEPS, seeds=(0,)):
  return TrialRequest(trial, as_program(text or program()), seeds, budget)


def runner_of(local, index):
  return local.pids()[f'runner {index}' if index else 'runner']


def once(trial, phase, act):
  """Calls `act` at the first news of the trial's phase."""
  done = []

  def each(news):
    if not done and (news.trial, news.phase) == (trial, phase):
      done.append(act())

  return each


def slot_of(local, trial):
  """Which slot has the trial."""
  return next(
    i for i, s in enumerate(local._all_slots) if s.request is not None and s.request.trial == trial
  )


def test_two_trials_run_side_by_side_each_on_its_own_cores(local):
  first, second = results_of(local, [request(1, budget=LONG), request(2, budget=LONG)])
  assert (first.status, second.status) == (Status.OK, Status.OK)
  assert first.facts['slot'] != second.facts['slot']
  assert first.measurements[0].metrics == second.measurements[0].metrics
  assert len({runner_of(local, i) for i in range(2)}) == 2
  cores = [
    {
      frozenset(os.sched_getaffinity(int(task.name)))
      for task in pathlib.Path(f'/proc/{runner_of(local, i)}/task').iterdir()
    }
    for i in range(2)
  ]
  assert [len(sets) for sets in cores] == [1, 1]  # every thread of a runner has the same
  assert not set.intersection(*(set(*sets) for sets in cores))


def test_a_program_goes_where_it_is_compiled(local):
  text = program(scale=0.2)
  slots = {result_of(local, request(trial, text)).facts['slot'] for trial in range(6)}
  assert len(slots) == 1


def test_the_seeds_of_a_trial_train_side_by_side_where_slots_are_idle(local):
  """One that trains for ever leaves no other seed its slot."""
  training = set()

  def each(news):
    if news.phase == 'train':
      training.add(news.seed)
    if len(training) == 2:
      local.cancel(1)

  (result,) = results_of(local, [request(1, program(step=ENDLESS), seeds=(0, 1, 2))], each)
  assert (result.status, result.measurements, training) == (Status.CANCELLED, (), {0, 1})


def test_seeds_that_spread_have_the_numbers_of_seeds_that_do_not(local):
  (together,) = results_of(local, [request(1, seeds=(3, 1, 2, 0))])
  alone = [results_of(local, [request(1, seeds=(seed,))])[0] for seed in (3, 1, 2, 0)]
  assert together.status == Status.OK
  assert [(m.seed, m.metrics) for m in together.measurements] == [
    (m.seed, m.metrics) for r in alone for m in r.measurements
  ]
  assert set(together.facts) == set(alone[0].facts)
  assert [*together.facts['curves']] == ['3', '1', '2', '0']


def test_a_killed_runner_leaves_the_other_trial_alone(local):
  text = program(step=SLOW)
  whole = result_of(local, request(1, text, LONG))
  before = [runner_of(local, i) for i in range(2)]
  killed = []

  def kill():
    killed.append(slot_of(local, 1))
    os.kill(runner_of(local, killed[0]), signal.SIGKILL)

  requests = [request(1, text, LONG), request(2, text, LONG)]
  results = results_of(local, requests, once(1, 'train', kill))
  assert [r.status for r in results] == [Status.OK, Status.OK]  # the next runner took it up
  assert [r.measurements[0].metrics for r in results] == [whole.measurements[0].metrics] * 2
  other = 1 - killed[0]
  assert runner_of(local, other) == before[other]
  assert runner_of(local, killed[0]) != before[killed[0]]


def test_a_hang_in_one_slot_holds_up_no_other(local):
  for number in range(1, 6):
    local.submit(request(number, program(step=ENDLESS) if number == 1 else None))
  results = heard(local, 4)
  assert [(r.trial, r.status) for r in results] == [(n, Status.OK) for n in (2, 3, 4, 5)]
  local.cancel(1)
  assert heard(local, 1)[0].status == Status.CANCELLED


def test_cancelling_one_trial_leaves_the_other(local):
  whole = result_of(local, request(1, budget=LONG))
  requests = [request(1, program(step=ENDLESS)), request(2, budget=LONG)]
  results = results_of(local, requests, once(1, 'train', lambda: local.cancel(1)))
  found = {r.trial: r for r in results}
  assert found[1].status == Status.CANCELLED
  assert found[2].measurements[0].metrics == whole.measurements[0].metrics


def test_closing_in_the_midst_of_trials_ends_every_process(tmp_path):
  made = make('local_slots', tmp_path)
  for trial in range(4):
    made.submit(request(trial, program(step=ENDLESS)))
  training = set()
  while len(training) < 2:
    training |= {news.trial for news in made.wait(1.0) if getattr(news, 'phase', '') == 'train'}
  pids = made.pids()
  assert len(pids) == 4
  made.close()
  for pid in filter(None, pids.values()):
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def failing(monkeypatch, fails):
  """Runners for whose log and start (1, 2, ...) `fails` holds do not come up."""
  real, starts = slot.RunnerClient.wait_until_ready, {}
  monkeypatch.setattr(slot, 'RETRY_SECONDS', 0.0)

  def wait_until_ready(self, timeout=300.0):
    starts[self.log.name] = starts.get(self.log.name, 0) + 1
    if fails(self.log.name, starts[self.log.name]):
      raise RunnerError(Status.CRASH, 'The device is lost.')
    return real(self, timeout)

  monkeypatch.setattr(slot.RunnerClient, 'wait_until_ready', wait_until_ready)


def test_a_slot_that_never_comes_up_is_given_up_with_a_sentence(tmp_path, monkeypatch, capfd):
  failing(monkeypatch, lambda log, _: log == 'runner-1.log')
  made = make('local_slots', tmp_path)
  try:
    results = results_of(made, [request(trial) for trial in range(3)])
    assert [r.status for r in results] == [Status.OK] * 3
    assert {r.facts['slot'] for r in results} == {0}
    assert made.slots == 1
  finally:
    made.close()
  said = capfd.readouterr().err
  assert said.startswith('The slot with cores ')
  assert 'The device is lost.' in said and said.endswith('One slot is left.\n')


def test_when_no_slot_comes_up_there_is_no_result(tmp_path, monkeypatch, capfd):
  failing(monkeypatch, lambda log, start: True)
  made = make('local_slots', tmp_path)
  try:
    made.submit(request(0))
    with pytest.raises(Unavailable, match=r'device is lost\. Fix this'):
      heard(made, 1)
  finally:
    made.close()
  assert capfd.readouterr().err.count('is retired') == 1


def test_a_program_that_ends_slots_does_not_end_them_all(tmp_path, monkeypatch, capfd):
  monkeypatch.setattr(
    sharing, 'partition', lambda *_: [sharing.ResourceShare(f'GPU {i}') for i in range(3)]
  )
  failing(monkeypatch, lambda _, start: start > 1)  # after the kill no other one comes up
  made = make('local_slots', tmp_path)

  def kill(news):
    if (news.trial, news.phase) == (1, 'compile'):
      os.kill(runner_of(made, slot_of(made, 1)), signal.SIGKILL)

  try:
    result = result_of(made, request(1, program(step=ENDLESS)), kill)
    assert result.status == Status.CRASH
    assert 'It failed in two slots' in result.reason
    assert result_of(made, request(2, program(scale=0.4))).status == Status.OK
    assert made.slots == 1
  finally:
    made.close()
  assert capfd.readouterr().err.count('is retired') == 2


def idle_slots(monkeypatch, count, trial):
  """So many slots without processes, in which `trial` stands for a trial."""
  shares = [sharing.ResourceShare(f'GPU {i}') for i in range(count)]
  monkeypatch.setattr(sharing, 'partition', lambda *_: shares)
  monkeypatch.setattr(slot.Slot, 'start', lambda self: None)
  monkeypatch.setattr(slot.Slot, 'run_trial', trial)


def test_a_full_disk_is_no_trials_fault_however_many_slots_there_are(tmp_path, monkeypatch, capfd):
  def full(self):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  idle_slots(monkeypatch, 4, full)
  made = make('local_slots', tmp_path)
  try:
    made.submit(request(1))
    with pytest.raises(Unavailable, match='The disk is full'):
      heard(made, 1)
  finally:
    made.close()
  assert 'is retired' not in capfd.readouterr().err


def test_a_cancelled_trial_whose_slot_fails_goes_to_no_other(tmp_path, monkeypatch):
  begun, runs = threading.Event(), []

  def fail(self):
    runs.append(self.request.trial)
    begun.set()
    while not self.cancelled:
      time.sleep(0.01)
    raise Unavailable('The device is lost.')

  idle_slots(monkeypatch, 2, fail)
  made = make('local_slots', tmp_path)
  try:
    made.submit(request(1))
    assert begun.wait(60)
    made.cancel(1)
    assert [(r.trial, r.status) for r in heard(made, 1)] == [(1, Status.CANCELLED)]
    assert runs == [1]
  finally:
    made.close()


def test_a_whole_run_in_two_slots_measures_what_each_trial_measures_alone(tmp_path):
  if len(os.sched_getaffinity(0)) < 2:
    pytest.skip('two slots want two cores')
  subprocess.run(
    [
      sys.executable, '-m', 'autoresearch_jax.main', '--config=configs/digits.py',
      '--config.executor_options.slots=2', '--config.budget.amount=30.0',
      '--config.search.max_trials=6', '--config.final_seeds=0', f'--workdir={tmp_path / "run"}',
    ],
    check=True, cwd=ROOT, capture_output=True, timeout=170,
  )  # fmt: skip
  with Ledger.read(tmp_path / 'run' / 'ledger.db') as ledger:
    history = History.of(ledger.records())
  trials = [t for t in history.trials.values() if t.result.status == Status.OK]
  assert {trial.result.facts['slot'] for trial in trials} == {0, 1}
  task = build_task(history.config)
  dataset = task.prepare_data(lambda _: None)
  executor = task.start_executor(dataset, tmp_path / 'alone')
  try:
    for trial in trials:
      seeds = tuple(m.seed for m in trial.result.measurements)
      again = TrialRequest(trial.id, trial.edit.program, seeds, history.config.budget)
      alone = result_of(executor, again).measurements
      assert [m.metrics for m in alone] == [m.metrics for m in trial.result.measurements]
  finally:
    executor.close()
