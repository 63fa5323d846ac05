"""The battery that every strategy passes, ours and third parties'.

    class TestMine(StrategyContract):
      def strategy(self):
        return Mine()

A strategy that is told of a whole history, in any order and with any outcome, must keep proposing
trials that exist, must not touch what it was given, and must answer the same in another process.
The last takes two fresh interpreters, half a second each. Who has many strategies sets
`test_another_process_answers_the_same = None`, and asks for all of them in one go (`elsewhere.py`).
"""

import copy
import hashlib
import unittest
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search import Strategy
from autoresearch_jax.testing import elsewhere

OBJECTIVE = types.Objective('val_loss', 'minimize')
# Constants for the strategies that propose constants themselves; a list, and text to differ by.
START = types.Program(
  (('model.py', 'WIDTH = 4\nRATE = 0.5\nDECAY = 0.1\nBETAS = (0.8, 0.95)\n'),), 'model.py'
)
KEPT, DISCARDED, CRASHED = types.Decision.KEEP, types.Decision.DISCARD, types.Decision.CRASH

# (status, whether acceptance keeps it, metric) of the trials after the baseline.
Outcome = tuple[types.Status, bool, float]
OUTCOMES = st.lists(
  st.tuples(
    st.sampled_from([*types.Status, *[types.Status.OK] * 6]),
    st.booleans(),
    st.floats(0, 9, width=32),
  ),
  max_size=12,
)
HASH_SEEDS = (1, 2)  # of the processes that must answer as this one does
_SETTINGS = settings(
  max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)


def finished(
  number: int, proposal: types.Proposal, outcome: Outcome, edit: types.Edit | None = None
) -> types.Trial:
  """A decided trial; its program is new unless `edit` or the proposal brings one."""
  status, kept, value = outcome
  ok = status is types.Status.OK
  text = START.text() + f'# {number}\n' + f'X{number} = {number * 37 % 11}\n' * (number % 3)
  edit = (
    edit
    or proposal.edit
    or types.Edit(
      START.with_text(text), f'edit {number}', types.Hypothesis('a claim', ('a mechanism',))
    )
  )
  measurements = tuple(
    types.Measurement(
      seed,
      {'val_loss': value + 0.01 * (seed % 3), 'val_other': -value},
      types.Cost(total_seconds=1.0, peak_bytes=number),
    )
    for seed in proposal.seeds
  )
  decision = (KEPT if kept and proposal.fidelity == 1 else DISCARDED) if ok else CRASHED
  return types.Trial(
    number,
    proposal,
    edit,
    types.Result(
      number,
      status,
      reason='' if ok else 'It broke.',
      duplicate_of=0 if status is types.Status.DUPLICATE else None,
      measurements=measurements if ok else (),
    ),
    types.Verdict(decision, 'a reason'),
  )


def baseline(value: float = 1.0) -> types.Trial:
  proposal, unchanged = (
    types.Proposal(types.Operation.DRAFT),
    types.Edit(START, 'baseline', types.Hypothesis('')),
  )
  return finished(0, proposal, (types.Status.OK, True, value), unchanged)


def play(
  strategy: Strategy, outcomes: Sequence[Outcome], seed: int = 0, flying: int = 1
) -> tuple[list[types.Proposal], Any]:
  """Asks and tells through a whole history, `flying` trials at once, told newest first.

  Each fourth trial is a replication of the last one that was told, as acceptance asks for it.
  """
  first = baseline()
  state = strategy.tell(strategy.init(OBJECTIVE), first)
  proposals, pending, known = [], [], {0: first}
  for number, outcome in enumerate(outcomes, start=1):
    if number % 4 == 0:
      last = known[list(known)[-1]]
      proposal = types.Proposal(types.Operation.REPLICATE, (last.id,), seeds=(1, 2))
      trial = finished(number, proposal, outcome, last.edit)
    else:
      proposal, state = strategy.ask(state, np.random.default_rng((seed, number)))
      require_valid(proposal, known)
      proposals.append(proposal)
      trial = finished(number, proposal, outcome)
    pending.append(trial)
    if len(pending) == flying or number == len(outcomes):
      for told in reversed(pending):
        state = strategy.tell(state, told)
        known[told.id] = told
      pending = []
  return proposals, state


