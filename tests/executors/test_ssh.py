"""Machines that a command reaches: real host processes here, each with a cache of its own."""

import contextlib
import os
import pathlib
import signal
import time

import pytest
from helpers import machines
from helpers.executor_contract import as_program, heard, make_executor, results_of
from helpers.processes import adopting, family, require_ended
from helpers.tiny_language import STEPS, program

import autoresearch_jax as ar
from autoresearch_jax import config as configs
from autoresearch_jax.executors.ssh import SshExecutor
from autoresearch_jax.types import Budget, Progress, Result, SeedResult, Status, TrialRequest

pytestmark = pytest.mark.slow
SLOW = 'gradient = jax.lax.fori_loop(0, 1000, lambda i, g: g + 1e-9 * jnp.sin(g @ g), gradient)'
LONG = Budget(1000, 'steps')  # with SLOW, seconds


@contextlib.contextmanager
def cluster(folder, *hosts, **others):
  executor = make_executor('ssh', machines.options(folder, *hosts, **others), folder)
  try:
    yield executor
  finally:
    executor.close()


def request(trial, text=None, seeds=(0,), budget=STEPS):
  return TrialRequest(trial, as_program(text or program()), seeds, budget)


def until(condition, executor=None, events=None):
  deadline = time.monotonic() + 240
  while not condition():
    assert time.monotonic() < deadline
    if executor is None:
      time.sleep(0.05)
    else:
      events += executor.wait(0.1)


def test_all_machines_measure_equal_numbers(tmp_path):
  with cluster(tmp_path, 'a', 'b') as executor:
    texts = [program(scale=0.1 + 0.01 * trial) for trial in range(4)]
    for trial, text in enumerate(texts * 2):
      executor.submit(request(trial, text))
    found = {result.trial: result for result in heard(executor, 8)}
    seen = {found[trial].facts['host'] for trial in range(8)}
    assert seen == {'a', 'b'}
    for trial in range(4):
      first, second = found[trial], found[trial + 4]
      assert first.measurements[0].metrics == second.measurements[0].metrics
    isolation = {result.isolation for result in found.values()}
    assert len(isolation) == 1 and None not in isolation


def test_a_machine_that_is_killed_while_it_trains_costs_that_training_and_one_joins_late(tmp_path):
  hosts_file = tmp_path / 'hosts'
  hosts_file.write_text('a\n')
  options = machines.options(tmp_path, hosts_file=str(hosts_file))
  executor, events, killed = make_executor('ssh', options, tmp_path), [], []

  def seen(kind, seed):
    return [e for e in events if isinstance(e, kind) and seed_of(e) == seed]

  def seed_of(event):
    is_run = isinstance(event, SeedResult)
    return event.measurement.seed if is_run else event.phase == 'train' and event.seed

  with adopting(), contextlib.closing(executor):
    executor.submit(request(1, program(step=SLOW), seeds=(5, 6), budget=LONG))
    until(lambda: seen(SeedResult, 5), executor, events)
    until(lambda: seen(Progress, 6), executor, events)
    hosts_file.write_text('a\nb\n')
    host = machines.pid_of(tmp_path, 'a')
    killed = [host, *family(host)]
    before = len(seen(Progress, 5))
    os.kill(host, signal.SIGKILL)
    require_ended(killed, 30.0)
    until(lambda: any(isinstance(e, Result) for e in events), executor, events)
    (result,) = [e for e in events if isinstance(e, Result)]
    assert (result.status, [m.seed for m in result.measurements]) == (Status.OK, [5, 6])
    assert len(seen(Progress, 5)) == before and len(seen(SeedResult, 5)) == 1
    alone = [results_of(executor, [request(s, program(step=SLOW), (s,), LONG)])[0] for s in (5, 6)]
    assert [m.metrics for m in result.measurements] == [
      m.metrics for other in alone for m in other.measurements
    ]
    until(lambda: executor.slots == 2)  # `a` came back, or `b` came


def test_machines_of_another_version_or_with_other_data_are_refused(tmp_path, capfd):
  machines.install(tmp_path / 'site-old', 'jax', '0.0.1')
  (tmp_path / 'cache-other').mkdir()
  (tmp_path / 'cache-other' / 'fingerprint').write_text('of other data')
  with cluster(tmp_path, 'old', 'other', 'good') as executor:
    assert executor.slots == 1
    (result,) = results_of(executor, [request(1)])
    assert (result.status, result.facts['host']) == (Status.OK, 'good')
  said = capfd.readouterr().err
  assert 'old: Its version of jax differs: it has 0.0.1' in said
  assert "other: Its data for the problem 'tiny_language' differ" in said


def test_a_machine_that_cannot_be_reached_is_named_with_what_the_command_said(tmp_path, capfd):
  options = machines.options(tmp_path, 'a', 'away')
  options['command'] = 'sh -c "test {host} != away || { echo no route >&2; exit 255; }; exec ' + (
    options['command'].replace('{command}', "'{command}'") + '"'
  )
  executor = make_executor('ssh', options, tmp_path)
  with contextlib.closing(executor):
    assert executor.slots == 1
  assert 'away: The connection ended with code 255: no route' in capfd.readouterr().err


def test_closing_ends_all_processes(tmp_path):
  with adopting():
    with cluster(tmp_path, 'a', 'b'):
      hosts = [machines.pid_of(tmp_path, name) for name in ('a', 'b')]
      pids = [pid for host in hosts for pid in (host, *family(host))]
    require_ended(pids, 30.0)
  assert len(pids) > 4
  assert not [*pathlib.Path(tmp_path).glob('cache-*/hosts/host-*')]


@pytest.mark.parametrize(
  ('options', 'what'),
  [
    ({}, 'hosts'),
    ({'hosts': ('a',), 'command': 'ssh {host}'}, 'command'),
    ({'slots': -1}, 'slots'),
  ],
)
def test_options_that_cannot_work_are_refused(options, what):
  with pytest.raises(ValueError, match=what):
    SshExecutor.require_options('cpu', options)


def test_a_run_decides_as_on_one_machine_with_as_many_slots(tmp_path):
  """Up to the trials that are proposed before others end, whose order is a matter of time."""
  options = {
    'local': {'slots': 2},
    'ssh': machines.options(tmp_path, 'a', 'b'),
  }
  found = {}
  for executor, its_options in options.items():
    config = configs.from_config_dict(
      configs.load('digits'),
      {
        'executor': executor,
        'executor_options': its_options,
        'budget.amount': 30.0,
        'search.max_trials': 3,
        'search.prefetch': 0,
        'final_seeds': 0,
      },
    )
    run = ar.run(config, workdir=tmp_path / executor)
    found[executor] = {
      trial.id: (
        trial.proposal,
        trial.edit,
        [(m.seed, m.metrics) for m in trial.result.measurements],
        trial.result.fingerprint,
      )
      for trial in run.trials
    }
  assert len(found['ssh']) == 3
  assert found['ssh'] == found['local']
