"""Every registered strategy, under every acceptance rule, in the whole loop: replay equals live."""

import itertools

import msgspec
import pytest
from helpers.registered import ours
from helpers.synthetic_run import Arithmetic, replay_records, run

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.search import STRATEGIES

NEEDS_MORE = {
  'gp': 'torch',
  'nevergrad': 'nevergrad',
  'smac': 'smac',
}  # what is not installed with the tests
RULES = itertools.cycle(sorted(ours(ACCEPTANCE)))
CASES = [(name, next(RULES)) for name in sorted(ours(STRATEGIES))]


@pytest.mark.parametrize(('name', 'rule'), CASES)
def test_replay_equals_the_live_state_byte_for_byte(name, rule, tmp_path):
  if name in NEEDS_MORE:
    pytest.importorskip(NEEDS_MORE[name])
  parts = {'strategy': STRATEGIES.make(name), 'acceptance': ACCEPTANCE.make(rule)}
  for trials in (7, 16):  # the second session goes on where the first one stopped
    live = run(tmp_path, trials, executor=Arithmetic(slots=2), **parts)
  assert len(live.history.trials) == 16
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    history, states = replay_records(ledger.records(), STRATEGIES.make(name), ACCEPTANCE.make(rule))
  assert states.encoded() == live.states.encoded()
  assert msgspec.json.encode(history.trials) == msgspec.json.encode(live.history.trials)
