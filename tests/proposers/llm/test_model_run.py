"""A whole run with a language model that fails in every way: no trial is lost, no cap is passed."""

import random

import pytest
from helpers import model_faults, synthetic_run
from helpers.synthetic_run import Arithmetic, run

from autoresearch_jax import types
from autoresearch_jax.ledger.events import Consulted, Decided, Declined, Edited, Finished, Released
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.testing import loopback_model as loopback

START = model_faults.PROGRAM
FAULTS = 100


class Scored(Arithmetic):
  """Every program has a score, whatever it says."""

  def measured(self, x, y, luck, seed, request):
    raise NotImplementedError

  def result(self, request):
    digest = request.program.digest
    value = 1 + int(digest[:6], 16) / 16**6
    runs = tuple(types.Measurement(s, {'val_loss': value}, types.Cost()) for s in request.seeds)
    return types.Result(request.trial, types.Status.OK, '', digest, None, runs)


def widen(draws):
  """The answer of a model in its right mind: a width that the program did not have."""

  def rule(request):
    shown = loopback.turn_texts(request)[0]
    old = next((line for line in shown.splitlines() if line.startswith('WIDTH = ')), None)
    if old is None:  # it is asked for lessons
      return loopback.answer('{"lessons": []}')
    return loopback.answer(loopback.edit(old, f'WIDTH = {draws.randrange(65, 10**6)}'))

  return rule


@pytest.fixture
def server(monkeypatch, secret):
  monkeypatch.setattr(synthetic_run, 'START', START)
  draws = random.Random(5)
  faults = [fault for fault in model_faults.FAULTS if fault is not model_faults.FAULTS[0]]
  with loopback.serving(widen(draws)) as server:
    faults.append(loopback.drip(server))
    server.script = [faults[draws.randrange(len(faults))] for _ in range(FAULTS)]
    yield server


@pytest.mark.slow
def test_a_hundred_faults_in_one_run_lose_no_trial_and_pass_no_cap(api, tmp_path, server):
  proposer = api.proposer(
    models=('m',), prices=(('m', 1.0, 10.0),), base_url=api.url(server), initial_delay=0.0,
    attempts=3, timeout_seconds=1.0, max_output_tokens=2000, max_calls=140,
    max_dollars=20.0, max_total_tokens=10**8, lessons_interval=10,
  )  # fmt: skip
  trials = 0
  while len(server.requests) < FAULTS + 10 and trials < 300:
    trials += 20  # each start of the same run is allowed some more
    live = run(tmp_path, trials, proposer=proposer, executor=Scored())
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    events = [record.event for record in ledger.records()]
  edited = [event.trial for event in events if isinstance(event, Edited)]
  assert edited == list(range(trials))
  for kind in (Finished, Decided):
    assert sorted(event.trial for event in events if isinstance(event, kind)) == edited
  assert sum(isinstance(event, Released) for event in events) > 10
  assert not any(isinstance(event, Declined) and event.failed for event in events)
  spend = live.history.spend
  assert len(server.requests) >= FAULTS
  assert spend.calls == len(server.requests) <= 140
  assert spend.dollars <= 20.0
  calls = {event.exchange.id for event in events if isinstance(event, Consulted)}
  ends = [e.exchange.id for e in events if isinstance(e, Consulted) and e.exchange.state != 'sent']
  assert sorted(ends) == sorted(calls)
  assert {edit.author for edit in live.history.edits.values()} == {'', 'm'}
  assert loopback.KEY not in (tmp_path / 'ledger.db').read_bytes().decode(errors='replace')
  assert not any(loopback.KEY in repr(event) for event in events)
