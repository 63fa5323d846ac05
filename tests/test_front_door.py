"""`import autoresearch_jax as ar`: runs and comparisons from Python, in scripts and notebooks."""

import doctest
import signal
import subprocess
import sys
import threading

import nbclient
import nbformat
import pytest

import autoresearch_jax as ar

SETTINGS = {'budget.amount': 20, 'final_seeds': 0, 'acceptance_options.baseline_seeds': 2}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  ar.run('digits', folder, max_trials=3, say=lambda line: None, **SETTINGS)
  return folder


def test_importing_the_package_imports_nothing_heavy():
  code = (
    'import sys, autoresearch_jax as ar\n'
    'assert {"run", "load_run", "compare", "Strategy"} <= {*dir(ar)} and ar.__version__\n'
    'print([name for name in ("jax", "numpy", "scipy", "optuna") if name in sys.modules])'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout == '[]\n'


def test_every_public_name_can_be_had_and_is_documented():
  for name in ar.__all__:
    if name != '__version__':
      assert getattr(ar, name).__doc__, name
  assert ar.__version__.count('.') == 2


TRAINS = ('run', 'load_run', 'load_model', 'Model', 'RunResult')


@pytest.fixture(scope='module')
def examples(tmp_path_factory):
  """The folder of all examples, so that a later one resumes the run of an earlier one."""
  return tmp_path_factory.mktemp('examples')


class IgnoreProgress(doctest.OutputChecker):
  """Accepts the progress that a run prints where an example shows no output."""

  def check_output(self, want, got, optionflags):
    return not want or super().check_output(want, got, optionflags)


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] if name in TRAINS else [])
    for name in ar.__all__
    if name != '__version__'
  ],
)
def test_the_example_in_the_docstring_runs(name, examples, monkeypatch):
  monkeypatch.chdir(examples)
  public = getattr(ar, name)
  space = vars(sys.modules[public.__module__]).copy()
  (example,) = (e for e in doctest.DocTestFinder(recurse=False).find(public, name, globs=space))
  assert example.examples
  checker = IgnoreProgress() if name in TRAINS else None
  assert not doctest.DocTestRunner(checker).run(example).failed


@pytest.mark.slow
def test_a_run_is_read_as_it_was_returned(workdir):
  again = ar.load_run(workdir)
  assert [trial.id for trial in again.trials] == [0, 1, 2]
  assert again.baseline.id == 0 and again.best_trial.verdict.decision == 'keep'
  frame = again.dataframe()
  assert list(frame['id']) == [0, 1, 2] and frame['val_loss'].notna().any()
  assert again.plot().axes
  assert 'BATCH_SIZE' in again.incumbent_program().text()
  assert 'val_loss' in again.story() and 'trial 0' in again.story()
  assert 'val_loss' in again.summary() and again._repr_html_().startswith('<pre>')


@pytest.mark.slow
def test_the_same_call_resumes_and_also_in_a_thread(workdir):
  found = []
  thread = threading.Thread(
    target=lambda: found.append(
      ar.run('digits', workdir, max_trials=4, say=lambda line: None, **SETTINGS)
    )
  )
  thread.start()
  thread.join()
  assert len(found[0].trials) == 4


def test_what_does_not_fit_is_a_config_error(tmp_path):
  with pytest.raises(ar.ConfigError, match='digitz'):
    ar.run('digitz', tmp_path)
  with pytest.raises(ar.ConfigError, match='max_trial'):
    ar.run('digits', tmp_path / 'run', **{'search.max_trial': 3})
  with pytest.raises(Exception, match='ledger'):
    ar.load_run(tmp_path / 'nowhere')


@pytest.mark.slow
def test_an_interrupt_returns_the_run_so_far(tmp_path):
  code = (
    'import sys, autoresearch_jax as ar\n'
    f'run = ar.run("digits", sys.argv[1], max_trials=0, **{SETTINGS!r})\n'
    'print("returned", len(run.trials), flush=True)'
  )
  with subprocess.Popen(
    [sys.executable, '-c', code, str(tmp_path / 'run')], stdout=subprocess.PIPE, text=True
  ) as process:
    for line in process.stdout:
      if ('trial 1: ' in line and 'keep' in line) or 'discard' in line:
        process.send_signal(signal.SIGINT)
        break
    rest = process.stdout.read()
  assert process.returncode == 0 and 'returned' in rest


@pytest.mark.slow
def test_a_notebook_runs_loads_compares_and_plots(tmp_path):
  cells = [
    'import autoresearch_jax as ar',
    f'run = ar.run("digits", r"{tmp_path}/run", max_trials=2, **{SETTINGS!r})\nrun',
    f'ar.load_run(r"{tmp_path}/run").dataframe()',
    'run.plot()',
    'result = ar.compare(["greedy", "random"], ["nk"], trials=10, seeds=2, workers=1)',
    'print(ar.leaderboard(result))\nresult.dataframe()',
  ]
  notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
  nbclient.NotebookClient(notebook, timeout=240, kernel_name='python3').execute()
  outputs = [''.join(str(output) for output in cell.outputs) for cell in notebook.cells]
  assert 'RunResult' in outputs[1] and 'val_loss' in outputs[2] and 'greedy' in outputs[5]
