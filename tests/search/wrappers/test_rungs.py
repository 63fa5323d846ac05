"""Programs of an inner strategy start on a small budget and climb by ASHA's rule."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search.archive import score_of
from autoresearch_jax.search.wrappers.rungs import BudgetRungs
from autoresearch_jax.testing.strategies import OBJECTIVE, OUTCOMES, baseline, finished, play

OK, CANCELLED = types.Status.OK, types.Status.CANCELLED
IMPROVE, PROMOTE = types.Operation.IMPROVE, types.Operation.PROMOTE
FIXTURE = HealthCheck.function_scoped_fixture
RNG = np.random.default_rng(0)


def run(strategy, losses, steps):
  """One trial after the other; a promotion has the loss of its original, and is kept at the top."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(9.0))
  losses, of, log = list(losses), {}, []
  for number in range(1, steps + 1):
    proposal, state = strategy.ask(state, RNG)
    config = proposal.parents[0] if proposal.operation is PROMOTE else number
    of.setdefault(config, losses.pop(0) if proposal.operation is not PROMOTE else None)
    log.append((proposal.operation, proposal.parents, round(1 / proposal.fidelity)))
    state = strategy.tell(state, finished(number, proposal, (OK, True, of[config])))
  return log, state


def test_new_programs_start_low_and_the_best_third_climbs():
  log, _ = run(BudgetRungs(num_rungs=2), [5, 1, 4, 3], 5)
  assert log == [
    (IMPROVE, (0,), 3), (IMPROVE, (0,), 3), (IMPROVE, (0,), 3),
    (PROMOTE, (2,), 1),
    (IMPROVE, (4,), 3),  # the inner strategy climbs from the trial on the whole budget
  ]  # fmt: skip


def test_the_inner_strategy_hears_of_short_runs_as_stopped_and_of_full_ones_in_its_own_terms(
  scribe,
):
  strategy = BudgetRungs(scribe, num_rungs=2)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(9.0))
  for number in range(1, 5):
    proposal, state = strategy.ask(state, RNG)
    state = strategy.tell(state, finished(number, proposal, (OK, False, float(number))))
  assert proposal.operation is PROMOTE and proposal.parents == (1,)
  _, *short, full = [trial for trial in state.inner if trial != 'asked']
  assert [trial.id for trial in short] == [2, 3]  # and trial 1 climbs
  for trial in short:
    assert trial.result.status is CANCELLED and score_of(OBJECTIVE, trial) is None
    assert trial.result.reason == 'Stopped at 33.33% of the budget.'
  assert (full.id, full.result.status, score_of(OBJECTIVE, full)) == (4, OK, -4.0)
  assert {trial.proposal for trial in (*short, full)} == {types.Proposal(IMPROVE, (0,))}


def test_failures_are_told_as_they_are_and_do_not_climb():
  strategy = BudgetRungs(num_rungs=2)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline())
  for number in range(1, 7):
    proposal, state = strategy.ask(state, RNG)
    state = strategy.tell(state, finished(number, proposal, (types.Status.OOM, False, 0.0)))
    assert proposal.operation is IMPROVE
  assert state.inner.recent == tuple(range(7))


def test_repeats_and_short_runs_of_the_inner_strategy_go_through_unchanged():
  strategy = BudgetRungs('asha', {'num_rungs': 2, 'parent': 'root'})
  log, state = run(strategy, [5, 1, 4], 4)
  assert log[3] == (PROMOTE, (2,), 1)
  assert len(state.results.configs) == 0  # the inner strategy promotes, not the wrapper
  replicate = types.Proposal(types.Operation.REPLICATE, (0,), seeds=(1, 2))
  state = strategy.tell(state, finished(5, replicate, (OK, True, 0.5)))
  assert state.inner.incumbent == 5


def test_a_promotion_keeps_the_seeds_it_was_asked_with(scribe):
  strategy = BudgetRungs(scribe, {'draws_seed': True}, num_rungs=2)
  state, seeds = strategy.init(OBJECTIVE), {}
  for number in range(1, 4):
    proposal, state = strategy.ask(state, RNG)
    seeds[number] = proposal.seeds
    state = strategy.tell(state, finished(number, proposal, (OK, False, 1.0)))
  promotion, _ = strategy.ask(state, RNG)
  assert promotion.operation is PROMOTE and promotion.seeds == seeds[promotion.parents[0]]


def test_what_is_overtaken_is_told_as_stopped_and_never_climbs(scribe):
  strategy = BudgetRungs(scribe, {'draws_seed': True}, num_rungs=2)
  told = []
  losses = [3.0, 2.0, 4.0, 2.5, 1.0]  # the fourth is second of four when it comes
  state, names = strategy.init(OBJECTIVE), iter(range(1, 9))
  for loss in losses:
    proposal, state = strategy.ask(state, RNG)
    if proposal.operation is PROMOTE:
      told.append(proposal.parents)
      state = strategy.tell(state, finished(20, proposal, (OK, False, 9.0)))
      proposal, state = strategy.ask(state, RNG)
    state = strategy.tell(state, finished(next(names), proposal, (OK, False, loss)))
    told.append([t.id for t in state.inner if isinstance(t, types.Trial)])
  # One at most waits; trial 4 is among the first ⌈4/3⌉ = 2 of its rung until trial 5 comes.
  assert told == [[], [1], [1, 3], (2,), [1, 3, 20], [1, 3, 20, 4]]
  assert [waiting.config for waiting in state.candidates] == [5]


@settings(max_examples=60, deadline=None, suppress_health_check=[FIXTURE])
@given(outcomes=OUTCOMES, parallel=st.integers(1, 4), rungs=st.integers(1, 3))
def test_each_proposal_of_the_inner_strategy_is_told_of_or_still_under_way(
  scribe, outcomes, parallel, rungs
):
  strategy = BudgetRungs(scribe, {'draws_seed': True}, reduction_factor=2, num_rungs=rungs)
  _, state = play(strategy, outcomes, parallel=parallel)
  told = [entry.proposal for entry in state.inner if isinstance(entry, types.Trial)]
  asked = [entry for entry in state.inner if isinstance(entry, types.Proposal)]
  waiting = [waiting.trial.proposal for waiting in state.candidates]
  mine = [proposal for proposal in told if proposal in asked]
  assert sorted(p.seeds for p in (*mine, *waiting)) == sorted(p.seeds for p in asked)
  assert len(waiting) <= parallel * rungs


def test_a_ladder_that_leads_nowhere_is_refused():
  with pytest.raises(ValueError, match='reduction_factor is 1'):
    BudgetRungs(reduction_factor=1)
