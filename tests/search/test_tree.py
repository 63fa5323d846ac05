"""AIDE's policy: drafts, then mending, then the best program."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.tree import Tree
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH, DUPLICATE = types.Status.OK, types.Status.CRASH, types.Status.DUPLICATE
DRAFT, IMPROVE, DEBUG = types.Operation.DRAFT, types.Operation.IMPROVE, types.Operation.DEBUG
ALWAYS, NEVER = {'num_drafts': 0, 'debug_prob': 1.0}, {'num_drafts': 0, 'debug_prob': 0.0}


def told(strategy, *trials):
  """The state after the baseline and (number, operation, parent, loss or status) each."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number, operation, parent, loss in trials:
    failed = isinstance(loss, types.Status)
    outcome = (loss, False, 0.0) if failed else (OK, False, loss)
    proposal = types.Proposal(operation, (parent,))
    state = strategy.tell(state, finished(number, proposal, outcome))
  return state


def asked(strategy, state, seed=0):
  proposal, state = strategy.ask(state, np.random.default_rng(seed))
  return (proposal.operation, *proposal.parents), state


def test_five_drafts_come_first_counted_when_asked_for():
  strategy = Tree(debug_prob=0.0)
  state, operations = told(strategy), []
  for _ in range(7):  # nothing is told in between
    (operation, *_), state = asked(strategy, state)
    operations.append(operation)
  assert operations == [DRAFT] * 5 + [IMPROVE] * 2


def test_the_best_program_is_improved():
  strategy = Tree(**NEVER)
  assert asked(strategy, told(strategy))[0] == (IMPROVE, 0)
  state = told(strategy, (1, IMPROVE, 0, 0.5), (2, IMPROVE, 0, 0.7), (3, IMPROVE, 1, CRASH))
  assert asked(strategy, state)[0] == (IMPROVE, 1)


def test_a_broken_leaf_is_mended_half_of_the_time():
  strategy = Tree(num_drafts=0)
  state = told(strategy, (1, IMPROVE, 0, CRASH))
  mended = sum(asked(strategy, state, seed)[0] == (DEBUG, 1) for seed in range(2000))
  assert mended / 2000 == pytest.approx(0.5, abs=0.04)


def test_all_broken_leaves_are_as_likely():
  strategy = Tree(**ALWAYS)
  state = told(strategy, (1, IMPROVE, 0, CRASH), (2, IMPROVE, 0, 0.5), (3, DRAFT, 0, CRASH))
  chosen = [asked(strategy, state, seed)[0][1] for seed in range(1000)]
  assert set(chosen) == {1, 3}
  assert chosen.count(1) / 1000 == pytest.approx(0.5, abs=0.05)


def test_what_is_being_mended_is_no_leaf():
  strategy = Tree(**ALWAYS)
  first, state = asked(strategy, told(strategy, (1, IMPROVE, 0, CRASH)))
  second, _ = asked(strategy, state)
  assert (first, second) == ((DEBUG, 1), (IMPROVE, 0))


def test_mending_stops_at_the_depth():
  strategy = Tree(**ALWAYS)  # a program that took three attempts is mended once more, as in AIDE
  state = told(strategy, (1, IMPROVE, 0, CRASH))
  for attempt in range(1, 5):
    choice, state = asked(strategy, state)
    assert choice == (DEBUG, attempt)
    mending = types.Proposal(DEBUG, (attempt,))
    state = strategy.tell(state, finished(attempt + 1, mending, (CRASH, False, 0.0)))
  assert asked(strategy, state)[0] == (IMPROVE, 0)


def test_an_improvement_of_a_mended_program_starts_counting_anew():
  strategy = Tree(**ALWAYS, max_debug_depth=0)
  chain = ((1, IMPROVE, 0, CRASH), (2, DEBUG, 1, 5.0), (3, IMPROVE, 2, CRASH))
  assert told(strategy, *chain).journal.debug_depth.array.tolist() == [-1, 0, -1, 0]


def test_duplicates_and_cancelled_trials_are_not_mended():
  strategy = Tree(**ALWAYS)
  cancelled = types.Status.CANCELLED
  state = told(strategy, (1, IMPROVE, 0, DUPLICATE), (2, IMPROVE, 0, cancelled))
  assert asked(strategy, state)[0] == (IMPROVE, 0)


def test_without_a_working_program_there_are_more_drafts():
  strategy = Tree(**NEVER)
  failed = finished(0, types.Proposal(DRAFT), (CRASH, False, 0.0))
  state = strategy.tell(strategy.init(OBJECTIVE), failed)
  assert asked(strategy, state)[0] == (DRAFT,)


def test_working_programs_are_shown():
  strategy = Tree(**NEVER, context_size=2)
  trials = [(1, IMPROVE, 0, 3.0), (2, IMPROVE, 0, CRASH), (3, IMPROVE, 0, 2.0)]
  proposal, _ = strategy.ask(told(strategy, *trials), np.random.default_rng(0))
  assert proposal.context == (1, 3)


@pytest.mark.parametrize(
  'options',
  [{'num_drafts': -1}, {'debug_prob': 1.1}, {'max_debug_depth': -1}, {'context_size': -1}],
)
def test_options_that_make_no_sense_are_refused(options):
  with pytest.raises(ValueError, match=rf'{next(iter(options))} .*is'):
    Tree(**options)
