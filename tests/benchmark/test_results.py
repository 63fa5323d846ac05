"""The table file: what goes in comes out, and what does not compare is refused."""

import csv
import dataclasses
import io
import sqlite3

import pytest
from helpers.onemax import OneMax

from autoresearch_jax.benchmark.results import FIELDS, Results, ResultsError
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec, RunSpec

PROBLEM = ProblemSpec('bits', 'onemax', {'bits': 6})
SPEC = RunSpec(
  PROBLEM,
  Entrant('climber', 'greedy', {'context_size': 3}),
  AcceptanceSpec('any', 'strict'),
  1000,
  12,
)


def played(spec=SPEC):
  return spec.run(OneMax(6).instance(spec.instance_seed), {'numpy': '2.0'})


RUN = played()


def test_a_run_survives_the_file(tmp_path):
  other = played(dataclasses.replace(SPEC, instance_seed=1001))
  with Results.open(tmp_path / 'deep' / 'results.db', 'mine') as results:
    results.add([other, RUN])
    assert list(results.runs()) == [RUN, other]
  with Results.open(tmp_path / 'deep' / 'results.db', 'mine') as results:
    assert list(results.runs()) == [RUN, other]
    assert results.keys == {SPEC.key, ('bits', 'climber', 'any', 1001)}


def test_a_run_says_what_was_played_and_what_came_of_it():
  assert (RUN.problem, RUN.strategy, RUN.acceptance) == ('bits', 'climber', 'any')
  assert (RUN.simulation, RUN.simulation_options) == ('onemax', {'bits': 6})
  assert (RUN.strategy_name, RUN.strategy_options) == ('greedy', {'context_size': 3})
  assert RUN.start == OneMax(6).instance(1000).start.digest
  assert RUN.final == RUN.curve.regret[-1]
  assert 0 < RUN.area_calls < RUN.area_runs < 1
  assert sum(RUN.statuses.values()) == RUN.runs <= RUN.trials == 12


def test_the_same_run_twice_is_one_row(tmp_path):
  with Results.open(tmp_path / 'results.db', 'mine') as results:
    results.add([RUN])
    results.add([RUN])
    assert list(results.runs()) == [RUN]


@pytest.mark.parametrize(
  ('changed', 'sentence'),
  [
    ({'simulation_options': {'bits': 7}}, r"problem 'bits' with the options {'bits': 6}"),
    ({'simulation': 'nk'}, "problem 'bits' with the simulation 'onemax'"),
    ({'trials': 13.0}, r'the budget \(trials\) 12.0, not 13.0'),
    ({'slots': 2}, 'with the slots 1, not 2'),
    ({'start': 'another'}, 'another start'),
    ({'definition': 'another'}, 'another definition'),
    (
      {'strategy_options': {}},
      "strategy 'climber' with the options {'context_size': 3}, not {}",
    ),
    ({'strategy_name': 'random'}, "strategy 'climber' with the strategy 'greedy'"),
    ({'acceptance_name': 'noise'}, "acceptance 'any' with the rule 'strict'"),
    ({'acceptance_options': {'x': 1}}, "acceptance 'any' with the options"),
    ({'problem_code': 'x'}, "problem 'bits' with other code.* another --out"),
    ({'strategy_code': 'x'}, "strategy 'climber' with other code"),
    ({'acceptance_code': 'x'}, "acceptance 'any' with other code"),
  ],
)
def test_what_does_not_compare_is_refused_and_not_written(tmp_path, changed, sentence):
  with Results.open(tmp_path / 'results.db', 'mine') as results:
    results.add([RUN])
    with pytest.raises(ResultsError, match=sentence):
      results.add([dataclasses.replace(RUN, **changed)])
    assert list(results.runs()) == [RUN]


def test_the_budget_may_differ_between_problems(tmp_path):
  with Results.open(tmp_path / 'results.db', 'mine') as results:
    results.add([RUN, dataclasses.replace(RUN, problem='more', trials=99.0)])
    assert len(list(results.runs())) == 2


def test_the_results_of_another_benchmark_are_refused(tmp_path):
  Results.open(tmp_path / 'results.db', 'mine').close()
  with pytest.raises(ResultsError, match="results of the benchmark 'mine', not 'yours'"):
    Results.open(tmp_path / 'results.db', 'yours')


@pytest.mark.parametrize(
  ('make', 'sentence'),
  [
    (lambda path: path.write_text('no table' * 99), 'cannot be used for results'),
    (lambda path: _statement(path, 'CREATE TABLE x (y)'), 'without benchmark results'),
    (lambda path: path.mkdir(), 'cannot be used for results'),
  ],
)
def test_another_file_is_refused(tmp_path, make, sentence):
  make(tmp_path / 'results.db')
  with pytest.raises(ResultsError, match=sentence):
    Results.open(tmp_path / 'results.db', 'mine')


def test_a_later_schema_is_refused(tmp_path):
  Results.open(tmp_path / 'results.db', 'mine').close()
  _statement(tmp_path / 'results.db', 'PRAGMA user_version = 99')
  with pytest.raises(ResultsError, match='schema version 99'):
    Results.open(tmp_path / 'results.db', 'mine')


def test_the_table_as_csv(tmp_path):
  with Results.open(tmp_path / 'results.db', 'mine') as results:
    results.add([RUN])
    (row,) = csv.DictReader(io.StringIO(results.csv()))
  assert tuple(row) == FIELDS
  assert float(row['final']) == RUN.final
  assert row['strategy_options'] == '{"context_size":3}'


def _statement(path, text):
  with sqlite3.connect(path) as connection:
    connection.execute(text)
  connection.close()
