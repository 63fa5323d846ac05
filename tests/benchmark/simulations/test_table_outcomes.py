"""Success columns of any usual name, placeholders of failed runs, categories, and large tables."""

import math
import pathlib

import numpy as np
import pytest

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.surrogate import EXACT_ROWS, MetricModel, fit_metric
from autoresearch_jax.benchmark.simulations.table import Columns, TableError, read_table


def written(tmp_path, header, rows):
  path = tmp_path / 'table.csv'
  lines = [header, *(','.join(map(str, row)) for row in rows)]
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


def made(path, **options):
  return SIMULATIONS.make('recorded', {'table': path, 'metric': 'loss', **options})


@pytest.mark.parametrize(
  ('name', 'good', 'bad'),
  [
    ('success', True, False), ('succeeded', 'yes', 'no'), ('Success', 1, 0),
    ('OK', 'true', 'false'), ('failed', False, True), ('is_crashed', 0, 1),
    ('oom', 'False', 'True'), ('didFail', 0, 1),
    ('status', 'ok', 'oom'), ('run_status', 'keep', 'crash'), ('status', 'discard', 'timeout'),
    ('state', 'TrialState.COMPLETE', 'TrialState.FAIL'), ('state', 'COMPLETE', 'PRUNED'),
    ('outcome', 'finished', 'diverged'), ('error', '', 'CUDA out of memory'),
    ('exit_code', 0, 137), ('returncode', 0, -9),
  ],
)  # fmt: skip
def test_a_success_column_is_found_by_its_name_and_values(tmp_path, name, good, bad):
  rows = [(x, 0.0 if x % 3 == 0 else 1 + x / 10, bad if x % 3 == 0 else good) for x in range(12)]
  table = read_table(written(tmp_path, f'x,loss,{name}', rows), Columns('loss'))
  assert table.ok.tolist() == [x % 3 != 0 for x in range(12)]
  assert table.names == ('X',) and any(repr(name) in note for note in table.notes)


def test_success_columns_that_disagree_are_named_and_the_rows_fail(tmp_path):
  rows = [(x, 1 + x / 10, 1, 'oom' if x == 2 else 'ok') for x in range(6)]
  table = read_table(written(tmp_path, 'x,loss,ok,status', rows), Columns('loss'))
  assert table.ok.tolist() == [x != 2 for x in range(6)]
  assert any("'ok' and 'status'" in note for note in table.notes)
  assert any('disagree in 1 rows' in note for note in table.notes)


def test_a_status_of_unknown_words_is_asked_for(tmp_path):
  path = written(tmp_path, 'x,loss,status', [(1, 2, 'ok'), (2, 3, 'purple')])
  with pytest.raises(TableError, match=r"'status' .* contains 'purple'.*--success"):
    read_table(path, Columns('loss'))


@pytest.mark.parametrize('name', ['valid', 'state', 'error'])
def test_a_column_with_the_name_of_success_and_other_values_is_none(tmp_path, name):
  values = {'valid': (0.3, 0.7, 0.9), 'state': ('CA', 'NY', 'CA'), 'error': (0.1, 0.2, 0.3)}[name]
  path = written(tmp_path, f'x,loss,{name}', [(i, i + 1, v) for i, v in enumerate(values)])
  table = read_table(path, Columns('loss'))
  assert table.ok.all() and name.upper() in table.names
  assert any('No success column was found' in note for note in table.notes)


def test_every_column_that_is_left_out_is_named(tmp_path):
  rows = [(i, i * 7 % 5, 1 + i, 2 + i, f'note {i}', 3 + i % 2, i % 3) for i in range(30)]
  header = 'trial,x,loss,val_accuracy,comment,duration,random_seed'
  table = read_table(written(tmp_path, header, rows), Columns('loss'))
  assert table.names == ('X',) and table.seconds[:2].tolist() == [3, 4]
  notes = ' '.join(table.notes)
  for column in ('trial', 'val_accuracy', 'comment', "'duration'", "'random_seed'"):
    assert column in notes


@pytest.mark.parametrize('placeholder', [0, 100, -1, 1e9, 9.99])
@pytest.mark.parametrize('direction', ['minimize', 'maximize'])
def test_equal_extreme_metrics_are_doubted_and_no_optimum(tmp_path, placeholder, direction):
  rng = np.random.default_rng(0)
  rows = []
  for number in range(60):
    x, y = rng.random(2)
    rows.append((x, y, placeholder if number % 4 == 0 else 1 + (x - 0.4) ** 2 + y / 5, 1))
  simulation = made(written(tmp_path, 'x,y,loss,ok', rows), direction=direction)
  table = simulation.instance(0).surrogate.table
  assert (~table.ok).sum() == 15
  (note,) = [note for note in table.notes if 'placeholder' in note]
  assert '15 rows' in note and f'{placeholder:g}' in note and 'doubtful' in note
  recorded = table.metric[table.ok]
  assert recorded.min() - 0.2 < simulation.instance(0).optimum < recorded.max() + 0.2
  kept = read_table(simulation.table, Columns('loss', ties='keep', direction=direction))
  assert kept.ok.all()


@pytest.mark.parametrize(
  'metric',
  [
    lambda x: round(0.9 + 0.1 * x, 2),  # a rounded metric has ties everywhere
    lambda x: min(1.0, 0.5 + x),  # a share that reached its bound
    lambda x: x,
  ],
)
def test_ties_that_measurement_explains_are_kept(tmp_path, metric):
  rows = [(x, metric(x)) for x in np.random.default_rng(0).random(80).round(4).tolist()]
  path = written(tmp_path, 'x,loss', rows)
  assert read_table(path, Columns('loss', direction='maximize')).ok.all()


