"""The contract tests that every strategy passes, ours and other packages'.

    class TestMine(StrategyContract):
      def strategy(self):
        return Mine()

A strategy that is told any results in any order must keep proposing valid trials, must not modify
its arguments, and must propose the same in another process. The last takes two fresh interpreters,
half a second each. To check many strategies in one go, set `test_same_in_another_process = None`
and call `digests_elsewhere` with all of them.
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
from autoresearch_jax.testing import other_process

OBJECTIVE = types.Objective('val_loss', 'minimize')
# Has constants for the strategies that sample constants.
START = types.Program(
  (('model.py', 'WIDTH = 4\nRATE = 0.5\nDECAY = 0.1\nBETAS = (0.8, 0.95)\n'),), 'model.py'
)
KEPT, DISCARDED, CRASHED = types.Decision.KEEP, types.Decision.DISCARD, types.Decision.CRASH

# (status, whether acceptance keeps it, metric) of a trial after the baseline.
Outcome = tuple[types.Status, bool, float]
OUTCOMES = st.lists(
  st.tuples(
    st.sampled_from([*types.Status, *[types.Status.OK] * 6]),
    st.booleans(),
    st.floats(0, 9, width=32),
  ),
  max_size=12,
)
HASH_SEEDS = (1, 2)  # PYTHONHASHSEED of the processes that must propose the same
_SETTINGS = settings(
  max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)


def finished(
  number: int, proposal: types.Proposal, outcome: Outcome, edit: types.Edit | None = None
) -> types.Trial:
  """Returns a decided trial.

  Args:
    number: Trial id.
    proposal: Its proposal.
    outcome: Its status, whether it is kept, and its metric.
    edit: Its edit; by default the proposal's, or one with a new program.
  """
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
  """Returns trial 0, kept with this metric."""
  proposal, unchanged = (
    types.Proposal(types.Operation.DRAFT),
    types.Edit(START, 'baseline', types.Hypothesis('')),
  )
  return finished(0, proposal, (types.Status.OK, True, value), unchanged)


def play(
  strategy: Strategy, outcomes: Sequence[Outcome], seed: int = 0, parallel: int = 1
) -> tuple[list[types.Proposal], Any]:
  """Runs a strategy on a list of outcomes.

  Every fourth trial is a replication of the last finished one, as acceptance requests them.

  Args:
    strategy: The strategy.
    outcomes: One per trial after the baseline.
    seed: Root seed of the asks.
    parallel: Trials that run at once; of these, the newest finishes first.

  Returns:
    The strategy's proposals, and its final state.
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
    if len(pending) == parallel or number == len(outcomes):
      for told in reversed(pending):
        state = strategy.tell(state, told)
        known[told.id] = told
      pending = []
  return proposals, state


def require_valid(proposal: types.Proposal, known: dict[int, types.Trial]) -> None:
  """Asserts that the research loop can run a proposal, given the finished trials by id."""
  assert {*proposal.parents, *proposal.context} <= set(known), (
    'refers to a trial that has not finished'
  )
  assert len(set(proposal.context)) == len(proposal.context), 'has a trial in its context twice'
  assert 0 < proposal.fidelity <= 1
  assert proposal.seeds and len(set(proposal.seeds)) == len(proposal.seeds)
  assert proposal.guidance in ('', *types.GUIDANCE)
  assert types.from_json(types.to_json(proposal), types.Proposal) == proposal
  needed = {types.Operation.MERGE: 2, types.Operation.DRAFT: 0}.get(proposal.operation)
  repeats = proposal.operation in types.RERUNS
  assert len(proposal.parents) >= (needed if needed is not None else 1), 'has too few parents'
  assert not (repeats and proposal.edit), 'repeats a program and carries an edit'


def same(one: Any, other: Any) -> bool:
  """Returns whether two values encode to the same JSON."""
  return types.to_json(one) == types.to_json(other)


def digest(strategy: Strategy) -> str:
  """Returns a hash of the proposals and the state after a fixed list of outcomes."""
  ok, crash = types.Status.OK, types.Status.CRASH
  history = [(ok, True, 1.0), (crash, False, 0.0), (ok, False, 2.0), (ok, True, 0.5)] * 3
  return hashlib.sha256(types.to_json(play(strategy, history, seed=7))).hexdigest()


