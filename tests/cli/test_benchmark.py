"""The command as people start it: resumes after a kill, stops on Ctrl-C, refuses in sentences."""

import contextlib
import json
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from absl import flags
from helpers import HELPERS, ROOT

import autoresearch_jax.cli.flags
from autoresearch_jax.benchmark.config import PARTS, benchmark_config
from autoresearch_jax.benchmark.results import Results
from autoresearch_jax.cli import benchmark

SMALL = HELPERS / 'small_benchmark.py'
RUNS = (2 * 2 + 2) * 3
LONG = ('--config.trials=1000', '--config.problems.long.options.bits=200')  # long enough to end


def command(out, *more, config=SMALL):
  return [sys.executable, '-m', 'autoresearch_jax.benchmark', f'--config={config}', f'--out={out}',
          *more]  # fmt: skip


def done(out, *more, config=SMALL):
  return subprocess.run(
    command(out, *more, config=config), capture_output=True, text=True, cwd=ROOT,
    check=False,
  )  # fmt: skip


def stored(out):
  with Results.open(out / 'results.db', 'small') as results:
    return {run.key: run for run in results.runs()}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  out = tmp_path_factory.mktemp('finished')
  return done(out), out


@pytest.mark.slow
def test_it_writes_results_and_pages(finished):
  result, out = finished
  assert result.returncode == 0, result.stderr
  assert f'{RUNS} of {RUNS} runs' in result.stderr
  page = (out / 'leaderboard.md').read_text()
  assert f'--out={out}' in page and 'Acceptance rules' in page and 'against strict' in page
  assert len((out / 'results.csv').read_text().splitlines()) == 1 + RUNS
  assert (out / 'leaderboard.html').exists()


@pytest.mark.slow
def test_the_json_has_a_row_for_each_run(finished):
  result = done(finished[1], '--json')
  told = json.loads(result.stdout)
  assert told['schema'] == 1 and len(told['runs']) == RUNS
  assert {'problem', 'strategy', 'acceptance', 'instance_seed', 'final'} <= {*told['runs'][0]}


@pytest.mark.slow
def test_one_worker_gives_the_same_file(finished, tmp_path):
  result = done(tmp_path, '--config.workers=1')
  assert result.returncode == 0, result.stderr
  assert (tmp_path / 'results.csv').read_text() == (finished[1] / 'results.csv').read_text()


@pytest.mark.slow
def test_killed_it_goes_on_and_leaves_no_process(finished, tmp_path):
  """With runs long enough to be killed in the middle of."""
  process = subprocess.Popen(
    command(tmp_path, *LONG), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    cwd=ROOT,
  )  # fmt: skip
  deadline = time.monotonic() + 60
  while not _rows(tmp_path) and time.monotonic() < deadline:
    time.sleep(0.02)
  workers = children(process.pid)
  process.send_signal(signal.SIGKILL)
  process.wait()
  before = stored(tmp_path)
  assert 0 < len(before) < RUNS and workers
  result = done(tmp_path, *LONG)
  assert result.returncode == 0, result.stderr
  assert f'{len(before)} of them already finished' in result.stderr
  after = stored(tmp_path)
  assert len(after) == RUNS and before.items() <= after.items()
  while any(alive(pid) for pid in workers):
    assert time.monotonic() < deadline, 'a worker outlived its parent'
    time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_stops_in_good_order(tmp_path, number, code):
  process = subprocess.Popen(
    command(tmp_path, *LONG), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    cwd=ROOT,
  )  # fmt: skip
  deadline = time.monotonic() + 60
  while not _rows(tmp_path) and time.monotonic() < deadline:
    time.sleep(0.02)
  process.send_signal(number)
  out, err = process.communicate(timeout=120)
  assert process.returncode == code, err
  assert 'the same command resumes' in out
  assert 'Traceback' not in err
  assert stored(tmp_path)


def asked(*arguments):
  """The suites that a command line asks for."""
  values, line = flags.FlagValues(), ['program', f'--config={SMALL}', *arguments]
  flag = autoresearch_jax.cli.flags.define_config('', values, line, PARTS)
  values(line)
  config = benchmark_config(autoresearch_jax.cli.flags.values_of(flag, ''))
  return config.suites()


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize(
  ('arguments', 'sentence'),
  [
    (['--config.trails=3'], 'config.trails is not a field of the config; did you mean config.tri'),
    (['--config.strategies.greedy.stratgy=tree'], 'config.strategies.greedy.stratgy is not a fie'),
    (['--config.strategies.greedy.strategy=treee'], "There is no strategy 'treee'; there are:"),
    (['--config.problems.long.options.bit=3'], "has no option 'bit'; it has: bits, crash"),
    (['--config.trials=2'], 'the baseline alone takes 4 training runs'),
    (['--config.seeds=0'], 'there are no seeds'),
    (['--config.first_seed=-5'], '-5 is not an instance seed'),
    (['--config.acceptance.reference=foo'], "the reference 'foo' does not exist"),
  ],
)
def test_bad_input_is_a_sentence(arguments, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    asked(*arguments)


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_any_field_can_be_set():
  strategies, rules = asked('--config.trials=50', '--config.seeds=5', '--config.slots=2',
                            '--config.strategies.greedy.options.context_size=3')  # fmt: skip
  assert (strategies.trials, len(strategies.seeds), rules.slots) == (50, 5, 2)
  assert {c.label: c.options for c in strategies.entrants}['greedy'] == {'context_size': 3}


@pytest.mark.slow
def test_another_budget_in_the_same_folder_is_refused(finished):
  result = done(finished[1], '--config.trials=31')
  assert result.returncode == 2
  assert 'budget (trials) 30.0, not 31.0' in result.stderr


@pytest.mark.slow
def test_a_config_that_is_not_there(tmp_path):
  result = done(tmp_path, config='nowhere.py')
  assert result.returncode == 2 and 'nowhere.py' in result.stderr
  assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('name', ['results.csv', 'leaderboard.md', 'leaderboard_figures/mine.png'])
def test_a_folder_of_the_user_is_refused_and_untouched(tmp_path, name, capsys):
  (tmp_path / name).parent.mkdir(exist_ok=True)
  (tmp_path / name).write_text('mine')
  assert benchmark.main([f'--config={SMALL}', f'--out={tmp_path}']) == 2
  error = capsys.readouterr().err
  assert name.split('/')[0] in error and 'another --out' in error
  assert [path for path in tmp_path.rglob('*') if path.is_file()] == [tmp_path / name]
  assert (tmp_path / name).read_text() == 'mine'


@pytest.mark.parametrize('out', ['gs://bucket/results', str(SMALL)])
def test_what_is_no_folder_is_refused(out, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert benchmark.main([f'--config={SMALL}', f'--out={out}']) == 2
  assert out in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def _rows(out):
  """How many there are so far; 0 while there is no table."""
  with contextlib.suppress(sqlite3.Error):
    connection = sqlite3.connect(f'file:{out / "results.db"}?mode=ro', uri=True)
    with contextlib.closing(connection):
      return connection.execute('SELECT COUNT(*) FROM runs').fetchone()[0]
  return 0


def children(pid):
  """The workers of a process: its children that run Python's spawned main."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    with contextlib.suppress(OSError):
      parent = (path / 'stat').read_text().rpartition(')')[2].split()[1]
      if parent == str(pid):
        found.append(int(path.name))
  return found


def alive(pid):
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
  except OSError:
    return False
  return state != 'Z'
