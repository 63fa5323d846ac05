"""The Huxley-Gödel Machine: when it makes programs, and what it counts in clades."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search.hgm import Hgm, should_expand
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH, DUPLICATE = types.Status.OK, types.Status.CRASH, types.Status.DUPLICATE
IMPROVE, REPLICATE = types.Operation.IMPROVE, types.Operation.REPLICATE


def trial(number, parent, loss, operation=IMPROVE, seeds=(0,)):
  """A finished trial; a status instead of a loss is how it failed."""
  failed = isinstance(loss, types.Status)
  outcome = (loss, False, 0.0) if failed else (OK, False, loss)
  return finished(number, types.Proposal(operation, (parent,), seeds=seeds), outcome)


def told(strategy, *trials):
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for one in trials:
    state = strategy.tell(state, one)
  return state


def counts(state, row):
  columns = (state.successes, state.failures, state.clade_successes, state.clade_failures)
  return tuple(int(column.array[row]) for column in columns)


def test_a_program_is_made_while_evaluations_to_the_power_of_0_6_are_enough():
  # 1^0.6 = 1, 2^0.6 = 1.52, 3^0.6 = 1.93, 4^0.6 = 2.30, 6^0.6 = 2.93, 7^0.6 = 3.21
  made = [(0, 0), (1, 1), (4, 2), (7, 3), (100, 15)]
  evaluated = [(2, 2), (3, 2), (6, 3), (100, 16)]
  assert all(should_expand(*case) for case in made)
  assert not any(should_expand(*case) for case in evaluated)


def test_programs_and_evaluations_alternate_so():
  strategy, operations = Hgm(), []
  state = told(strategy)
  for number in range(1, 11):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    operations.append(proposal.operation)
    state = strategy.tell(state, finished(number, proposal, (OK, False, 1 / number)))
  made = [n for n, operation in enumerate(operations) if operation is IMPROVE]
  assert made == [0, 1, 4, 7]  # evaluations before each, as in the table above
  assert state.num_evals == 10


def test_programs_under_way_count():
  strategy = Hgm()
  state, operations = told(strategy), []
  for number in range(4):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    operations.append(proposal.operation)
  assert operations == [IMPROVE, REPLICATE, REPLICATE, REPLICATE]


def test_success_is_a_score_above_the_median_of_the_known_programs():
  strategy = Hgm()
  state = told(strategy)
  assert counts(state, 0) == (0, 0, 0, 0)  # nothing to compare it with
  state = strategy.tell(state, trial(1, 0, 0.5))
  assert counts(state, 1) == (1, 0, 1, 0)
  state = strategy.tell(state, trial(2, 0, 0.8))  # the median is 0.75
  assert counts(state, 2) == (0, 1, 0, 1)
  assert counts(state, 0) == (0, 0, 1, 1)


def test_ancestors_share_the_outcomes_of_their_clade():
  strategy = Hgm()
  chain = [trial(1, 0, 0.9), trial(2, 1, 0.8), trial(3, 0, 5.0), trial(4, 2, 0.7)]
  state = told(strategy, *chain)
  assert [counts(state, row) for row in range(5)] == [
    (0, 0, 3, 1), (1, 0, 3, 0), (1, 0, 2, 0), (0, 1, 0, 1), (1, 0, 1, 0),
  ]  # fmt: skip


def test_a_failed_program_counts_against_its_clade_and_is_not_chosen():
  strategy = Hgm()
  state = told(strategy, trial(1, 0, 0.5), trial(2, 1, CRASH), trial(3, 1, DUPLICATE))
  assert counts(state, 1) == (1, 0, 1, 1)
  assert state.num_evals == 2
  for seed in range(50):
    assert strategy.ask(state, np.random.default_rng(seed))[0].parents[0] in (0, 1)


def test_a_replicate_is_an_evaluation_on_a_seed_that_was_not_used():
  strategy = Hgm(alpha=0.1)
  state = told(strategy, trial(1, 0, 0.5), trial(2, 0, 0.4))
  used = {0: {0}, 1: {0}, 2: {0}}
  for number in range(3, 20):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    assert proposal.operation is REPLICATE
    (seed,), (program,) = proposal.seeds, proposal.parents
    assert seed not in used[program]
    used[program].add(seed)
    if number % 2:  # the others are still under way
      state = strategy.tell(state, finished(number, proposal, (OK, False, 0.5)))
  assert len(state.archive) == 3
  others = types.Proposal(REPLICATE, (1,), seeds=(70, 71))  # acceptance has seeds of its own
  state = strategy.tell(state, finished(20, others, (OK, False, 0.5)))
  assert state.next_seed.array[1] == 72


def test_the_parent_is_sampled_by_its_clade_and_the_evaluated_one_by_itself():
  strategy = Hgm()
  # Trial 1 is bad itself, and its children are the best there are; trial 2 is good, its are not.
  state = told(
    strategy, trial(1, 0, 2.0), trial(2, 0, 0.9),
    *[trial(n, 1, 0.8 - n / 100) for n in range(3, 13)],
    *[trial(n, 2, 9.0) for n in range(13, 23)],
  )  # fmt: skip
  chosen = [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(300)]
  assert {proposal.operation for proposal in chosen} == {REPLICATE}
  assert not any(p.parents[0] >= 13 for p in chosen[:20])
  many = Hgm(alpha=1.0)  # 22 evaluations, 22 programs: makes another
  parents = [many.ask(state, np.random.default_rng(seed))[0].parents[0] for seed in range(300)]
  assert parents.count(1) > 20 * max(1, parents.count(2))


TRIALS = st.lists(
  st.tuples(
    st.integers(0, 99), st.floats(0, 2) | st.sampled_from([CRASH, DUPLICATE]), st.booleans()
  ),
  max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(TRIALS)
def test_counts_of_a_clade_are_the_sums_over_its_programs(trials):
  strategy = Hgm()
  state = told(strategy)
  for number, (choice, loss, again) in enumerate(trials, start=1):
    ids = state.archive.ids.array
    operation = REPLICATE if again else IMPROVE
    state = strategy.tell(state, trial(number, int(ids[choice % len(ids)]), loss, operation))
  rows = range(len(state.archive))
  for ancestor in rows:
    clade = [row for row in rows if ancestor in state.archive.lineage(row)]
    assert state.clade_successes.array[ancestor] == state.successes.array[clade].sum()
    assert state.clade_failures.array[ancestor] == state.failures.array[clade].sum()
  assert state.num_evals == state.successes.array.sum() + state.failures.array.sum()


@pytest.mark.parametrize('options', [{'alpha': 0.0}, {'alpha': 1.1}, {'context_size': -1}])
def test_options_that_make_no_sense_are_refused(options):
  with pytest.raises(ValueError, match=rf'{next(iter(options))} .*is'):
    Hgm(**options)