def require_valid(proposal: types.Proposal, known: dict[int, types.Trial]) -> None:
  """Asserts that the research loop can act on a proposal."""
  assert {*proposal.parents, *proposal.context} <= set(known), 'names a trial it was not told of'
  assert len(set(proposal.context)) == len(proposal.context), 'shows a trial twice'
  assert 0 < proposal.fidelity <= 1
  assert proposal.seeds and len(set(proposal.seeds)) == len(proposal.seeds)
  assert proposal.guidance in ('', *types.GUIDANCE)
  assert types.from_json(types.to_json(proposal), types.Proposal) == proposal
  needed = {types.Operation.MERGE: 2, types.Operation.DRAFT: 0}.get(proposal.operation)
  repeats = proposal.operation in types.RERUNS
  assert len(proposal.parents) >= (needed if needed is not None else 1), 'has too few parents'
  assert not (repeats and proposal.edit), 'repeats a program and brings another one'


def same(one: Any, other: Any) -> bool:
  return types.to_json(one) == types.to_json(other)


def digest(strategy: Strategy) -> str:
  """Proposals and state after a fixed history, as one word."""
  ok, crash = types.Status.OK, types.Status.CRASH
  history = [(ok, True, 1.0), (crash, False, 0.0), (ok, False, 2.0), (ok, True, 0.5)] * 3
  return hashlib.sha256(types.to_json(play(strategy, history, seed=7))).hexdigest()


class StrategyContract:
  """Subclass it and return a strategy; pytest does the rest."""

  def strategy(self) -> Strategy:
    raise NotImplementedError

  @_SETTINGS
  @given(outcomes=OUTCOMES, flying=st.integers(1, 4))
  def test_any_results_in_any_order_are_taken_and_proposals_are_valid(self, outcomes, flying):
    play(self.strategy(), outcomes, flying=flying)

  @_SETTINGS
  @given(outcomes=OUTCOMES, flying=st.integers(1, 3))
  def test_the_same_events_give_the_same_state(self, outcomes, flying):
    proposals, state = play(self.strategy(), outcomes, flying=flying)
    again, folded = play(self.strategy(), outcomes, flying=flying)
    assert same(proposals, again)
    assert same(state, folded)

  def test_another_process_answers_the_same(self):
    here = digest(self.strategy())
    for hash_seed in HASH_SEEDS:
      try:
        there = elsewhere.answers([self.strategy()], hash_seed)
      except elsewhere.NotPortable as reason:
        raise unittest.SkipTest(str(reason)) from None
      assert there == [here], f'proposes otherwise in a process with PYTHONHASHSEED={hash_seed}'

  def test_the_state_is_plain_data(self):
    _, state = play(self.strategy(), [(types.Status.OK, True, 1.0)] * 9)
    encoded = types.to_json(state)
    assert types.to_json(types.from_json(encoded, type(state))) == encoded

  def test_ask_and_tell_leave_the_state_they_were_given(self):
    strategy = self.strategy()
    outcomes = [(types.Status.OK, n % 2 == 0, 1 / n) for n in range(1, 10)]
    _, state = play(strategy, outcomes)
    before, encoded = copy.deepcopy(state), types.to_json(state)
    proposal, _ = strategy.ask(state, np.random.default_rng(0))
    strategy.tell(state, finished(20, proposal, (types.Status.OK, True, 0.1)))
    assert same(state, before) and types.to_json(state) == encoded

  def test_the_generator_decides_and_nothing_else_is_random(self):
    strategy = self.strategy()
    _, state = play(strategy, [(types.Status.OK, True, 1.0)] * 5)
    before = repr(np.random.get_state())
    first, second = (strategy.ask(state, np.random.default_rng(7)) for _ in range(2))
    assert same(first, second)
    assert repr(np.random.get_state()) == before

  def test_asking_before_anything_is_known_edits_the_start(self):
    strategy = self.strategy()
    proposal, _ = strategy.ask(strategy.init(OBJECTIVE), np.random.default_rng(0))
    assert proposal.parents == ()

  def test_it_goes_on_when_every_trial_failed(self):
    for status in types.Status:
      if status is not types.Status.OK:
        proposals, _ = play(self.strategy(), [(status, False, 0.0)] * 30)
        assert proposals

  def test_a_metric_that_is_not_finite_is_no_score(self):
    strategy = self.strategy()
    state = strategy.tell(strategy.init(OBJECTIVE), baseline())
    known = {0: baseline()}
    for number, value in enumerate([float('nan'), float('inf'), -float('inf'), 0.5], start=1):
      proposal, state = strategy.ask(state, np.random.default_rng(number))
      require_valid(proposal, known)
      known[number] = finished(number, proposal, (types.Status.OK, False, value))
      state = strategy.tell(state, known[number])
    require_valid(strategy.ask(state, np.random.default_rng(9))[0], known)
    types.to_json(state)
