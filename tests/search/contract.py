"""What every strategy must do. A new strategy adds one line to STRATEGY_CASES."""

import copy
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES

# (registered name, options to test it with)
STRATEGY_CASES = [
  ('greedy', {}),
  ('greedy', {'shown': 0}),
  ('random', {}),
]

OBJECTIVE = types.Objective('val_loss', 'minimize')
PROGRAM = types.Program((('model.py', 'WIDTH = 4\n'),), 'model.py')

every_strategy = pytest.mark.parametrize(('name', 'options'), STRATEGY_CASES)
histories = st.lists(
  st.tuples(st.sampled_from(list(types.Status)), st.booleans(), st.floats(0, 9)), max_size=12
)


def trial(number, status=types.Status.OK, kept=True, value=1.0, proposal=None):
  """A finished and decided trial."""
  ok = status is types.Status.OK
  measurements = (types.Measurement(0, {'val_loss': value}, types.Cost()),) if ok else ()
  decision = (types.Decision.KEEP if kept else types.Decision.DISCARD) if ok else 'crash'
  return types.Trial(
    number,
    proposal or types.Proposal(types.Operation.DRAFT),
    types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim')),
    types.Result(number, status, measurements=measurements),
    types.Verdict(types.Decision(decision), 'a reason'),
  )


def run(strategy, history, seed=0, flying=1):
  """Asks and tells through a whole history, `flying` trials at once, told newest first."""
  state = strategy.tell(strategy.init(OBJECTIVE), trial(0))
  proposals, pending, told = [], [], {0}
  for number, (status, kept, value) in enumerate(history, start=1):
    rng = np.random.default_rng((seed, number))
    proposal, state = strategy.ask(state, rng)
    assert set(proposal.parents) | set(proposal.context) <= told
    proposals.append(proposal)
    pending.append(trial(number, status, kept, value, proposal))
    if len(pending) == flying or number == len(history):
      for finished in reversed(pending):
        state = strategy.tell(state, finished)
        told.add(finished.id)
      pending = []
  return proposals, state


@every_strategy
@settings(max_examples=25, deadline=None)
@given(history=histories, flying=st.integers(1, 4))
def test_any_results_in_any_order_are_taken_and_proposals_name_known_trials(
  name, options, history, flying
):
  strategy = STRATEGIES.make(name, options)
  proposals, _ = run(strategy, history, flying=flying)
  assert len(proposals) == len(history)


@every_strategy
@settings(max_examples=10, deadline=None)
@given(history=histories)
def test_the_same_events_give_the_same_state_also_through_json(name, options, history):
  strategy = STRATEGIES.make(name, options)
  proposals, state = run(strategy, history)
  again, same = run(strategy, history)
  assert (proposals, state) == (again, same)
  assert types.from_json(types.to_json(state), type(state)) == state


@every_strategy
def test_ask_and_tell_leave_the_state_they_were_given(name, options):
  strategy = STRATEGIES.make(name, options)
  _, state = run(strategy, [(types.Status.OK, True, 1.0)] * 3)
  before = copy.deepcopy(state)
  strategy.ask(state, np.random.default_rng(0))
  strategy.tell(state, trial(4))
  assert state == before


@every_strategy
def test_asking_before_anything_is_known_edits_the_start(name, options):
  strategy = STRATEGIES.make(name, options)
  proposal, _ = strategy.ask(strategy.init(OBJECTIVE), np.random.default_rng(0))
  assert proposal.parents == ()


@every_strategy
def test_the_global_generator_is_not_touched(name, options):
  before = np.random.get_state()[1].copy()
  run(STRATEGIES.make(name, options), [(types.Status.OK, True, 1.0)] * 3)
  assert (np.random.get_state()[1] == before).all()


def test_another_process_proposes_the_same():
  code = (
    'import sys; sys.path.insert(0, sys.argv[1]); import contract, json\n'
    'for case in contract.STRATEGY_CASES: print(contract.digest(*case))'
  )
  folder = __file__.rsplit('/', 1)[0]
  other = subprocess.run(
    [sys.executable, '-c', code, folder], capture_output=True, text=True, check=True
  )
  assert other.stdout.split() == [digest(*case) for case in STRATEGY_CASES]


def digest(name, options):
  """Proposals and state after a fixed history, as one word."""
  ok, crash = types.Status.OK, types.Status.CRASH
  history = [(ok, True, 1.0), (crash, False, 0.0), (ok, False, 2.0), (ok, True, 0.5)] * 3
  return msgspec.json.encode(run(STRATEGIES.make(name, options), history, seed=7)).hex()


def test_every_registered_strategy_is_in_the_battery():
  assert {name for name, _ in STRATEGY_CASES} == set(STRATEGIES.names())
