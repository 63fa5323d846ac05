"""Commands as processes: characters that a stream lacks, closed pipes, signals before the start."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from helpers.command import SYNTHETIC, finish, history, start, wait_for

RUN = [sys.executable, '-m', 'autoresearch_jax.main', '--config=digits']
ASCII = {
  'C locale': {'LC_ALL': 'C', 'PYTHONUTF8': '0'},
  'ascii': {'PYTHONIOENCODING': 'ascii'},
  'latin-1': {'PYTHONIOENCODING': 'latin-1'},
}
# A runner of the synthetic run whose descriptions have characters that ASCII lacks.
DESCRIBED = f"""
import dataclasses, runpy, sys
from helpers import synthetic_run
original = synthetic_run.Nudge.propose
def propose(*arguments):
  return dataclasses.replace(original(*arguments), description='\\u2713 raise \\u03bb \\xb1 1')
synthetic_run.Nudge.propose = propose
sys.argv[0] = {str(SYNTHETIC)!r}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def described(tmp_path_factory):
  """The folder of a run whose descriptions have characters that ASCII lacks."""
  workdir = tmp_path_factory.mktemp('described')
  code, out, _ = _described(workdir)
  assert code == 0 and '\u2713' in out
  return workdir


def _described(workdir, **options):
  return finish(
    f'--config={SYNTHETIC}', '--config.search.max_trials=12', '--config.final_seeds=2',
    '--config.data.test=held out', workdir=workdir, command=('-c', DESCRIBED), errors='replace',
    cwd=SYNTHETIC.parents[1], **options,
  )  # fmt: skip


@pytest.mark.parametrize('environment', ASCII.values(), ids=ASCII)
def test_characters_that_stdout_lacks_are_replaced(tmp_path, described, environment):
  environment = {**os.environ, **environment}
  code, out, err = _described(tmp_path, env=environment)
  assert (code, err) == (0, '') and '? raise' in out
  assert len(history(tmp_path).trials) == 12
  for command in ('report', 'knowledge', 'repair'):
    arguments = ('-m', 'autoresearch_jax', command)
    code, out, err = finish(str(described), command=arguments, env=environment, errors='replace')
    assert (code, err) == (0, ''), command
    assert out


def test_a_config_on_the_command_line_is_read_as_utf8_in_a_c_locale(tmp_path):
  environment = {**os.environ, **ASCII['C locale']}
  flags = ('--config.search.strategy=✓', f'--workdir={tmp_path}')
  code, _, err = finish(*flags, command=RUN[1:], env=environment)
  assert code == 2 and 'There is no strategy' in err


@pytest.mark.parametrize('command', [['--help'], ['run', '--help'], ['table']])
def test_a_closed_pipe_is_quiet(command):
  reader, writer = os.pipe()
  os.close(reader)
  done = subprocess.run(
    [sys.executable, '-m', 'autoresearch_jax', *command], stdout=writer, stderr=subprocess.PIPE,
    check=False,
  )  # fmt: skip
  os.close(writer)
  assert (done.returncode, done.stderr) == (141, b'')


def test_a_run_whose_reader_ends_is_quiet_and_resumes(tmp_path):
  with start('--config.search.max_trials=0', workdir=tmp_path) as process:
    wait_for('trial 1: ', process)
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr.read() == ''
  done = len(history(tmp_path).trials)
  code, _, err = finish(f'--config.search.max_trials={done + 2}', workdir=tmp_path)
  assert (code, err) == (0, '')


@pytest.mark.parametrize('module', ['autoresearch_jax.cli.flags', 'pygit2'])
def test_ctrl_c_during_the_imports_is_quiet(tmp_path, module):
  # The signal comes while the module is imported, as early as a person can send it.
  code = (
    'import os, signal, sys, importlib.abc\n'
    'class Interrupt(importlib.abc.MetaPathFinder):\n'
    '  def find_spec(self, name, path, target=None):\n'
    f'    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n'
    'sys.meta_path.insert(0, Interrupt())\n'
    'from autoresearch_jax.main import main\n'
    f'sys.exit(main(["--config=digits", "--workdir={tmp_path}/run"]))\n'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
  assert (done.returncode, done.stderr) == (130, b'')
  assert not (tmp_path / 'run').exists()


def test_a_terminal_that_closes_stops_the_run_in_good_order(tmp_path):
  parent, child = pty.openpty()
  arguments = [sys.executable, str(SYNTHETIC), f'--config={SYNTHETIC}', f'--workdir={tmp_path}',
               '--config.search.max_trials=0', '--config.executor_options.delay=0.05']  # fmt: skip
  process = subprocess.Popen(
    [sys.executable, '-c', 'import os, sys, fcntl, termios\n'
     'fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])', *arguments],
    stdin=child, stdout=child, stderr=subprocess.PIPE, start_new_session=True,
  )  # fmt: skip
  os.close(child)
  while b'gain' not in os.read(parent, 65536) or not len(history(tmp_path).trials) > 2:
    pass
  os.close(parent)
  _, err = process.communicate(timeout=120)
  assert (process.returncode, err) == (128 + signal.SIGHUP, b'')
  assert (tmp_path / 'progress.png').exists()


def test_nohup_keeps_a_run_alive(tmp_path):
  arguments = ('--config.search.max_trials=6', '--config.executor_options.delay=0.1')
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; the process inherits it
  try:
    process = start(*arguments, workdir=tmp_path)
  finally:
    signal.signal(signal.SIGHUP, before)
  with process:
    wait_for('trial 1: ', process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
  assert process.returncode == 0
  assert len(history(tmp_path).trials) == 6
