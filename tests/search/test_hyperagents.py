"""HyperAgents' parent selection, and procedures: inherited, changed, fallen back from."""

import collections
import dataclasses
import math

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.archive import FloatColumn
from autoresearch_jax.search.hyperagents import (
  INITIAL_PROCEDURE,
  LOWER_BOUNDS,
  UPPER_BOUNDS,
  HyperAgents,
  parent_probabilities,
)
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH = types.Status.OK, types.Status.CRASH


def child(number, parent, loss):
  outcome = (CRASH, False, 0.0) if loss is None else (OK, False, loss)
  return finished(number, types.Proposal(types.Operation.IMPROVE, (parent,)), outcome)


def told(strategy, *trials):
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for trial in trials:
    state = strategy.tell(state, trial)
  return state


def procedures(state):
  return state.procedures.array.reshape(-1, len(INITIAL_PROCEDURE))


def test_the_published_formula():
  # Scores less the mean of the top three (0.8), times ten: 2, 0, -2, -8; their logistic times
  # exp(-(c/8)³): 0.8807971 · 1, 0.5 · 0.3678794, 0.1192029 · 0.8824969, 0.0003354 · 1.
  p = parent_probabilities(np.array([1.0, 0.8, 0.6, 0.0]), np.array([0, 8, 4, 0]))
  assert p.tolist() == pytest.approx([0.7526454, 0.1571775, 0.0898906, 0.0002866], abs=1e-6)


def test_fewer_than_three_scores_have_their_mean_in_the_middle():
  p = parent_probabilities(np.array([1.0, 0.0]), np.array([0, 0]))
  assert p[0] / p[1] == pytest.approx(0.9933071 / 0.0066929, rel=1e-5)


def test_many_children_leave_probabilities_that_add_up():
  p = parent_probabilities(np.array([1.0, 0.5]), np.array([1000, 900]))
  assert p.tolist() == [0, 1]
  assert parent_probabilities(np.array([0.5]), np.array([500])).tolist() == [1]


def test_parents_are_drawn_by_it():
  strategy = HyperAgents(modify_prob=0.0)
  state = told(strategy, child(1, 0, 0.6), child(2, 0, 0.0), child(3, 0, None))
  expected = parent_probabilities(np.array([0.0, 0.4, 1.0]), np.zeros(3))
  asked = [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(3000)]
  counts = collections.Counter(proposal.parents[0] for proposal in asked)
  assert [counts[trial] / 3000 for trial in range(4)] == pytest.approx([*expected, 0], abs=0.03)


def test_half_of_the_initial_edits_have_no_guidance():
  strategy = HyperAgents()
  asked = [strategy.ask(told(strategy), np.random.default_rng(s))[0] for s in range(2000)]
  counts = collections.Counter(proposal.guidance for proposal in asked)
  assert counts[''] / 2000 == pytest.approx(0.5, abs=0.04)
  assert set(counts) == {'', *types.GUIDANCE}


def test_a_procedure_without_changes_is_inherited():
  strategy = HyperAgents(modify_prob=0.0)
  _, state = strategy.ask(told(strategy, child(1, 0, 0.5)), np.random.default_rng(0))
  assert (procedures(state) == INITIAL_PROCEDURE).all()


def test_a_child_changes_its_own_procedure_and_its_children_inherit_that():
  strategy = HyperAgents(modify_prob=1.0)
  _, state = strategy.ask(told(strategy, child(1, 0, 0.5)), np.random.default_rng(0))
  root, changed = procedures(state)
  assert (root == INITIAL_PROCEDURE).all()
  assert (changed != INITIAL_PROCEDURE).all()
  state = strategy.tell(state, child(2, 1, 0.4))
  _, quiet = HyperAgents(modify_prob=0.0).ask(state, np.random.default_rng(1))
  assert (procedures(quiet)[2] == changed).all()
  _, state = strategy.ask(state, np.random.default_rng(1))
  assert (procedures(state)[1] == changed).all()
  assert (procedures(state)[2] != changed).all()


def test_parents_are_selected_by_the_last_child_or_by_its_parent_when_it_failed():
  strategy = HyperAgents()
  state = told(strategy)
  assert state.selecting_row == 0
  state = strategy.tell(state, child(1, 0, 9.0))
  assert state.selecting_row == 1
  state = strategy.tell(state, child(2, 0, None))
  assert state.selecting_row == 0
  state = strategy.tell(state, child(3, 1, None))
  assert state.selecting_row == 1


def test_the_acting_procedure_selects():
  strategy = HyperAgents(modify_prob=0.0)
  _, state = strategy.ask(told(strategy, child(1, 0, 0.0)), np.random.default_rng(0))
  state = dataclasses.replace(state, archive=told(strategy, child(1, 0, 0.0)).archive)
  procedure = procedures(state).copy()
  procedure[1, 0] = 0.0  # the child told last does not look at scores
  flat = dataclasses.replace(state, procedures=FloatColumn.of(procedure.ravel()))
  asked = [strategy.ask(flat, np.random.default_rng(seed))[0].parents[0] for seed in range(2000)]
  assert asked.count(0) / 2000 == pytest.approx(0.5, abs=0.04)


def test_numbers_stay_within_a_factor_of_ten():
  strategy, state = HyperAgents(modify_prob=1.0, modify_scale=3.0), told(HyperAgents())
  for number in range(1, 60):
    state = strategy.tell(state, child(number, number - 1, 0.5))
    _, state = strategy.ask(state, np.random.default_rng(number))
  assert (procedures(state) >= LOWER_BOUNDS).all() and (procedures(state) <= UPPER_BOUNDS).all()


@pytest.mark.parametrize(
  'options',
  [{'modify_prob': 1.5}, {'modify_scale': -1.0}, {'modify_scale': math.nan}, {'context_size': -1}],
)
def test_options_that_make_no_sense_are_refused(options):
  with pytest.raises(ValueError, match=rf'{next(iter(options))} .*is'):
    HyperAgents(**options)
