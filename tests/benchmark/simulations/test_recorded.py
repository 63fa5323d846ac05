"""Recorded tables: what is read, what is refused, and a surrogate of a function that is known."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.surrogate import Scaling, fit_failures
from autoresearch_jax.benchmark.simulations.table import Columns, TableError, read_table
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Budget, Operation, Proposal, Spec, Status, TrialRequest

HEADER = 'width,rate,loss,ok,seconds\n'
ONE_RUNS = 'x,loss,ok\n1,1,1\n1,1.1,1\n1,0.9,1\n5,,0\n6,,0\n7,,0\n8,,0\n'
FLAT = 'x,loss\n' + ''.join(f'{x},2.1\n' for x in range(8))
NOISE = 0.05


def truth(width, rate):
  """The metric, best at rate 0.01 and large width."""
  return math.exp(0.6 * (math.log10(rate) + 2) ** 2 - 0.2 * math.log2(width))


@pytest.fixture(scope='module')
def table(tmp_path_factory):
  """90 programs, 30 of them on two seeds; rates above 0.3 failed."""
  rng = np.random.default_rng(0)
  lines = ['width,rate,seed,loss,ok,seconds']
  for number in range(90):
    width, rate = int(2 ** rng.uniform(1, 8)), 10 ** rng.uniform(-4, 0)
    for seed in (0, 1) if number % 3 == 0 else (0,):
      loss = truth(width, rate) * math.exp(NOISE * rng.standard_normal())
      fails = rate > 0.3
      lines.append(
        f'{width},{rate:.6g},{seed},{"" if fails else loss},{int(not fails)},{width / 9}'
      )
  path = tmp_path_factory.mktemp('table') / 'trials.csv'
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


def made(table, seed=0, **options):
  return SIMULATIONS.make('recorded', {'table': table, 'metric': 'loss', **options}).instance(seed)


def written(tmp_path, text, name='table.csv'):
  path = tmp_path / name
  path.write_text(text)
  return str(path)


def test_the_surrogate_is_near_the_function_where_it_ran(table):
  instance = made(table)
  for width, rate in ((8, 0.001), (64, 0.01), (200, 0.003)):
    program = instance.start.with_text(f'WIDTH = {width}\nRATE = {rate}\n')
    assert instance.value(program) == pytest.approx(truth(width, rate), rel=0.15)


def test_the_noise_is_that_of_replicates(table):
  assert made(table).surrogate.metric.noise == pytest.approx(NOISE, rel=0.35)


def test_it_fails_where_trials_failed(table):
  instance = made(table)
  failing = instance.start.with_text('WIDTH = 16\nRATE = 0.8\n')
  result = instance.measure(TrialRequest(0, failing, (0,), Budget(1.0)))
  assert result.status is Status.CRASH and 'around these constants' in result.reason
  assert instance.value(instance.start.with_text('WIDTH = 16\nRATE = 0.05\n')) is not None
  outside = instance.start.with_text('WIDTH = 900\nRATE = 0.05\n')
  result = instance.measure(TrialRequest(0, outside, (0,), Budget(1.0)))
  assert (
    result.status is Status.INVALID and 'WIDTH is 900; its recorded range is 2 to' in result.reason
  )


@pytest.mark.parametrize('guidance', ['', 'tuning', 'ablation'])
def test_whole_constants_are_moved_though_small_steps_round_to_nothing(tmp_path, guidance):
  rows = ''.join(f'{width},{(width - 6) ** 2},1\n' for width in range(1, 9))
  instance = made(written(tmp_path, 'width,loss,ok\n' + rows))
  spec = Spec('supervised', 'cpu', 1, Budget(1.0))
  start = instance.surrogate.format.program([1])
  every = [instance.surrogate.format.program([width]) for width in range(2, 9)]
  for last in every:
    tried = frozenset(p.digest for p in every if p != last)
    context = ProposalContext((start,), {}, ('model.py',), instance.objective, spec, tried)
    proposal = Proposal(Operation.IMPROVE, guidance=guidance)
    assert instance.propose(proposal, context, np.random.default_rng(0)).program == last


def test_the_optimum_is_near_that_of_the_function(table):
  instance = made(table)
  values = dict(line.split(' = ') for line in instance.solution.text().splitlines())
  assert abs(math.log10(float(values['RATE'])) + 2) < 0.4
  assert float(values['WIDTH']) > 128
  assert instance.space['WIDTH']['log'] and isinstance(instance.space['WIDTH']['low'], int)


def test_held_out_instances_have_starts_that_tuning_never_sees(table):
  tuning = {made(table, seed).start.digest for seed in range(50)}
  held_out = {made(table, seed).start.digest for seed in range(1000, 1050)}
  assert len(tuning) > 5 and len(held_out) > 5 and not tuning & held_out


def test_the_fit_is_described_honestly(table):
  said = SIMULATIONS.make('recorded', {'table': table, 'metric': 'loss'}).describe()
  assert '120 rows' in said and 'WIDTH: 2 to' in said and 'on a logarithmic scale' in said
  figures = {line.split(':')[0].strip(): line for line in said.splitlines()}
  assert float(figures['Spearman rank correlation'].split()[-1]) > 0.9
  assert float(figures['R² of loss'].split(': ')[-1]) > 0.9
  area = figures['failures'].split('curve ')[1].split(',')[0]
  assert float(area) > 0.9


def test_a_table_of_noise_has_no_fit(tmp_path):
  rng = np.random.default_rng(1)
  rows = [f'{rng.random()},{rng.random()},{rng.random()},1,1' for _ in range(60)]
  path = written(tmp_path, HEADER + '\n'.join(rows))
  said = SIMULATIONS.make('recorded', {'table': path, 'metric': 'loss'}).describe()
  (line,) = [line for line in said.splitlines() if 'R² of loss' in line]
  assert float(line.split()[-1]) < 0.2
  assert 'No trial failed' in said


def test_too_few_successes_for_the_folds_are_told(tmp_path):
  path = written(tmp_path, 'x,loss\n1,2\n2,3\n4,5\n')
  assert made(path).value(made(path).start) is not None
  simulation = SIMULATIONS.make('recorded', {'table': path, 'metric': 'loss'})
  said = r'^3 trials .* succeeded: enough .* one of the 5 folds only 2 remain, and .* needs 3'
  with pytest.raises(TableError, match=said):
    simulation.describe()
  with pytest.raises(TableError, match='there is nothing to search for'):
    flat = written(tmp_path, FLAT, 'flat.csv')
    SIMULATIONS.make('recorded', {'table': flat, 'metric': 'loss'}).describe()


def test_json_and_csv_are_the_same(tmp_path):
  rows = [{'width': w, 'rate': 0.1 * w, 'loss': 1 / w, 'ok': True} for w in (1, 2, 4, 8)]
  as_json = read_table(written(tmp_path, json.dumps(rows), 'table.json'), Columns('loss'))
  text = 'width,rate,loss,ok\n' + ''.join(f'{w},{0.1 * w!r},{1 / w!r},1\n' for w in (1, 2, 4, 8))
  as_csv = read_table(written(tmp_path, text), Columns('loss'))
  assert as_json.names == as_csv.names == ('WIDTH', 'RATE') and as_json.integers == {'WIDTH'}
  assert np.array_equal(as_json.points, as_csv.points)
  assert np.array_equal(as_json.metric, as_csv.metric)


def test_what_is_missing_is_handled_and_said(tmp_path):
  text = HEADER + '1,0.1,2.0,1,3\n2,,1.0,1,3\n4,0.3,nan,1,\n8,0.2,5.0,0,9\n9,nan,1.0,1,3\n'
  table = read_table(written(tmp_path, text), Columns('loss'))
  assert table.points.tolist() == [[1, 0.1], [4, 0.3], [8, 0.2]]
  assert table.ok.tolist() == [True, False, False]
  assert table.seconds.tolist() == [3, 6, 9]
  assert table.notes == (
    '2 of 5 rows lack a constant and are left out.',
    '1 rows claim success without a finite loss and count as failures.',
  )


def test_without_a_flag_a_metric_is_success(tmp_path):
  table = read_table(written(tmp_path, 'x,y,loss\n1,5,0.5\n2,5,\n3,5,0.1\n'), Columns('loss'))
  assert table.ok.tolist() == [True, False, True]
  assert table.names == ('X',)
  assert 'Left out, since they do not vary: y.' in table.notes
  assert any(note.startswith('No success column') for note in table.notes)


def test_a_row_with_too_many_cells_is_left_out_and_said(tmp_path):
  table = read_table(written(tmp_path, 'x,loss\n1,2,3\n2,3\n3,1,\n'), Columns('loss'))
  assert table.points.tolist() == [[2], [3]] and table.metric.tolist() == [3, 1]
  assert '1 of 3 rows have more cells than the header and are left out.' in table.notes


@pytest.mark.parametrize('name', ['table.csv', 'table.json'])
def test_the_mark_that_spreadsheets_begin_with_is_no_part_of_a_name(tmp_path, name):
  text = (
    'loss,x\n1,2\n2,3\n' if name == 'table.csv' else '[{"loss": 1, "x": 2}, {"loss": 2, "x": 3}]'
  )
  table = read_table(written(tmp_path, '\ufeff' + text, name), Columns('loss'))
  assert table.names == ('X',) and table.metric.tolist() == [1, 2]


def test_a_cell_may_have_lines_where_csv_lets_it(tmp_path):
  text = 'x,comment,loss\n1,"two\nlines",2\n2,a\u2028separator,3\n'
  table = read_table(written(tmp_path, text), Columns('loss'))
  assert table.names == ('X',) and table.metric.tolist() == [2, 3]


@pytest.mark.parametrize(
  ('text', 'options', 'said'),
  [
    (HEADER, {}, 'is empty'),
    ('', {}, 'is empty'),
    (HEADER + '1,2,3,1,1\n', {'metric': 'bpb'}, "no column 'bpb'; it has: width, rate, loss, ok"),
    (HEADER + '1,2,3,1,1\n', {'success': 'won'}, "no column 'won'; it has: width, rate"),
    (HEADER + '1,2,3,1,1\n', {'constants': ['widht']}, "no column 'widht'; it has: width"),
    (HEADER + '1,2,3,0,1\n2,3,,1,1\n', {}, 'All 2 usable rows of the table .* failed'),
    (HEADER + ',2,3,1,1\n', {'constants': ['width']}, 'No row of the table .* has all of width'),
    (HEADER + 'a,2,3,1,1\n', {'constants': ['width']}, 'No row of the table .* has all of width'),
    (HEADER + 'a,2,3,1,1\n' * 2, {'constants': ['width']}, 'No constant varies'),
    (HEADER + '1,2,3,1,1\n1,2,4,1,1\n', {}, 'No constant varies'),
    (HEADER + '1,2,3,1,1\n2,3,4,1,1\n', {}, 'Only 2 trials succeeded'),
    (HEADER + '1,2,3,maybe,1\n', {}, "column 'ok' .* contains 'maybe'; allowed values: 1"),
    ('x,loss\n1,2,3\n', {}, 'is empty.* 1 of 1 rows have more cells than the header'),
    ('x,bpb\n1,2,3\n2,3\n', {}, "no column 'loss'; it has: x, bpb"),
    ('x,loss\n1e308,2\n-1e308,3\n', {}, "column 'x' .* contains 1e.308; .* above 1e.100"),
    ('x,loss\n1,2\n2,-1e200\n', {}, "column 'loss' .* contains -1e.200"),
    (ONE_RUNS, {}, 'Of the 5 programs in the table .* only 1 run.* needs 3: two starts'),
    (FLAT, {}, 'All programs of the table .* about the same loss, 2.1: there is nothing'),
    ('loss,ok\n1,1\n', {}, 'no numeric column or category for constants; it has: loss, ok'),
  ],
)
def test_a_table_that_cannot_be_used_is_told(tmp_path, text, options, said):
  with pytest.raises(TableError, match=said):
    made(written(tmp_path, text), **options)


def test_a_missing_file_lists_the_shipped_tables():
  with pytest.raises(TableError, match=r'There is no table .*nowhere.* tables: digits\.$'):
    made('nowhere')


def test_the_command_prints_the_fit(table):
  command = [sys.executable, '-m', 'autoresearch_jax.problems.simulated.recorded']
  good = subprocess.run(
    [*command, f'--table={table}', '--metric=loss', '--constants=rate,width'],
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'Cross-validated in 5 folds' in good.stdout and not good.stderr
  assert '  RATE: ' in good.stdout and '  WIDTH: ' in good.stdout


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    ([], "no column 'val_loss'; it has: width, rate, seed, loss, ok, seconds."),
    (['--metric=loss', '--constants=widht,rate'], "no column 'widht'; it has: width, rate"),
    (['--metric=loss', '--direction=up'], 'value should be one of <minimize|maximize>'),
    (
      ['--metrics=loss'],
      '--metrics is not an option of `autoresearch table`; did you',
    ),
    (['loss'], "does not take the argument 'loss'. The options are --table, --metric, --direction"),
  ],
)
def test_the_command_says_what_does_not_fit(table, flags, said):
  command = [sys.executable, '-m', 'autoresearch_jax.problems.simulated.recorded']
  bad = subprocess.run(
    [*command, f'--table={table}', *flags], capture_output=True, text=True, check=False
  )
  assert bad.returncode == 2 and said in bad.stderr and 'Traceback' not in bad.stderr


@pytest.mark.slow
def test_another_process_with_another_number_of_threads_fits_the_same():
  code = (
    'from autoresearch_jax.benchmark.simulations import SIMULATIONS\n'
    'i = SIMULATIONS.make("recorded").instance(3)\n'
    'print(repr((i.start.digest, i.value(i.start), i.solution.digest, i.optimum)))'
  )
  said = {
    subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, 'OMP_NUM_THREADS': threads, 'OPENBLAS_NUM_THREADS': threads},
    ).stdout
    for threads in ('1', '2')
  }
  assert len(said) == 1


def test_scaling_goes_there_and_back():
  points = np.array([[1.0, -2.0], [10.0, 3.0], [100.0, 0.5]])
  scaling = Scaling.of(points)
  unit = scaling.unit(points)
  assert unit.tolist() == pytest.approx(np.array([[0, 0], [0.5, 1], [1, 0.5]]))
  assert scaling.constants(unit) == pytest.approx(points)


def test_a_vote_far_from_all_rows_is_that_of_the_nearest():
  unit = np.array([[0.0], [0.1], [1.0]])
  vote = fit_failures(unit, np.array([True, True, False]), np.array([1.0, 1.0, 5.0]))
  share, seconds = vote.at(np.array([[50.0], [-50.0]]))
  assert share.tolist() == pytest.approx([1, 0]) and seconds.tolist() == pytest.approx([5, 1])
