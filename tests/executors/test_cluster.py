"""The executor for many machines, which are played: what runs where, and what is lost."""

import contextlib
import time

import pytest
from helpers.played_cluster import CPU, link, played, request

from autoresearch_jax.executors import Unavailable, cluster
from autoresearch_jax.types import Hardware, Result, SeedResult, Status


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
  monkeypatch.setattr(cluster, 'MIN_DELAY_SECONDS', 0.01)
  monkeypatch.setattr(cluster, 'POLL_SECONDS', 0.02)


@pytest.fixture
def make(tmp_path):
  """Makes clusters, and closes them in the end."""
  with contextlib.ExitStack() as stack:

    def make(**machines):
      made = played(tmp_path, **machines)
      stack.callback(made.close)
      return made

    yield make


def until(condition, executor=None, events=None):
  """Waits until a condition holds, and gathers the executor's events meanwhile."""
  deadline = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < deadline
    if executor is None:
      time.sleep(0.005)
    else:
      events += executor.wait(0.01)


def results(executor, count=1, events=None):
  events = [] if events is None else events
  until(lambda: sum(isinstance(e, Result) for e in events) >= count, executor, events)
  return [event for event in events if isinstance(event, Result)]


def only(link):
  """The number of the one trial that a machine runs."""
  until(lambda: len(link.requests) == 1)
  return next(iter(link.requests))


def test_each_machine_adds_its_slots_and_gets_its_trials(make):
  a, b = link(2), link(1)
  executor = make(a=[a], b=[b])
  assert (executor.slots, executor.hardware()) == (3, CPU)
  for trial in range(4):
    executor.submit(request(trial, text=f'WIDTH = {trial}'))
  until(lambda: (len(a.requests), len(b.requests)) == (2, 1))
  b.finish(only(b))
  (result,) = results(executor)
  assert result.facts['host'] == 'b'
  until(lambda: len(b.requests) == 1)  # the fourth


def test_seeds_spread_over_machines(make):
  links = [link() for _ in range(3)]
  executor = make(**dict(zip('abc', ([one] for one in links), strict=True)))
  executor.submit(request(5, seeds=(0, 1, 2)))
  for one in links:
    one.finish(only(one))
  (result,) = results(executor)
  assert (result.trial, [m.seed for m in result.measurements]) == (5, [0, 1, 2])


def test_what_ran_on_a_lost_machine_runs_elsewhere_without_the_seeds_that_are_done(make):
  a, b = link(), link()
  executor = make(a=[a], b=[b])
  executor.submit(request(0, text='WIDTH = 1'))
  executor.submit(request(1, seeds=(0, 1), text='WIDTH = 2'))
  until(lambda: a.requests and b.requests)
  events = []
  b.finish(only(b))  # the first seed of trial 1
  until(lambda: any(isinstance(e, SeedResult) for e in events), executor, events)
  assert b.requests[only(b)].seeds == (1,)
  b.hang_up()
  until(lambda: executor.slots == 1)
  a.finish(only(a))
  until(lambda: [r.seeds for r in a.requests.values()] == [(1,)])
  a.finish(only(a))
  outcomes = {r.trial: r for r in results(executor, 2, events)}
  assert [m.seed for m in outcomes[1].measurements] == [0, 1]
  assert {r.status for r in outcomes.values()} == {Status.OK}


def test_a_done_seed_inside_a_part_is_not_repeated(make):
  a, b = link(), link()
  executor = make(a=[a], b=[])
  executor.submit(request(1, seeds=(0, 1)))
  first = only(a)
  events = []
  a.finish_seed(first, 0)  # and the machine is lost before it sends the result
  until(lambda: any(isinstance(e, SeedResult) for e in events), executor, events)
  executor.machines['b'].append(b)
  a.hang_up()
  number = only(b)
  assert [run.measurement.seed for run in b.requests[number].done] == [0]


def test_a_machine_joins_late_and_one_that_was_lost_returns(make):
  first, second, third = link(), link(), link()
  executor = make(a=[first], b=[])
  assert executor.slots == 1
  executor.machines['b'].append(second)
  until(lambda: executor.slots == 2)
  first.hang_up()
  executor.machines['a'].append(third)
  until(lambda: executor.links['a'] is third and executor.slots == 2)


