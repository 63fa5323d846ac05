"""What stands still: a stopped group, a stopped runner, a hung compile, a set clock."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.kills import SYNTHETIC
from helpers.processes import DIGITS, family, start
from helpers.synthetic_run import run
from helpers.tiny_language import SPEC, make_dataset, program

from autoresearch_jax import clock as wall_clock
from autoresearch_jax.config import Limits
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.runner import clock
from autoresearch_jax.types import Budget, Program, Progress, Result, Status, TrialRequest

pytestmark = pytest.mark.slow

STEPS = Budget(20, 'steps')
SECOND = Budget(1.0, 'seconds')
LONG_TO_COMPILE = 'for _ in range(100): gradient = gradient + 1e-9 * jnp.sin(gradient @ gradient)'
ENDLESS = 'gradient = jax.lax.while_loop(lambda g: g[0, 0] < 9e9, jnp.sin, gradient)'


def history(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return History.of(ledger.records())


def signal_all(pids, number):
  for pid in pids:
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, number)


def wait_for(workdir, count, process):
  """Waits until the run has so many results."""
  deadline = time.monotonic() + 90
  while True:
    with contextlib.suppress(Exception):
      if len(history(workdir).results) >= count:
        return
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.05)


def test_a_laptop_that_sleeps_costs_no_trial_its_result(tmp_path):
  limits = ['--config.limits.step_seconds=3', '--config.limits.trace_seconds=8']
  limits += ['--config.limits.compile_seconds=20', '--config.limits.run_seconds=12']
  command = ['-m', DIGITS[1], '--config=configs/digits.py:seconds', *limits]
  command += ['--config.acceptance_options.baseline_seeds=2', '--config.search.max_trials=7']
  process = start(command, tmp_path / 'run')
  try:
    for moment in (0.3, 1.0):
      wait_for(tmp_path / 'run', len(history_or_none(tmp_path / 'run')) + 1, process)
      time.sleep(moment)
      pids = [process.pid, *family(process.pid)]
      signal_all(pids, signal.SIGSTOP)
      time.sleep(9.0)  # longer than any of the limits allows silence
      signal_all(pids[::-1], signal.SIGCONT)
    assert process.wait(180) == 0
  finally:
    process.kill()
  found = history(tmp_path / 'run')
  results = [trial.result for trial in found.trials.values()]
  assert {r.status for r in results} <= {Status.OK, Status.DUPLICATE}, [r.reason for r in results]
  runs = [run for result in results for run in result.measurements]
  # Of a budget of 1 s; how late a busy machine may end it is the runner's business.
  assert all(run.cost.training_seconds < 9.0 for run in runs)  # not the seconds of a stop


def history_or_none(workdir):
  with contextlib.suppress(Exception):
    return history(workdir).results
  return {}


@pytest.fixture(scope='module')
def local(tmp_path_factory):

  folder = tmp_path_factory.mktemp('local')
  (folder / 'data').mkdir()
  dataset = make_dataset(folder / 'data')
  made = EXECUTORS.make(
    'local', {}, spec=SPEC, dataset=dataset, hidden=(), scratch=folder / 'scratch',
    limits=Limits(trace_seconds=60.0, step_seconds=30.0, compile_seconds=8.0),
    cache=folder / 'cache',
  )  # fmt: skip
  yield made
  made.close()


def result_of(executor, text, budget, each=lambda news: None, seeds=(0,), trial=1):
  executor.submit(TrialRequest(trial, Program((('model.py', text),), 'model.py'), seeds, budget))
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline:
    for news in executor.wait(1.0):
      if isinstance(news, Result):
        return news
      if isinstance(news, Progress):
        each(news)
  raise AssertionError('The trial gave no result.')


def once(act, when):
  """Calls `act` at the first news for which `when` holds."""
  done = []

  def each(news):
    if not done and when(news):
      done.append(act())

  return each


def training(news):
  return news.phase == 'train' and 0.05 < news.fraction < 0.5


def test_a_training_that_was_stopped_does_not_count_and_is_done_again(local):
  def stop():
    runner = local.pids()['runner']
    os.kill(runner, signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(runner, signal.SIGCONT)

  result = result_of(local, program(scale=0.2), SECOND, once(stop, training))
  assert result.status == Status.OK, result.reason
  cost = result.measurements[0].cost
  assert 0.5 < cost.training_seconds < 3.0  # the stop alone took longer
  # Of steps there are as many as ever, so the same stop changes no result and costs no repeat.
  many = Budget(cost.steps, 'steps')
  result = result_of(local, program(scale=0.3), many, once(stop, training))
  assert result.measurements[0].cost.steps == cost.steps


def test_a_runner_that_is_stopped_each_time_is_a_crash_with_a_sentence(local):
  def stop(news):
    if training(news):
      runner = local.pids()['runner']
      with contextlib.suppress(ProcessLookupError):  # the trial may have ended, and its runner
        os.kill(runner, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(runner, signal.SIGCONT)

  # On a busy machine the news come late, and so does the stop, or an attempt is too slow by itself.
  ends = []
  while len(ends) < 8 and Status.CRASH not in [result.status for result in ends]:
    ends.append(result_of(local, program(scale=0.4 + len(ends) / 100), SECOND, stop))
  assert ends[-1].status == Status.CRASH, [(result.status, result.reason) for result in ends]
  assert 'stalled for' in ends[-1].reason
  assert result_of(local, program(), STEPS).status == Status.OK


def test_a_runner_that_hangs_in_compile_is_late_and_the_next_one_works(local):
  text = program(step=LONG_TO_COMPILE)  # or the stop could come after it
  hang = once(
    lambda: os.kill(local.pids()['runner'], signal.SIGSTOP), lambda n: n.phase == 'compile'
  )
  result = result_of(local, text, STEPS, hang)
  assert result.status == Status.TIMEOUT
  assert 'no progress for 8 s during compile (limits.compile_seconds)' in result.reason
  assert result_of(local, text, STEPS).status == Status.OK


def test_a_runner_that_the_kernel_kills_has_its_seeds_finished_by_the_next(local):
  text = program(scale=0.6)
  whole = result_of(local, text, STEPS, seeds=(0, 1, 2))
  kill = once(
    lambda: os.kill(local.pids()['runner'], signal.SIGKILL),
    lambda news: news.phase == 'train' and news.seed == 1,
  )
  result = result_of(local, text, STEPS, kill, seeds=(0, 1, 2))
  assert result.status == Status.OK, result.reason
  assert [m.metrics for m in result.measurements] == [m.metrics for m in whole.measurements]


def test_a_program_for_which_every_runner_is_killed_is_given_up(local):
  killed = []

  def kill(news):
    if news.phase == 'compile':
      killed.append(local.pids()['runner'])
      os.kill(killed[-1], signal.SIGKILL)

  result = result_of(local, program(step=ENDLESS), STEPS, kill)
  assert result.status == Status.CRASH
  assert 'SIGKILL' in result.reason and 'memory runs out' in result.reason
  assert len(set(killed)) == len(killed) == 3
  assert result_of(local, program(), STEPS).status == Status.OK


def test_a_tracer_that_is_killed_traces_again(local):
  kill = once(
    lambda: os.kill(local.pids()['tracer'], signal.SIGKILL), lambda news: news.phase == 'trace'
  )
  result = result_of(local, program(scale=0.8), STEPS, kill)
  assert result.status == Status.OK, result.reason


def test_a_heartbeat_finds_a_stop_and_nothing_else():
  code = (
    'import sys, time; from autoresearch_jax.runner.clock import Heartbeat\n'
    'beat = Heartbeat(); began = time.monotonic(); print("up", flush=True); input()\n'
    'print(beat.stalled_seconds(began)); print(beat.stalled_seconds(time.monotonic()))'
  )
  began = time.monotonic()
  process = subprocess.Popen(
    [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  with process:
    assert process.stdout.readline() == 'up\n'
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate('\n')
  first, second = map(float, out.split())
  assert 1.2 < first < time.monotonic() - began
  assert second < 0.1
  assert clock.MIN_STALL_SECONDS < 1.0


def test_who_was_stopped_does_not_hold_it_against_others(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(wall_clock.time, 'monotonic', lambda: now[0])
  waiting = wall_clock.ActiveTimer()
  for passed in (0.5, 1.0, 3600.0, 0.25):
    now[0] += passed
    waiting.seconds()
  assert waiting.seconds() == 0.5 + 1.0 + 2 * wall_clock.POLL_SECONDS + 0.25


JUMP = """
import sys, time
real, calls = time.time, [0]
def jumping():
  calls[0] += 1
  return real() + ({jump} if calls[0] > 10 else 0.0)
