"""The command as a person meets it: its first lines, its exit codes, its sentences."""

import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, TESTS
from helpers.command import SYNTHETIC, catches, finish, history, start, wait_for, wait_until_idle

from autoresearch_jax.ledger.events import Stopped
from autoresearch_jax.ledger.store import Ledger


def test_the_controller_never_imports_jax():
  code = (
    'import sys, autoresearch_jax.main\n'
    'print([name for name in ("jax", "flax", "optax") if name in sys.modules])'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout == '[]\n'


@pytest.mark.slow
def test_a_run_from_beginning_to_end(tmp_path):
  code, out, err = finish(workdir=tmp_path / 'run')
  assert (code, err) == (0, '')
  lines = out.splitlines()
  words = [line.split()[0] for line in lines[:9]]
  assert words == ['proposer', 'config', 'platform', 'problem', 'strategy', 'acceptance',
                   'isolation', 'workdir', 'branch']  # fmt: skip
  assert f'Log: {tmp_path}/run/results.tsv' in lines
  for name in ('ledger.db', 'results.tsv', 'progress.png', 'repo/model.py'):
    assert (tmp_path / 'run' / name).exists()
  assert len(history(tmp_path / 'run').trials) == 5

  code, out, err = finish(workdir=tmp_path / 'run')
  assert (code, err) == (0, '')
  assert 'All 5 trials that config.search.max_trials allows are done.' in out

  code, out, err = finish('--config.search.max_trials=7', workdir=tmp_path / 'run')
  assert (code, err) == (0, '')
  assert 'resuming after 5 trials' in out
  assert len(history(tmp_path / 'run').trials) == 7

  code, out, err = finish('--config.budget.amount=9', workdir=tmp_path / 'run')
  assert code == 2
  assert 'config.budget.amount is 9.0 and was 2.0.' in err
  assert len(err.splitlines()) == 1


SENTENCES = [
  (['--config.seeed=1'], 'config.seeed is not a field of the config; did you mean config.seed'),
  (['--config.seed=x'], '--config.seed=x'),
  (['--config=nowhere.py'], 'nowhere.py'),
  (['--config.search.strategy=tabu'], "There is no strategy 'tabu'; there are:"),
  (['--config.executor=abacus'], "There is no executor 'abacus'; there are:"),
  (['--config.program=nothing'], "config.program is 'nothing', which is not a folder"),
  (['--config.editable=("other.py",)'], 'cannot be read'),
  (['--config.direction=up'], 'config.direction'),
  (
    ['--config.metric=beauty'],
    "the problem 'synthetic' measures: val_loss.",
  ),
  (['--config.budget.target_loss=1.5'], 'config.metric'),
  (
    [
      '--config.search.strategy=rungs',
      '--config.search.options.inner=pareto',
      "--config.search.options.inner_options={'metrics': {'val_acc': 'maximize'}}",
    ],
    "by the metric 'val_acc'; the problem 'synthetic' measures: val_loss, and train_NAME",
  ),
  (['extra'], "does not take the argument 'extra'"),
  (['--unknown=1'], '--unknown is not an option'),
  (['--wrkdir=x'], 'did you mean --workdir?'),
]


@pytest.mark.slow
@pytest.mark.parametrize(('flags', 'sentence'), SENTENCES)
def test_what_does_not_fit_is_one_sentence_and_exit_code_2(tmp_path, flags, sentence):
  code, _, err = finish(*flags, workdir=tmp_path / 'run')
  assert code == 2
  assert sentence in err
  assert 'Traceback' not in err
  assert len(err.strip().splitlines()) == 1


def test_a_variant_that_does_not_exist_is_one_sentence(tmp_path):
  command = ('-m', 'autoresearch_jax.main', '--config=configs/gpt_small.py:abacus')
  code, _, err = finish(command=command, cwd=ROOT)
  assert code == 2
  assert err.startswith("--config: There is no variant 'abacus'")


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_in_good_order(tmp_path, number):
  with start(
    '--config.search.max_trials=0', '--config.executor_options.delay=0.1', workdir=tmp_path
  ) as process:
    wait_for('trial 2: ', process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
  assert (process.returncode, err) == (128 + number, '')
  assert f'Received {number.name}' in out
  assert (tmp_path / 'progress.png').exists()
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    last = list(ledger.records())[-1]
  assert isinstance(last.event, Stopped)


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(tmp_path):
  with start('--config.executor_options.delay=60.0', workdir=tmp_path) as process:
    wait_for('trial 0: baseline', process)
    wait_until_idle(process.pid)
    process.send_signal(signal.SIGINT)
    while catches(process.pid, signal.SIGINT):
      time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=50) == -signal.SIGINT
  assert history(tmp_path).running == [0]


@pytest.mark.slow
def test_a_second_start_names_the_first(tmp_path):
  with start('--config.executor_options.delay=60.0', workdir=tmp_path) as process:
    wait_for('trial 0: baseline', process)
    code, _, err = finish(workdir=tmp_path)
    process.kill()
    process.communicate()
  assert code == 2
  assert f'is in use by the process with pid {process.pid}' in err


def test_a_sampler_says_what_it_varies_and_refuses_a_program_without_it(tmp_path):
  flags = ('--config.search.strategy=restarts', '--config.search.options.inner=tpe')
  code, out, _ = finish(*flags, workdir=tmp_path / 'run')
  assert code == 0
  assert 'samples    X = 3.0: 0.3 to 30, log (derived)' in out
  wrong = '--config.search.options.inner_options={"space": {"WIDTH": {}}}'
  code, _, err = finish(*flags, wrong, workdir=tmp_path / 'other')
  assert code == 2
  assert 'WIDTH' in err and 'Traceback' not in err


PART = """
import dataclasses, sys
sys.argv[0] = {command!r}
sys.path.insert(0, {folder!r})
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy

@STRATEGIES.register('faulty')
@dataclasses.dataclass(frozen=True)
class Faulty(Greedy):
  def tell(self, state, trial):
    if trial.id == 2 and {broken}:
      raise ValueError('It was told of trial 2.')
    return super().tell(state, trial)

import runpy
runpy.run_path({command!r}, run_name='__main__')
"""


def test_a_strategy_that_breaks_costs_no_trial(tmp_path):
  codes = []
  for broken in (True, True, False):
    code = PART.format(command=str(SYNTHETIC), folder=str(TESTS), broken=broken)
    flags = (f'--config={SYNTHETIC}', '--config.search.strategy=faulty')
    status, out, err = finish(*flags, workdir=tmp_path, command=('-c', code))
    codes.append(status)
    assert 'Traceback' not in err
    said = 'The strategy Faulty of __main__ failed when it was told of trial 2: ValueError: It was'
    assert (said in out + err) == broken
  assert codes == [1, 2, 0]
  assert sorted(history(tmp_path).trials) == [0, 1, 2, 3, 4]
