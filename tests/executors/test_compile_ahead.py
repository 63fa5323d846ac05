"""Programs that are compiled while another one trains: what they cost that one is nothing."""

import dataclasses
import os
import pathlib
import signal
import time

import jax.export
import pytest
from helpers.executor_contract import as_program, make, result_of, results_of
from helpers.tiny_language import program

from autoresearch_jax.artifact.header import Header, pack, unpack
from autoresearch_jax.executors import slot
from autoresearch_jax.types import Budget, Status, TrialRequest

pytestmark = pytest.mark.slow

SLOW = 'for _ in range(40): gradient = gradient + 1e-9 * jnp.sin(gradient @ gradient)'
LONG = Budget(6000, 'steps')
TRAINS = as_program(program(step=SLOW))


@pytest.fixture
def local(tmp_path):
  made = make('local', tmp_path)
  made.compile_ahead = True
  yield made
  made.close()


def checked_beside(local, *programs):
  """Runs a trial beside which these are checked; its result, and how often it began to train.

  They were traced before, so that the trial does not end before the runner prepares them.
  """
  ahead, local.compile_ahead = local.compile_ahead, False
  result_of(local, TrialRequest(0, TRAINS, (0,), Budget(1, 'steps')))
  assert [local.check(each, LONG) for each in programs] == [''] * len(programs)
  local.compile_ahead = ahead
  begun, waiting = [], list(programs)

  def each(news):
    if news.phase == 'train' and news.step == 0:
      begun.append(news.seed)
    if news.phase == 'train' and news.step and waiting:
      assert local.check(waiting.pop(0), LONG) == ''

  return result_of(local, TrialRequest(1, TRAINS, (0,), LONG), each), len(begun)


def preparing_ends(local):
  """Waits until its runner has said so, which it does between answers."""
  for _ in range(100):
    if not local._all_slots[0].runner.prefetching:
      return
    time.sleep(0.1)
    result_of(local, TrialRequest(0, TRAINS, (0,), Budget(1, 'steps')))
  raise AssertionError('it prepares for ever')


def crashing(path: pathlib.Path) -> None:
  """Makes a module of the artifact nest deeper than MLIR's reader can bear: it overflows."""
  header, modules = unpack(path.read_bytes())
  exported = jax.export.deserialize(bytearray(modules[1]))
  deep = b'module attributes {x.y = ' + 200_000 * b'[' + 200_000 * b']' + b'} {}'
  exported = dataclasses.replace(exported, mlir_module_serialized=deep)
  modules = (modules[0], bytes(exported.serialize()), *modules[2:])
  fields = {name: getattr(header, name) for name in header.__struct_fields__}
  fields['module_bytes'] = tuple(map(len, modules))
  path.write_bytes(pack(Header(**fields), modules))


def before_preparing(monkeypatch, act):
  """Has `act` happen to the artifact of what is to be compiled ahead, just before."""
  real, paths = slot.RunnerClient.prefetch, []

  def prefetch(self, artifact, compile):
    if compile:
      act(artifact)
      paths.append(artifact)
    real(self, artifact, compile)

  monkeypatch.setattr(slot.RunnerClient, 'prefetch', prefetch)
  return paths


def test_a_new_structure_is_compiled_when_its_turn_comes(local, tmp_path):
  new = as_program(program(batch=4))
  whole, _ = checked_beside(local, new)
  assert whole.status == Status.OK
  preparing_ends(local)
  result = result_of(local, TrialRequest(2, new, (0,), LONG))
  (tmp_path / 'alone').mkdir()
  alone = make('local', tmp_path / 'alone')
  try:
    fresh = result_of(alone, TrialRequest(2, new, (0,), LONG))
  finally:
    alone.close()
  assert result.measurements[0].metrics == fresh.measurements[0].metrics
  assert result.fingerprint == fresh.fingerprint
  found, compiled = (each.measurements[0].cost.compile_seconds for each in (result, fresh))
  assert found < 0.5 * compiled