def test_a_machine_that_is_added_to_the_list_joins_and_one_that_is_removed_leaves(make):
  executor = make(a=[link()])
  executor.machines['b'] = [link()]
  until(lambda: executor.slots == 2)
  del executor.machines['a']
  until(lambda: executor.slots == 1)
  executor.submit(request(0))
  assert only(executor.links['b']) is not None


def test_a_machine_of_another_kind_is_refused_with_a_sentence(make, capsys):
  executor = make(a=[link()], b=[])
  executor.machines['b'].append(link(hardware=Hardware('TPU v5 lite', 1)))
  printed = ''

  def refused():
    nonlocal printed
    printed += capsys.readouterr().err
    return 'b: Its devices differ' in printed

  until(refused)
  assert '1 x TPU v5 lite' in printed and '2 x cpu' in printed
  assert executor.slots == 1


def test_a_run_without_any_machine_is_unavailable_and_says_why_for_each(make):
  executor = make(a=[link(refuses='Its version of jax differs.')], b=[])
  executor.submit(request(0))
  with pytest.raises(Unavailable, match=r'a: Its version of jax differs.*b: It cannot be reached'):
    executor.wait(30.0)


def test_a_run_that_lost_its_machines_waits_for_them_for_a_while(make):
  executor = make(a=[link()])
  executor.patience_seconds = 0.1
  executor.links['a'].hang_up()
  with pytest.raises(Unavailable, match=r'No machine could be used for 0\.1 s'):
    until(lambda: False, executor, [])


def test_a_program_that_loses_machine_after_machine_is_a_crash(make):
  links = [link() for _ in range(4)]
  executor = make(a=list(links))
  executor.submit(request(7))
  for one in links[:3]:
    only(one)
    one.hang_up()
  (result,) = results(executor)
  assert (result.trial, result.status) == (7, Status.CRASH)
  assert '3 machines that were lost' in result.reason
  executor.submit(request(8))
  only(links[3])


def test_fingerprints_cross_once(make):
  a = link()
  executor = make(a=[a])
  known = [{'f': 1}, {'f': 1, 'g': 2}, {}]
  for trial, found in enumerate(known):
    executor.submit(request(trial, known=found))
    a.finish(only(a))
    results(executor)
  submits = [message for message in a.sent if 'submit' in message]
  assert [m['submit']['known'] for m in submits] == [{'f': 1}, {'g': 2}, {}]
  assert [m['compare'] for m in submits] == [True, True, False]


def test_a_check_is_answered_by_the_machine_that_then_runs_the_program(make):
  a, b = link(), link()
  executor = make(a=[a], b=[b])

  def answer(one):
    sent = one.send

    def send(message):
      sent(message)
      if 'check' in message:
        one.answer({'checked': message['check'], 'reason': f'It is bad, says {id(one)}.'})

    one.send = send

  answer(a), answer(b)
  reason = executor.check(request(0, text='WIDTH = 3').program, request(0).budget)
  executor.submit(request(0, text='WIDTH = 3'))
  until(lambda: a.requests or b.requests)
  assert str(id(a if a.requests else b)) in reason


def test_a_check_on_a_machine_that_is_lost_says_nothing(make):
  a = link()
  executor = make(a=[a])
  sent = a.send
  a.send = lambda message: a.hang_up() if 'check' in message else sent(message)
  assert executor.check(request(0).program, request(0).budget) == ''


def test_a_machine_that_cancels_says_so(make):
  a = link()
  executor = make(a=[a])
  executor.submit(request(3, seeds=(0, 1)))
  only(a)
  executor.cancel(3)
  (result,) = results(executor)
  assert (result.trial, result.status) == (3, Status.CANCELLED)


def test_a_result_that_cannot_be_recorded_is_a_crash(make):
  a = link()
  executor = make(a=[a])
  executor.submit(request(3))
  number = only(a)
  a.answer({'result': {'trial': number, 'status': 'ok', 'measurements': [{'seed': 0}]}})
  (result,) = results(executor)
  assert (result.trial, result.status) == (3, Status.CRASH)
  assert 'cannot be recorded' in result.reason