time.time = jumping
sys.argv[0] = {command!r}
import runpy
runpy.run_path({command!r}, run_name='__main__')
"""


@pytest.mark.parametrize('jump', [86_400.0, -86_400.0])
def test_a_clock_that_is_set_within_a_session_makes_no_hours(tmp_path, jump):
  code = JUMP.format(jump=jump, command=str(SYNTHETIC))
  began = time.monotonic()
  subprocess.run(
    [sys.executable, '-c', code, f'--config={SYNTHETIC}', f'--workdir={tmp_path}'],
    capture_output=True, check=True, cwd=SYNTHETIC.parent,
  )  # fmt: skip
  found = history(tmp_path)
  assert len(found.trials) == 5
  assert 0 < found.wall_seconds < time.monotonic() - began
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    times = [record.time for record in ledger.records()]
  assert times == sorted(times)


@pytest.mark.parametrize('shift', [86_400.0, -86_400.0])
def test_a_clock_that_is_set_between_sessions_makes_no_hours(tmp_path, shift):
  run(tmp_path, 4, clock=wall_clock.monotonic_time)
  before = history(tmp_path).wall_seconds
  began = time.monotonic()
  after = run(tmp_path, 8, clock=lambda: wall_clock.monotonic_time() + shift).history
  assert len(after.trials) == 8
  assert before < after.wall_seconds < before + time.monotonic() - began + 0.1