def test_a_crash_of_what_is_prepared_costs_a_retry_and_is_its_own(local, monkeypatch):
  whole = result_of(local, TrialRequest(0, TRAINS, (0,), LONG))
  paths = before_preparing(monkeypatch, crashing)
  forged, other = as_program(program(batch=4)), as_program(program(batch=2))
  runner = local.pids()['runner']
  result, begun = checked_beside(local, forged, forged)
  assert local.pids()['runner'] != runner
  assert (result.status, begun) == (Status.OK, 2)
  assert result.measurements[0].metrics == whole.measurements[0].metrics
  assert len(paths) == 1  # once is enough
  result, begun = checked_beside(local, forged)
  assert (result.status, begun, len(paths)) == (Status.OK, 1, 1)
  own = result_of(local, TrialRequest(2, forged, (0,), LONG))
  assert own.status == Status.CRASH
  assert 'SIGSEGV' in own.reason and 'during load' in own.reason
  monkeypatch.undo()
  result, begun = checked_beside(local, other)
  assert (result.status, begun) == (Status.OK, 1)


def never_read(path: pathlib.Path) -> None:
  """Puts a pipe in the artifact's place, at which a reader waits for ever."""
  path.unlink()
  os.mkfifo(path)


def test_a_hang_of_what_is_prepared_ends_with_the_runner_between_trials(tmp_path, monkeypatch):
  local = make('local', tmp_path, compile_seconds=4.0)
  local.compile_ahead = True
  try:
    before_preparing(monkeypatch, never_read)
    hung = as_program(program(batch=4))
    result_of(local, TrialRequest(0, TRAINS, (0,), LONG))
    runner = local.pids()['runner']
    result, begun = checked_beside(local, hung)
    assert (result.status, begun, local.pids()['runner']) == (Status.OK, 1, runner)
    time.sleep(4.0)
    again = result_of(local, TrialRequest(2, TRAINS, (0,), LONG))
    assert again.status == Status.OK
    assert again.measurements[0].metrics == result.measurements[0].metrics
    assert local.pids()['runner'] != runner
    own = result_of(local, TrialRequest(3, hung, (0,), LONG))
    assert own.status == Status.TIMEOUT
    assert 'no progress for 4 s during load (limits.compile_seconds)' in own.reason
  finally:
    local.close()


def test_a_crash_with_nothing_beside_it_is_no_retry(local):
  def kill(news):
    if news.phase == 'train' and news.step:
      os.kill(local.pids()['runner'], signal.SIGSEGV)

  result = result_of(local, TrialRequest(1, TRAINS, (0,), LONG), kill)
  assert (result.status, result.measurements) == (Status.CRASH, ())


def test_a_run_that_is_closed_while_it_prepares_leaves_no_process(local, monkeypatch):
  prepared = before_preparing(monkeypatch, lambda path: None)
  local.submit(TrialRequest(1, TRAINS, (0,), Budget(10**9, 'steps')))
  while not any(getattr(news, 'step', 0) for news in local.wait(1.0)):
    pass
  assert local.check(as_program(program(batch=4)), LONG) == ''
  assert len(prepared) == 1
  pids = local.pids()
  local.close()
  for pid in filter(None, pids.values()):
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def test_of_several_slots_that_prepares_which_will_be_free_first(tmp_path, monkeypatch):
  prepared = []
  monkeypatch.setattr(slot.Slot, 'prefetch', lambda self, *_: prepared.append(self))
  local = make('local_slots', tmp_path)
  local.compile_ahead = True
  requests = [TrialRequest(trial, TRAINS, (0,), LONG) for trial in (1, 2)]

  def each(news):
    if news.phase == 'train' and news.step and not prepared:
      assert local.check(as_program(program(batch=4)), LONG) == ''
      busy = [each for each in local._all_slots if each.request is not None]
      assert len(busy) < 2 or prepared == [min(busy, key=lambda each: each.began)]

  try:
    assert {result.status for result in results_of(local, requests, each)} == {Status.OK}
    assert len(prepared) == 1
  finally:
    local.close()


def test_off_where_it_would_take_from_the_training(local, monkeypatch):
  prepared = before_preparing(monkeypatch, lambda path: None)
  local.compile_ahead = None
  checked_beside(local, as_program(program(batch=4)))
  assert prepared == []
  local.spec = dataclasses.replace(local.spec, platform='tpu')
  assert local._compiles_ahead
