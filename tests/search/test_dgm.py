"""The Darwin Gödel Machine's parent selection, staged evaluation and archive."""

import collections
import math

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.dgm import Dgm, parent_probabilities
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH = types.Status.OK, types.Status.CRASH
FULL, SHORT = types.Proposal(types.Operation.IMPROVE, (0,)), 1 / 6


def told(strategy, *losses, proposal=FULL):
  """The state after the baseline with a loss of 1 and trials 1, 2, ...; None is a crash."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number, loss in enumerate(losses, start=1):
    outcome = (CRASH, False, 0.0) if loss is None else (OK, False, loss)
    state = strategy.tell(state, finished(number, proposal, outcome))
  return state


def shares(strategy, state, draws=3000):
  """How often each trial is the parent."""
  asked = [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(draws)]
  counts = collections.Counter(proposal.parents[0] for proposal in asked)
  return {trial: count / draws for trial, count in counts.items()}


def test_the_published_formula():
  # Logistic of -5, 0, 5: 0.0066929, 0.5, 0.9933071; the last one halved for its child.
  p = parent_probabilities(np.array([0.0, 0.5, 1.0]), np.array([0, 0, 1]))
  assert p.tolist() == pytest.approx([0.0066705, 0.4983324, 0.4949971], abs=1e-7)
  # The score of the paper's initial agent and of its best, 0.2 and 0.5, with 3 and 0 children.
  p = parent_probabilities(np.array([0.2, 0.5]), np.array([3, 0]))
  assert p[1] / p[0] == pytest.approx(0.5 / (0.0474259 / 4), rel=1e-5)


def test_parents_are_drawn_by_it_with_scores_on_the_archives_scale():
  strategy = Dgm(shallow_fidelity=1.0)
  state = told(strategy, 0.5, 0.0)  # on the scale: 0, 0.5, 1
  state = strategy.tell(state, finished(3, FULL, (CRASH, False, 0.0)))
  expected = parent_probabilities(np.array([0.0, 0.5, 1.0]), np.zeros(3))
  found = shares(strategy, state)
  assert [found.get(trial, 0.0) for trial in range(3)] == pytest.approx(expected, abs=0.03)
  assert 3 not in found


def test_children_under_way_count():
  strategy = Dgm(shallow_fidelity=1.0)
  state = told(strategy, 1.0)  # two equal ones
  for seed in range(40):
    _, state = strategy.ask(state, np.random.default_rng(seed))
  assert state.archive.num_children.array.sum() == 40
  assert abs(np.diff(state.archive.num_children.array)[0]) < 20


def test_a_first_run_is_short_and_a_good_one_is_followed_by_a_full_one():
  strategy = Dgm()
  state = told(strategy)
  first, state = strategy.ask(state, np.random.default_rng(0))
  assert (first.operation, first.fidelity) == (types.Operation.IMPROVE, SHORT)
  state = strategy.tell(state, finished(1, first, (OK, False, 3.0)))
  full, state = strategy.ask(state, np.random.default_rng(0))
  assert full == types.Proposal(types.Operation.PROMOTE, (1,))
  assert shares(strategy, state) == {0: 1.0}  # a short run's program is no parent
  state = strategy.tell(state, finished(2, full, (OK, True, 0.5)))
  assert shares(strategy, state)[2] > 0.9


def test_only_short_runs_from_the_threshold_on_are_promoted():
  strategy = Dgm()
  short = types.Proposal(types.Operation.IMPROVE, (0,), fidelity=SHORT)
  # Each on the scale of the short runs before it: 0.5 (alone), 1, 0.41, 0.39, none (failed).
  state = told(strategy, 9.0, 8.0, 8.59, 8.61, None, proposal=short)
  assert state.to_evaluate == (1, 2, 3)
  for promoted in (1, 2, 3):
    proposal, state = strategy.ask(state, np.random.default_rng(0))
    assert (proposal.operation, proposal.parents) == (types.Operation.PROMOTE, (promoted,))
  assert strategy.ask(state, np.random.default_rng(0))[0].operation is types.Operation.IMPROVE


def test_the_archive_keeps_all_or_those_near_the_initial_program_and_above():
  losses = (0.0, 1.09, 1.11, 2.0)  # of a range of 2, with fewer than 8 scores from the second least
  everything = shares(Dgm(shallow_fidelity=1.0), told(Dgm(), *losses))
  assert 2 in everything and 3 in everything
  better = Dgm(shallow_fidelity=1.0, update_archive='keep_better', eval_noise=0.09)
  s_initial, s_near, s_below = (1.11 - loss for loss in (1.0, 1.09, 1.11))
  assert s_near / 1.11 > s_initial / 1.11 - 0.09 > s_below / 1.11
  found = shares(better, told(better, *losses))
  assert set(found) == {0, 1, 2}


def test_an_archive_without_scores_goes_on_from_the_first_trial():
  strategy = Dgm(update_archive='keep_better')
  failed = finished(0, types.Proposal(types.Operation.DRAFT), (CRASH, False, 0.0))
  state = strategy.tell(strategy.init(OBJECTIVE), failed)
  assert strategy.ask(state, np.random.default_rng(0))[0].parents == (0,)


@pytest.mark.parametrize(
  'options',
  [
    {'eval_noise': -0.1},
    {'shallow_fidelity': 0.0},
    {'test_more_threshold': math.nan},
    {'context_size': -1},
  ],
)
def test_options_that_make_no_sense_are_refused(options):
  with pytest.raises(ValueError, match=rf'{next(iter(options))} .*is'):
    Dgm(**options)