def digests_elsewhere(strategies: Sequence[Strategy], hash_seed: int) -> list[str]:
  """Returns the `digest` of each strategy from another process with this PYTHONHASHSEED.

  Raises:
    other_process.NotPicklable: A strategy cannot be taken to another process.
    RuntimeError: The other process failed.
  """
  return other_process.run_module('autoresearch_jax.testing.strategies', strategies, hash_seed)


class StrategyContract:
  """Subclass it and return a strategy; pytest runs the tests."""

  def strategy(self) -> Strategy:
    """Returns a new instance of the strategy under test."""
    raise NotImplementedError

  def test_it_is_a_strategy(self):
    assert isinstance(self.strategy(), Strategy), 'does not subclass autoresearch_jax.Strategy'

  @_SETTINGS
  @given(outcomes=OUTCOMES, parallel=st.integers(1, 4))
  def test_proposals_are_valid_after_any_results_in_any_order(self, outcomes, parallel):
    play(self.strategy(), outcomes, parallel=parallel)

  @_SETTINGS
  @given(outcomes=OUTCOMES, parallel=st.integers(1, 3))
  def test_the_same_events_give_the_same_state(self, outcomes, parallel):
    proposals, state = play(self.strategy(), outcomes, parallel=parallel)
    again, folded = play(self.strategy(), outcomes, parallel=parallel)
    assert same(proposals, again)
    assert same(state, folded)

  def test_same_in_another_process(self):
    here = digest(self.strategy())
    for hash_seed in HASH_SEEDS:
      try:
        there = digests_elsewhere([self.strategy()], hash_seed)
      except other_process.NotPicklable as reason:
        raise unittest.SkipTest(str(reason)) from None
      assert there == [here], f'proposes differently in a process with PYTHONHASHSEED={hash_seed}'

  def test_the_state_is_plain_data(self):
    _, state = play(self.strategy(), [(types.Status.OK, True, 1.0)] * 9)
    encoded = types.to_json(state)
    assert types.to_json(types.from_json(encoded, type(state))) == encoded

  def test_ask_and_tell_do_not_modify_the_state(self):
    strategy = self.strategy()
    outcomes = [(types.Status.OK, n % 2 == 0, 1 / n) for n in range(1, 10)]
    _, state = play(strategy, outcomes)
    before, encoded = copy.deepcopy(state), types.to_json(state)
    proposal, _ = strategy.ask(state, np.random.default_rng(0))
    strategy.tell(state, finished(20, proposal, (types.Status.OK, True, 0.1)))
    assert same(state, before) and types.to_json(state) == encoded

  def test_the_generator_is_the_only_source_of_randomness(self):
    strategy = self.strategy()
    _, state = play(strategy, [(types.Status.OK, True, 1.0)] * 5)
    before = repr(np.random.get_state())
    first, second = (strategy.ask(state, np.random.default_rng(7)) for _ in range(2))
    assert same(first, second)
    assert repr(np.random.get_state()) == before

  def test_the_first_ask_edits_the_start(self):
    strategy = self.strategy()
    proposal, _ = strategy.ask(strategy.init(OBJECTIVE), np.random.default_rng(0))
    assert proposal.parents == ()

  def test_it_keeps_proposing_when_every_trial_fails(self):
    for status in types.Status:
      if status is not types.Status.OK:
        proposals, _ = play(self.strategy(), [(status, False, 0.0)] * 30)
        assert proposals

  def test_a_metric_that_is_not_finite_does_not_count_as_a_score(self):
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

  def test_revise_returns_a_valid_proposal(self):
    strategy, first = self.strategy(), baseline()
    state = strategy.tell(strategy.init(OBJECTIVE), first)
    proposal, state = strategy.ask(state, np.random.default_rng(1))
    revised, _ = strategy.revise(state, proposal)
    require_valid(revised, {0: first})


if __name__ == '__main__':
  for _strategy in other_process.read_objects():
    print(digest(_strategy))
