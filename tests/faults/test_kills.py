"""kill -9 at random moments, of controller, runner, tracer and its children: nothing is lost.

KILLS=100 python -m pytest -n 0 -s tests/faults/test_kills.py

The bar is 100 kills, which take 5 to 8 minutes; by default there are eight, two of each role. Where
two trials run at once there is one of each role.
"""

import os
import random
import signal
import time

import pytest
from helpers.kills import outcomes, require_consistent
from helpers.processes import DIGITS, adopting, family, finish, require_ended, roles, start

from autoresearch_jax.ledger.events import Finished, LedgerError, SeedFinished
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import Status

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get('KILLS', '8'))
ROLES = ('controller', 'runner', 'tracer', 'child')
LONGEST = 3.0  # seconds between two kills, but for those that wait for a result
MAX_IN_A_TRIAL = 2  # kills of a trial's processes; of more of them it is a `crash`


PATIENCE = 600.0  # seconds for what must happen in the end, however slow the machine is


def history(workdir):
  """The run so far; None before its first event."""
  try:
    with Ledger.read(workdir / 'ledger.db') as ledger:
      return History.of(ledger.records())
  except LedgerError:
    return None


def finished(workdir):
  """How many trials have a result."""
  found = history(workdir)
  return len(found.results) if found else 0


def wait_until(condition, otherwise):
  deadline = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < deadline, otherwise
    time.sleep(0.05)


def strike(drawn, process, role):
  """Kills one process of the run, of that role while there is one, else the controller.

  Returns the role that it had, and who must end with it.
  """
  deadline = time.monotonic() + 3.0  # children of the tracer are there for a moment only
  while not (found := roles(process.pid)[role]):
    if time.monotonic() > deadline or process.poll() is not None:
      role, found = 'controller', [process.pid]
      break
    time.sleep(0.005)
  victim = drawn.choice(found)
  with_it = [victim, *family(victim)]
  os.kill(victim, signal.SIGKILL)
  return role, with_it


def strike_all(drawn, command, workdir, dealt):
  """Starts the run, kills one process of each role in `dealt`, then all. What it took, in words."""
  counts = dict.fromkeys(ROLES, 0)
  began, seen, recent = time.monotonic(), 0, 0
  with adopting():
    process = start(command, workdir)
    wait_until(lambda: history(workdir), 'The run does not begin.')
    for wanted in dealt:
      if recent == MAX_IN_A_TRIAL:
        wait_until(lambda seen=seen: finished(workdir) > seen, 'No trial ends any more.')
      time.sleep(drawn.uniform(0, LONGEST))
      assert process.poll() is None, 'The run ended by itself.'
      if (now := finished(workdir)) > seen:
        seen, recent = now, 0
      role, victims = strike(drawn, process, wanted)
      counts[role] += 1
      if role == 'controller':
        process.wait()
        require_ended(victims)
        process, recent = start(command, workdir), 0
      else:
        recent += 1
        require_ended(victims[1:])
    relatives = [process.pid, *family(process.pid)]
    process.kill()
    process.wait()
    require_ended(relatives)
  return f'{len(dealt)} kills in {time.monotonic() - began:.0f} s: {counts}'


def next_trial(workdir):
  return history(workdir).next_trial


@pytest.mark.timeout(900)
def test_kills_lose_double_and_orphan_nothing(tmp_path):
  drawn = random.Random(6)
  workdir = tmp_path / 'killed'
  digits = [*DIGITS, '--config.acceptance_options.baseline_seeds=2']
  dealt = [ROLES[number % len(ROLES)] for number in range(KILLS)]
  drawn.shuffle(dealt)
  took = strike_all(drawn, [*digits, '--config.search.max_trials=0'], workdir, dealt)
  trials = next_trial(workdir) + 2
  print(f'{took}, over {trials - 2} trials')
  last = [*digits, f'--config.search.max_trials={trials}']
  for name in ('killed', 'whole'):
    code, text = finish(last, tmp_path / name, timeout=300)
    assert code == 0, text
  killed = require_consistent(workdir, trials)
  whole = require_consistent(tmp_path / 'whole', trials)
  assert outcomes(killed) == outcomes(whole)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='two slots want two cores')
def test_kills_while_two_trials_run_lose_double_and_orphan_nothing(tmp_path):
  drawn = random.Random(3)
  digits = [*DIGITS, '--config.acceptance_options.baseline_seeds=2']
  digits += ['--config.executor_options.slots=2']
  dealt = ['runner', 'tracer', 'child', 'controller']
  strike_all(drawn, [*digits, '--config.search.max_trials=0'], tmp_path / 'run', dealt)
  trials = next_trial(tmp_path / 'run') + 2
  code, text = finish([*digits, f'--config.search.max_trials={trials}'], tmp_path / 'run')
  assert code == 0, text
  history = require_consistent(tmp_path / 'run', trials)
  assert Status.CRASH not in {result.status for result in history.results.values()}


def baseline_events(workdir, kind):
  """The baseline's results of one kind so far, in order."""
  try:
    with Ledger.read(workdir / 'ledger.db') as ledger:
      events = [record.event for record in ledger.records()]
  except LedgerError:
    return []
  return [event.result for event in events if isinstance(event, kind)]


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_only_the_seeds_that_are_missing_are_trained_after_a_restart(tmp_path, number):
  workdir = tmp_path / 'run'
  command = [
    *DIGITS[:2],
    '--config=configs/digits.py:seconds',
    '--config.final_seeds=0',
  ]
  command += ['--config.acceptance_options.baseline_seeds=5', '--config.search.max_trials=1']
  with adopting():
    process = start(command, workdir)
    relatives = []
    try:
      wait_until(
        lambda: len(baseline_events(workdir, SeedFinished)) >= 2 or process.poll() is not None,
        'No seed was recorded.',
      )
      relatives = [process.pid, *family(process.pid)]
      process.send_signal(number)
      process.wait(60)
    finally:
      process.kill()
    require_ended(relatives[1:])
  before = baseline_events(workdir, SeedFinished)
  assert 2 <= len(before) < 5 and not baseline_events(workdir, Finished)
  code, text = finish(command, workdir, timeout=300)
  assert code == 0, text
  after = baseline_events(workdir, SeedFinished)
  assert after[: len(before)] == before
  assert [run.measurement.seed for run in after] == [*range(5)]
  (result,) = baseline_events(workdir, Finished)
  assert result.measurements == tuple(run.measurement for run in after)
  assert len({run.facts['reference_step_seconds'] for run in after}) == 1
  assert list(result.facts['curves']) == [str(seed) for seed in range(5)]
