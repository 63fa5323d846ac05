"""The archive: rows, scores over replicates, children and lineages."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search.archive import (
  NONE,
  Archive,
  FloatColumn,
  IntColumn,
  is_buggy,
  is_failure,
  score_of,
)
from autoresearch_jax.testing.strategies import OBJECTIVE, finished

OK, CRASH, IMPROVE = types.Status.OK, types.Status.CRASH, types.Operation.IMPROVE
REPLICATE, PROMOTE = types.Operation.REPLICATE, types.Operation.PROMOTE


def trial(number, parents=(), operation=IMPROVE, status=OK, seeds=(0,), value=1.0):
  proposal = types.Proposal(operation, parents, seeds=seeds)
  return finished(number, proposal, (status, False, value))


def archive(*rows):
  """Of (trial, score) pairs."""
  table = Archive()
  for told, score in rows:
    table = table.add(told, score)
  return table


def test_a_row_keeps_ids_parents_scores_and_depths():
  table = archive(
    (trial(0), 1.0), (trial(5, (0,)), None), (trial(3, (5,)), 2.0), (trial(9, (77,)), 0.5)
  )
  assert table.ids.array.tolist() == [0, 5, 3, 9]
  assert table.parents.array.tolist() == [NONE, 0, 5, 77]
  assert table.parent_rows.array.tolist() == [NONE, 0, 1, NONE]
  assert table.depths.array.tolist() == [0, 1, 2, 0]
  assert table.scored_rows.tolist() == [0, 2, 3]
  assert (table.row_of(3), table.row_of(4), table.best_row()) == (2, None, 2)
  assert table.lineage(2) == [2, 1, 0]
  assert (table.last_ids(2), table.last_ids(0), table.last_ids(9)) == ((3, 9), (), (0, 5, 3, 9))


def test_an_empty_archive_and_one_without_scores_have_no_best():
  assert Archive().best_row() is None
  assert archive((trial(0), None)).best_row() is None


def test_the_first_of_equals_is_best():
  assert archive((trial(0), 1.0), (trial(1), 2.0), (trial(2), 2.0)).best_row() == 1


def test_a_replicate_is_no_row_but_joins_the_mean_by_its_runs():
  table = archive((trial(0, seeds=(0, 1, 2)), 1.0))
  table = table.add(trial(1, (0,), REPLICATE, seeds=(3,)), 5.0)
  assert len(table) == 1
  assert table.scores.array[0] == (3 * 1.0 + 5.0) / 4
  assert table.num_runs.array[0] == 4
  assert table.add(trial(2, (0,), REPLICATE, CRASH), None) == table


def test_a_replicate_gives_a_row_without_a_score_its_first():
  table = archive((trial(0, status=CRASH), None), (trial(1, (0,), REPLICATE), 2.0))
  assert (table.scores.array[0], table.num_runs.array[0]) == (2.0, 1)


def test_a_replicate_of_an_unknown_trial_is_a_row_of_its_own():
  assert archive((trial(1, (0,), REPLICATE), 2.0)).ids.array.tolist() == [1]


def test_a_promotion_is_a_row_but_no_edit():
  table = archive((trial(0), 1.0), (trial(1, (0,)), None), (trial(2, (1,), PROMOTE), 3.0))
  assert table.depths.array.tolist() == [0, 1, 1]
  assert table.lineage(2) == [2, 1, 0]


def test_asking_counts_a_child_and_leaves_the_table_as_it_was():
  table = archive((trial(0), 1.0), (trial(1, (0,)), 2.0))
  assert table.count_child(1).count_child(1).count_child(0).num_children.array.tolist() == [1, 2]
  assert table.num_children.array.tolist() == [0, 0]


@given(st.lists(st.floats(allow_nan=False)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_columns_hold_what_was_put_in(floats, whole):
  assert FloatColumn.of(np.array(floats)).array.tolist() == floats
  column = IntColumn()
  for value in whole:
    column = column.append(value)
  assert column.array.tolist() == whole
  assert len(column) == len(whole)
  for row in range(len(whole)):
    expected = [*whole[:row], 7, *whole[row + 1 :]]
    assert column.set(row, 7).array.tolist() == expected


def test_a_column_cannot_be_written_to():
  with pytest.raises(ValueError, match='read-only'):
    IntColumn.of(np.array([1])).array[0] = 2


@given(st.lists(st.tuples(st.floats(-9, 9), st.none() | st.integers(0, 20)), max_size=20))
def test_the_state_goes_through_json(rows):
  table = Archive()
  for number, (score, parent) in enumerate(rows):
    parents = () if parent is None else (parent,)
    table = table.add(trial(number, parents), score if number % 3 else None)
  assert types.from_json(types.to_json(table), Archive) == table
  depths = dict(zip(table.ids.array.tolist(), table.depths.array.tolist(), strict=True))
  for row, number in enumerate(table.ids.array.tolist()):
    assert len(table.lineage(row)) == depths[number] + 1


def test_only_a_finite_metric_of_a_trial_that_ended_well_is_a_score():
  assert score_of(OBJECTIVE, trial(1, value=2.0)) == -2.0
  assert score_of(types.Objective('val_loss', 'maximize'), trial(1, value=2.0)) == 2.0
  assert score_of(types.Objective('unknown', 'minimize'), trial(1)) is None
  assert score_of(OBJECTIVE, trial(1, value=math.inf)) is None
  assert score_of(OBJECTIVE, trial(1, value=math.nan)) is None
  stopped = trial(1)
  result = dataclasses.replace(stopped.result, status=types.Status.CANCELLED)
  assert score_of(OBJECTIVE, dataclasses.replace(stopped, result=result)) is None


@pytest.mark.parametrize('status', list(types.Status))
def test_a_duplicate_or_a_program_that_was_stopped_is_not_buggy(status):
  rejected = {types.Status.INFEASIBLE, types.Status.PRUNED}
  healthy = {types.Status.OK, types.Status.DUPLICATE, types.Status.CANCELLED, *rejected}
  made = trial(1, status=status)
  assert is_buggy(made) == (status not in healthy)
  assert is_failure(made) == (is_buggy(made) or status in rejected)