def test_replicates_of_one_program_are_no_placeholder(tmp_path):
  rows = [(x, 1 + x) for x in range(1, 9)] + [(0, 0.5)] * 6
  assert read_table(written(tmp_path, 'x,loss', rows), Columns('loss')).ok.all()


def test_a_text_column_is_a_category(tmp_path):
  rng = np.random.default_rng(0)
  gain = {'relu': 0.0, 'gelu': -0.6, 'silu': 0.4}
  rows = []
  for _ in range(60):
    x, name = rng.random(), str(rng.choice(list(gain)))
    rows.append((x, name, bool(rng.random() < 0.5), 2 + gain[name] + (x - 0.5) ** 2))
  simulation = made(written(tmp_path, 'x,act,bias,loss', rows))
  instance = simulation.instance(0)
  assert instance.space['ACT'] == {'choices': (0, 1, 2)}
  assert instance.surrogate.table.levels['ACT'] == ('gelu', 'relu', 'silu')
  assert 'ACT = 0' in instance.solution.text() and instance.optimum == pytest.approx(1.4, abs=0.1)
  values = [
    instance.value(instance.start.with_text(f'X = 0.5\nACT = {i}\nBIAS = 0\n')) for i in range(3)
  ]
  assert values == pytest.approx([1.4, 2.0, 2.4], abs=0.1)
  described = simulation.describe()
  assert 'ACT: a category, 0 = gelu, 1 = relu, 2 = silu' in described
  assert 'best recorded' in described


def test_the_optimum_that_no_trial_supports_is_doubted(tmp_path):
  rows = [(x / 20, y / 20, 5 + 3 * (x + y) / 20) for x in range(1, 20) for y in range(1, 20)
          if x + y > 24]  # fmt: skip
  described = made(written(tmp_path, 'x,y,loss', rows)).describe()
  assert 'optimum is doubtful' in described


def test_a_table_of_thousands_of_rows_fits_in_bounded_memory(tmp_path):
  rng = np.random.default_rng(0)
  points = rng.random((2 * EXACT_ROWS, 4))
  values = 1 + ((points[:, :2] - 0.3) ** 2).sum(axis=1) + 0.01 * rng.standard_normal(len(points))
  rows = [(*p, 'oom' if p[0] > 0.9 else 'ok', v) for p, v in zip(points, values, strict=True)]
  simulation = made(written(tmp_path, 'a,b,c,d,status,loss', rows))
  figures = dict(line.strip().split(': ', 1) for line in simulation.describe().splitlines()
                 if ': ' in line)  # fmt: skip
  assert float(figures['R² of loss'].split(';')[0]) > 0.95
  surrogate = simulation.instance(0).surrogate
  assert len(surrogate.metric.inputs) < EXACT_ROWS and math.isclose(
    simulation.instance(0).optimum, 1.0, abs_tol=0.03
  )
  assert simulation.instance(0).value(surrogate.format.program([0.99, 0.3, 0.5, 0.5])) is None


@pytest.mark.parametrize(('good', 'bad'), [(True, False), ('no', 'yes'), (0, 1), ('done', 'oom')])
@pytest.mark.parametrize('loss', [100.0, ''])
def test_a_success_column_of_another_name_is_asked_for(tmp_path, good, bad, loss):
  rows = [
    (x, loss if x % 4 == 0 else 1 + x / 10, bad if x % 4 == 0 else good, x % 2) for x in range(24)
  ]
  path = written(tmp_path, 'x,loss,worked,amp', rows)
  with pytest.raises(TableError, match=r"'worked' .* 6 rows .*--success=worked.*--constants"):
    read_table(path, Columns('loss'))
  named = read_table(path, Columns('loss', constants=('x', 'amp')))
  assert named.names == ('X', 'AMP') and named.ok.sum() == 18


def test_a_constant_with_which_some_runs_fail_is_a_constant(tmp_path):
  rows = [(x, 'nan' if x % 4 == 0 else 1 + x / 40, x % 2) for x in range(40)]
  assert read_table(written(tmp_path, 'x,loss,bias', rows), Columns('loss')).names == ('X', 'BIAS')


@pytest.mark.parametrize('delimiter', [';', '\t'])
def test_semicolons_and_tabs_separate_columns_too(tmp_path, delimiter):
  path = written(tmp_path, 'x,loss,note', [(x, 1 + x / 10, 'none') for x in range(9)])
  text = pathlib.Path(path).read_text()
  other = tmp_path / 'other.csv'
  other.write_text(text.replace(',', delimiter).replace('none', '"a, b"'))
  table = read_table(str(other), Columns('loss'))
  assert table.names == ('X',) and len(table.metric) == 9


def test_more_rows_than_an_exact_fit_takes_fit_no_worse():
  """Long length scales make the kernels of a smooth metric nearly equal."""
  rng = np.random.default_rng(0)
  points = rng.random((EXACT_ROWS + 700, 6))
  metric = 1 + ((points - 0.4) ** 2).sum(axis=1) + 0.02 * rng.standard_normal(len(points))
  like = MetricModel(points[:1], np.full(6, 8.0), metric[:1], 0.0, False, 0.0, 0.0, 100.0, 1e-6)
  exact, large = (
    fit_metric(points[:rows], metric[:rows], like) for rows in (EXACT_ROWS, EXACT_ROWS + 200)
  )
  errors = [model.mean(points[-500:]) - metric[-500:] for model in (exact, large)]
  assert np.std(errors[1]) < min(0.03, 1.1 * float(np.std(errors[0])))
