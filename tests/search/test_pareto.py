"""GEPA's choice of parents, algorithm 2 of arXiv 2507.19457, and its merges."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search.pareto import Pareto, num_wins
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, MERGE = types.Status.OK, types.Operation.MERGE


def child(number, parent, loss, parts=(), status=OK, seeds=(0,), operation=None):
  """A trial with metrics val_loss and part_0, part_1, ...; every seed measures the same."""
  operation = operation or types.Operation.IMPROVE
  trial = finished(number, types.Proposal(operation, (parent,), seeds=seeds), (status, False, loss))
  metrics = {'val_loss': loss, **{f'part_{n}': part for n, part in enumerate(parts)}}
  runs = tuple(dataclasses.replace(m, metrics=metrics) for m in trial.result.measurements)
  return dataclasses.replace(trial, result=dataclasses.replace(trial.result, measurements=runs))


def grown(strategy, *trials):
  state = strategy.init(OBJECTIVE)
  for trial in trials:
    state = strategy.tell(state, trial)
  return state


def asked(strategy, state, draws=300):
  return [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(draws)]


def test_a_program_counts_for_each_instance_it_wins():
  scores = np.array([
    [3.0, 0.0, 1.0],  # wins the first
    [0.0, 2.0, 2.0],  # wins the second, and shares the third
    [1.0, 1.0, 2.0],  # shares the third
    [2.0, 1.0, 1.0],  # wins nothing, though nobody dominates it
  ])  # fmt: skip
  assert num_wins(scores).tolist() == [1, 2, 1, 0]


def test_winners_that_another_one_dominates_are_left_out():
  scores = np.array([[3.0, 0.0], [3.0, 1.0], [0.0, 2.0], [3.0, 1.0]])
  assert num_wins(scores).tolist() == [0, 1, 1, 1]


def test_an_instance_without_a_score_has_no_winner():
  missing = -np.inf
  assert num_wins(np.array([[missing, 1.0], [missing, missing]])).tolist() == [1, 0]
  assert num_wins(np.zeros((0, 2))).tolist() == []


@given(st.integers(1, 3).flatmap(
  lambda n: st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=8)
))  # fmt: skip
def test_it_is_the_published_algorithm(rows):
  scores = np.array(rows, float)
  instances = range(scores.shape[1])
  winners = {i: set(np.flatnonzero(scores[:, i] == scores[:, i].max())) for i in instances}
  everyone = set().union(*winners.values())
  dominated = {
    y for y in everyone
    if any((scores[x] >= scores[y]).all() and (scores[x] > scores[y]).any() for x in everyone)
  }  # fmt: skip
  counts = [sum(k in winners[i] - dominated for i in instances) for k in range(len(rows))]
  assert num_wins(scores).tolist() == counts


def test_parents_are_drawn_in_proportion_to_their_wins():
  strategy = Pareto(merge_prob=0.0)
  first = child(0, 0, 1.0, (1.0, 1.0))
  state = grown(strategy, first, child(1, 0, 0.5, (0.5, 2.0)), child(2, 0, 0.9, (2.0, 0.1)))
  counts = collections.Counter(p.parents[0] for p in asked(strategy, state, 1500))
  assert counts[1] / 1500 == pytest.approx(2 / 3, abs=0.04)  # the objective and part_0
  assert counts[2] / 1500 == pytest.approx(1 / 3, abs=0.04)  # part_1
  assert state.instances == ('val_loss', 'part_0', 'part_1')


def test_with_one_metric_the_best_is_the_front():
  strategy = Pareto()
  state = grown(strategy, baseline(1.0), child(1, 0, 0.5), child(2, 0, 0.7))
  assert {p.parents for p in asked(strategy, state)} == {(1,)}


def test_named_metrics_have_their_own_directions():
  strategy = Pareto({'val_loss': 'minimize', 'part_0': 'maximize'}, merge_prob=0.0)
  state = grown(strategy, child(0, 0, 1.0, (1.0,)), child(1, 0, 0.5, (3.0,)))
  assert {p.parents for p in asked(strategy, state)} == {(1,)}


def test_a_trial_that_did_not_measure_an_instance_cannot_win_it():
  strategy = Pareto({'val_loss': 'minimize', 'part_0': 'minimize'}, merge_prob=0.0)
  state = grown(strategy, baseline(1.0), child(1, 0, 2.0, (5.0,)), child(2, 0, 0.5))
  assert {p.parents for p in asked(strategy, state)} == {(1,), (2,)}


def test_while_nobody_measured_any_instance_the_best_program_is_improved():
  strategy = Pareto({'train_acc': 'maximize'}, merge_prob=0.5)
  state = grown(strategy, baseline(1.0), child(1, 0, 0.5), child(2, 0, 0.7))
  assert {(p.operation, p.parents) for p in asked(strategy, state)} == {
    (types.Operation.IMPROVE, (1,))
  }


def test_feedback_is_what_was_made_of_the_parent():
  strategy = Pareto(merge_prob=0.0, context_size=2)
  crash = types.Status.CRASH
  state = grown(
    strategy, baseline(1.0), child(1, 0, 1.5), child(2, 1, 1.6), child(3, 0, 0.0, status=crash),
    child(4, 0, 1.2),
  )  # fmt: skip
  assert asked(strategy, state, 1)[0].context == (3, 4)


def test_two_of_the_front_with_a_common_ancestor_are_merged_once():
  strategy = Pareto(merge_prob=1.0)
  siblings = child(1, 0, 0.5, (0.9,)), child(2, 0, 0.9, (0.1,))
  state = grown(strategy, child(0, 0, 1.0, (1.0,)), *siblings)
  proposal, after = strategy.ask(state, np.random.default_rng(0))
  assert (proposal.operation, proposal.parents, proposal.context) == (MERGE, (1, 2), (0,))
  assert {p.operation for p in asked(strategy, after)} == {types.Operation.IMPROVE}


@pytest.mark.parametrize(
  'trials',
  [
    [child(1, 0, 0.5, (0.9,)), child(2, 1, 0.9, (0.1,))],  # a program and its own child
    [child(1, 0, 0.5, (1.9,)), child(2, 0, 1.9, (0.1,))],  # the ancestor is better than one
  ],
)
def test_no_others_are_merged(trials):
  strategy = Pareto(merge_prob=1.0)
  state = grown(strategy, child(0, 0, 1.0, (1.0,)), *trials)
  assert MERGE not in {p.operation for p in asked(strategy, state)}


def test_replicates_are_averaged_into_the_parts_of_their_original():
  replicate = types.Operation.REPLICATE
  state = grown(
    Pareto(), child(0, 0, 1.0, (1.0,)), child(1, 0, 0.6, (0.3,)),
    child(2, 1, 0.9, (0.6,), seeds=(1, 2), operation=replicate),
  )  # fmt: skip
  assert state.score_matrix == pytest.approx(np.array([[-1.0, -1.0], [-0.8, -0.5]]))


@pytest.mark.parametrize(
  'options', [{'merge_prob': 2.0}, {'max_merge_attempts': 0}, {'context_size': -1}]
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match=f'{next(iter(options))} of pareto is'):
    Pareto(**options)
